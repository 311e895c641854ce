"""Rows as a model reads them, and refusals that name the place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from refusals import refused
from reparam.data import Dataset, Schema, as_dataset, infer
from reparam.data.readers import Source

LIKE = torch.empty(0)
GREY = torch.rand(5, 3, generator=torch.Generator().manual_seed(1))


def with_value(value, row=2, element=1, dtype=torch.float32):
    x = torch.zeros(4, 3, dtype=dtype)
    x[row, element] = value
    return x


class TestValues:
    def test_bytes_stay_bytes_and_are_pixels(self):
        array = np.arange(256, dtype="u1").reshape(64, 4)
        data = Dataset(array)
        assert data.x.dtype == torch.uint8
        assert data.pixel_max == 255
        assert torch.equal(data.grey(data.x, LIKE), torch.arange(256.0).reshape(64, 4) / 255)
        assert data.x.data_ptr() == torch.from_numpy(array).data_ptr()  # not copied

    @pytest.mark.parametrize(
        "dtype", ["f2", "f4", "f8", "g", ">f4", ">f8", "i1", "i2", ">i4", "i8", "u2", ">u4", "u8", "?"]
    )
    @pytest.mark.parametrize("layout", ["C", "F", "strided", "read-only"])
    def test_arrays_of_every_type_and_layout(self, dtype, layout):
        array = np.asarray(np.arange(12).reshape(3, 4) % 2, dtype=dtype, order="F" if layout == "F" else "C")
        if layout == "strided":
            array = array[::-1, ::2]
        array.flags.writeable = layout != "read-only"
        data = Dataset(array)
        assert np.array_equal(data.grey(data.x, LIKE.double()).numpy(), array.astype(float))
        assert data.event_shape == array.shape[1:]

    def test_lists_tensors_and_data_sets(self):
        assert Dataset([[1, 2], [3, 4]]).x.tolist() == [[1, 2], [3, 4]]
        assert not Dataset(GREY.clone().requires_grad_()).x.requires_grad
        data = Dataset(GREY)
        assert as_dataset(data) is data
        assert len(as_dataset(GREY, [torch.ones(5, 2)]).contexts) == 1

    def test_units(self):
        x = torch.tensor([[0, 8], [16, 4]])
        data = Dataset(x, pixel_max=16)
        assert data.grey(x, LIKE.double()).tolist() == [[0, 0.5], [1, 0.25]]
        assert data.grey(x, LIKE.double()).dtype == torch.float64
        assert Dataset(x.double()).grey(x.double(), LIKE).tolist() == x.tolist()


class TestRefusals:
    @pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
    def test_what_is_not_finite_is_named_by_place(self, value, word, dtype):
        refused(lambda: Dataset(with_value(value, dtype=dtype)), "row 2, column 1 is", word, "remove such rows")
        refused(lambda: Dataset(with_value(value), columns=["a", "b b", "c"]), "row 2, column 'b b'", word)
        refused(lambda: Dataset(with_value(value, dtype=dtype).reshape(2, 2, 3)), "row 1, element (0, 1)", word)

    def test_the_place_does_not_depend_on_chunks(self, monkeypatch):
        from reparam.data import dataset

        for chunk in (1, 3, 4, 7, 10**6):
            monkeypatch.setattr(dataset, "_CHUNK", chunk)
            refused(lambda: Dataset(with_value(np.nan, row=3)), "row 3, column 1")

    def test_grey_values_out_of_range(self):
        for value, word in ((1.5, "1.5"), (-0.25, "-0.25")):
            refused(
                lambda v=value: Dataset(with_value(v), binarize="dynamic"), "row 2, column 1", word, "0..1", "pixel_max"
            )
            refused(lambda v=value: Dataset(with_value(v), pixel_max=1), "row 2, column 1", word, "Gaussian")
        refused(lambda: Dataset(with_value(17, dtype=torch.int64), pixel_max=16), "is 17, outside 0..16")
        refused(lambda: Dataset(with_value(17, dtype=torch.uint8), pixel_max=16), "is 17, outside 0..16")
        refused(lambda: Dataset(with_value(-1, dtype=torch.int64), pixel_max=255), "is -1, outside 0..255")
        assert len(Dataset(with_value(300, dtype=torch.int64))) == 4  # whole numbers alone are no pixels

    @pytest.mark.parametrize("white", [0, -1.0, float("nan"), float("inf")])
    def test_white_must_be_positive(self, white):
        refused(lambda: Dataset(GREY, pixel_max=white), "pixel_max", "positive")

    def test_unknown_binarize(self):
        refused(lambda: Dataset(GREY, binarize="dynamc"), "'dynamc'", "did you mean 'dynamic'")

    @pytest.mark.parametrize(
        ("x", "words"),
        [
            (np.ones((0, 3)), ["no rows"]),
            (np.ones((3, 0)), ["each datum is empty", "(3, 0)"]),
            (np.ones(3), ["(3,)", "(rows, 1)"]),
            (np.array(3.0), ["()"]),
            ([[1, 2], [3]], ["different lengths"]),
            (np.ma.masked_invalid([[1.0, np.nan]]), ["masked", "fill them in"]),
            (np.array([[2**63]], dtype=np.uint64), ["2**63"]),
        ],
    )
    def test_shapes(self, x, words):
        refused(lambda: Dataset(x), *words)

    @pytest.mark.parametrize(
        "x",
        [
            np.array([[object()]]), np.array([["a"]]), np.array([[None, 1]]), np.ones((2, 2), complex),
            torch.ones(2, 2, dtype=torch.complex64), torch.eye(2).to_sparse(), np.array([["2020-01-01"]], "M8[D]"),
            np.zeros((2, 2), dtype=[("a", "f4")]),
        ],
    )  # fmt: skip
    def test_what_are_no_numbers(self, x):
        refused(lambda: Dataset(x), "numbers", kinds=(TypeError,))

    @pytest.mark.parametrize("x", [None, 3, "data.csv", {"x": 1}])
    def test_what_are_no_data(self, x):
        refused(lambda: as_dataset(x), "array", type(x).__name__, kinds=(TypeError,))

    def test_companions_of_other_lengths(self):
        refused(lambda: Dataset(GREY, labels=np.arange(4)), "5 rows", "labels of shape (4,)")
        refused(lambda: Dataset(GREY, contexts=[torch.ones(5), torch.ones(3, 2)]), "context 1 of shape (3, 2)")
        refused(lambda: Dataset(GREY, contexts=[torch.tensor(1.0)]), "context 0 of shape ()")
        refused(lambda: Dataset(GREY, columns=["a"]), "1 column names", "(5, 3)")
        refused(lambda: Dataset(torch.ones(2, 3, 3), columns=["a", "b", "c"]), "3 column names")
        refused(lambda: as_dataset(Dataset(GREY), [torch.ones(5)]), "Dataset itself")

    def test_contexts_are_finite(self):
        context = torch.ones(5, 2)
        context[3, 1] = np.nan
        refused(lambda: Dataset(GREY, contexts=[torch.ones(5), context]), "context 1 of row 3", "not finite")


class TestRows:
    @pytest.mark.parametrize(
        "rows",
        [
            slice(1, 4), slice(None, None, 2), torch.tensor([4, 0, 0]), torch.tensor([True, False, True, False, True]),
            [3, 1], np.array([2, 2]), np.array([False, True, True, False, False]), slice(0, 0),
        ],
    )  # fmt: skip
    def test_companions_follow_the_rows(self, rows):
        context = torch.arange(10.0).reshape(5, 2)
        data = Dataset(GREY, contexts=[context], labels=np.array(list("abcde")), columns=["a", "b", "c"], pixel_max=2)
        chosen = data[rows]
        at = np.arange(5)[np.asarray(rows) if isinstance(rows, torch.Tensor | list) else rows]
        assert torch.equal(chosen.x, GREY[at])
        assert torch.equal(chosen.contexts[0], context[at])
        assert "".join(chosen.labels) == "".join("abcde"[i] for i in at)
        assert (len(chosen), chosen.pixel_max, chosen.columns) == (len(at), 2, ["a", "b", "c"])
        assert len(data) == 5

    def test_labels_of_any_kind(self):
        for labels in ([1, 2, 3, 4, 5], torch.arange(1, 6), tuple("abcde"), np.arange(1, 6)):
            assert len(Dataset(GREY, labels=labels)[torch.tensor([1, 2])].labels) == 2

    def test_one_row_is_a_slice(self):
        for rows in (0, torch.tensor(0), np.int64(1), (0, 1)):
            refused(lambda rows=rows: Dataset(GREY)[rows], "data[i : i + 1]", kinds=(TypeError,))


class TestBinarize:
    def test_threshold(self):
        x = torch.tensor([[0, 127, 128, 255]], dtype=torch.uint8)
        data = Dataset(x, binarize="threshold")
        for read in (data.visit(x, LIKE), data.fixed(x, LIKE, 0)):
            assert read.tolist() == [[0, 0, 1, 1]]
            assert read.dtype == torch.float32

    def test_a_visit_is_fresh_and_has_the_right_mean(self):
        x = torch.tensor([0.0, 0.2, 0.9, 1.0]).expand(1, 4)
        data = Dataset(x, binarize="dynamic")
        draws = torch.cat([data.visit(x, LIKE) for _ in range(4000)])
        assert set(draws.unique().tolist()) == {0.0, 1.0}
        assert len(draws.unique(dim=0)) == 4
        assert torch.allclose(draws.mean(0), x[0], atol=5 * 0.5 / 4000**0.5)
        assert draws[:, 0].sum() == 0
        assert draws[:, 3].sum() == 4000

    def test_a_fixed_draw_belongs_to_row_and_seed(self):
        x = torch.rand(200, 8)
        data = Dataset(x, binarize="dynamic")
        whole = data.fixed(x, LIKE, 3)
        before = torch.get_rng_state()
        order = torch.randperm(200, generator=torch.Generator().manual_seed(5))
        parts = torch.cat([data.fixed(rows, LIKE, 3) for rows in x[order].split(7)])
        assert torch.equal(parts, whole[order])
        assert torch.equal(torch.get_rng_state(), before)
        assert not torch.equal(data.fixed(x, LIKE, 4), whole)
        assert set(whole.unique().tolist()) == {0.0, 1.0}
        mean = torch.stack([data.fixed(x, LIKE, seed) for seed in range(200)]).mean(0)
        assert (mean - x).abs().mean() < 0.05

    def test_without_binarize_rows_are_as_they_are(self):
        data = Dataset(GREY)
        assert torch.equal(data.fixed(GREY, LIKE, 0), GREY)
        assert torch.equal(data.visit(GREY, LIKE), GREY)

    def test_the_schema_of_a_data_set(self):
        data = Dataset(GREY.bfloat16(), binarize="threshold")
        schema = Schema.of(data)
        assert (schema.event_shape, schema.binarize, schema.dtype) == ((3,), "threshold", "float32")
        assert schema.restore(GREY).dtype == np.float32
        assert infer(Source(GREY.numpy(), "x"))[1] == "continuous_bernoulli"
