"""What the numbers of a data set mean: chosen once, said in words, kept, and restored."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from refusals import refused
from reparam.data import Dataset, Schema, infer, read
from reparam.data.readers import Source
from reparam.errors import RunFolderError

RNG = np.random.default_rng(0)
BINARY = RNG.integers(0, 2, (20, 4))
GREY8 = RNG.integers(0, 256, (20, 3, 3)).astype("u1")
GREY8[0, 0, 0] = 255
REAL = RNG.normal(size=(20, 4))
COUNTS = RNG.integers(0, 40, (20, 4))
DATA = {
    "binary floats": (BINARY.astype("f4"), "bernoulli", None),
    "binary bytes": (BINARY.astype("u1"), "bernoulli", 1.0),
    "binary black and white": ((BINARY * 255).astype("u1"), "bernoulli", 255.0),
    "booleans": (BINARY.astype(bool), "bernoulli", None),
    "grey bytes": (GREY8, "continuous_bernoulli", 255.0),
    "grey whole numbers": (GREY8.astype("i8"), "continuous_bernoulli", 255.0),
    "grey floats": (RNG.random((20, 4)), "continuous_bernoulli", None),
    "a real table": (REAL, "gaussian", None),
    "a real table of half precision": (REAL.astype("f2"), "gaussian", None),
    "a table of whole numbers": (COUNTS, "negative_binomial", None),
    "a table of unsigned numbers": (COUNTS.astype("u2"), "negative_binomial", None),
    "a table of whole numbers that vary little": (RNG.integers(0, 5, (200, 4)), "gaussian", None),
    "a table of whole numbers far from 0": (COUNTS + 1950, "gaussian", None),
    "a table of numbers of either sign": (COUNTS - 20, "gaussian", None),
}


@pytest.mark.parametrize("kind", sorted(DATA))
def test_the_likelihood_that_fits(kind):
    x, likelihood, white = DATA[kind]
    schema, chosen, notes = infer(Source(x, "x.npy"))
    assert (chosen, schema.pixel_max) == (likelihood, white)
    assert schema.event_shape == x.shape[1:]
    assert schema.dtype == x.dtype.name
    assert any(likelihood in note for note in notes)
    data = schema.dataset(Source(x, "x.npy"))
    scaled = data.grey(data.x, torch.empty(0, dtype=torch.float64))
    if likelihood not in ("gaussian", "negative_binomial"):
        assert scaled.min() >= 0
        assert scaled.max() <= 1
    restored = schema.restore(scaled)
    assert restored.dtype == x.dtype
    assert np.array_equal(restored, x)


def test_the_digits():
    pytest.importorskip("sklearn")
    source = read("digits")
    schema, likelihood, _ = infer(source)
    assert (likelihood, schema.pixel_max, schema.event_shape) == ("continuous_bernoulli", 16, (8, 8))
    assert infer(source, binarize="dynamic")[1] == "bernoulli"
    data = schema.dataset(source)
    assert np.array_equal(schema.restore(data.grey(data.x, torch.empty(0))), source.x)


class TestChoices:
    def test_binarize_makes_grey_values_binary(self):
        schema, likelihood, notes = infer(Source(GREY8, "x"), binarize="threshold")
        assert (likelihood, schema.binarize) == ("bernoulli", "threshold")
        assert "threshold" in notes[0]
        schema, _, notes = infer(Source(BINARY, "x"), binarize="dynamic")
        assert schema.binarize is None
        assert "binary already" in notes[-1]

    def test_a_low_maximum_is_remarked_or_refused(self):
        low = (GREY8 % 17).astype("u1")
        assert "16 of 255" in infer(Source(low, "x"))[2][0]
        assert infer(Source(low, "x"), pixel_max=16)[0].pixel_max == 16
        refused(lambda: infer(Source(low.astype("i4"), "x")), "largest value of x is 16", "give pixel_max")

    def test_whole_numbers_beyond_pixels_are_refused(self):
        for value in (256, 4000, -1):
            x = GREY8.astype("i4")
            x[3, 1] = 0, value, 200
            refused(lambda x=x: infer(Source(x, "x.npy")), "x.npy", str(value), "0..255", "pixel_max", "gaussian")
            refused(lambda x=x: infer(Source(x.reshape(20, 9), "x"), "bernoulli"), str(value), "0..255")
            assert infer(Source(x.reshape(20, 9), "x"))[1] == ("gaussian" if value < 0 else "negative_binomial")

    def test_unknown_names_and_impossible_data(self):
        refused(lambda: infer(Source(REAL, "x"), "gausian"), "'gausian'", "did you mean 'gaussian'")
        refused(lambda: infer(Source(np.array([["a"]]), "x")), "x holds <U1", "numeric")
        refused(lambda: infer(Source(np.ones(3), "x")), "(3,)")
        refused(lambda: infer(Source(np.ones((0, 3)), "x")), "no rows")
        refused(lambda: infer(Source(np.ones((3, 0)), "x")), "empty")
        refused(
            lambda: infer(Source(GREY8, "x"), pixel_max=0.0)[0].dataset(Source(GREY8, "x")), "pixel_max", "positive"
        )
        assert infer(Source(REAL, "x"), "Continuous-Bernoulli")[1] == "continuous_bernoulli"

    def test_not_a_number_is_left_to_the_data_set_which_names_it(self):
        x = REAL.copy()
        x[2, 3] = np.nan
        source = Source(x, "x.csv", columns=list("abcd"))
        refused(lambda: infer(source)[0].dataset(source), "row 2, column 'd'", "NaN")


class TestUnits:
    def test_whole_numbers_stay_within_their_type(self):
        values = torch.tensor([-300.0, -0.4, 0.6, 300.0, 1e30, -1e30])
        assert Schema((1,), "uint8", 255).restore(values / 255).tolist() == [0, 0, 1, 255, 255, 0]
        assert Schema((1,), "int8").restore(values).tolist() == [-128, 0, 1, 127, 127, -128]
        assert Schema((1,), "uint16").restore(values).tolist() == [0, 0, 1, 300, 65535, 0]
        big = Schema((1,), "int64").restore(values)
        assert big.dtype == np.int64
        assert big[4] > 2**62
        assert big[5] == -(2**63)

    def test_booleans_are_rounded(self):
        assert Schema((1,), "bool").restore(torch.tensor([0.0, 0.4, 0.6, 1.0])).tolist() == [False, False, True, True]

    def test_nats_for_each_unit_of_the_data(self):
        assert Schema((1,), "uint8", 255).log_units() == -math.log(255)
        assert Schema((1,), "float32").log_units() == 0


class TestOtherData:
    def test_of_another_shape_or_other_columns(self):
        schema = Schema((2,), "float64", columns=["a", "b"])
        good = Source(REAL[:, :2], "t.csv", columns=["a", "b"], labels=np.arange(20))
        data = schema.dataset(good)
        assert data.columns == ["a", "b"]
        assert data.labels.tolist() == list(range(20))
        assert schema.dataset(Source(REAL[:, :2], "t.npy")).columns == ["a", "b"]
        refused(lambda: schema.dataset(Source(REAL, "t.npy")), "(2,)", "t.npy", "(4,)")
        refused(lambda: schema.dataset(Source(REAL[0], "t.npy")), "(2,)")
        refused(
            lambda: schema.dataset(Source(REAL[:, :2], "t.csv", columns=["a", "c"])),
            "t.csv has no column 'b'",
            "known: a, c",
        )
        wider = Source(REAL, "t.csv", columns=["b", "extra", "a", "more"])  # columns are found by their names
        assert np.array_equal(schema.dataset(wider).x, REAL[:, [2, 0]])

    def test_in_other_units(self):
        schema = Schema((3, 3), "uint8", 255.0)
        refused(lambda: schema.dataset(Source(GREY8 / 255.0, "x.npy")), "x.npy", "0..1", "0..255")
        floats = schema.dataset(Source(GREY8.astype("f4"), "x.npy"))
        assert torch.equal(floats.grey(floats.x, torch.empty(0)), torch.from_numpy(GREY8).float() / 255)
        refused(lambda: schema.dataset(Source(GREY8.astype("i4") + 1, "x.npy")), "256", "0..255")

    def test_bytes_are_no_pixels_for_a_model_without_white(self):
        schema = Schema((3, 3), "float64")
        data = schema.dataset(Source(GREY8, "x.npy"))
        assert torch.equal(data.grey(data.x, torch.empty(0)), torch.from_numpy(GREY8).float())
        assert schema.dataset(Source(GREY8.astype("i4"), "x.npy")).pixel_max is None

    def test_binarize_can_be_replaced(self):
        schema = Schema((3, 3), "uint8", 255.0, "dynamic")
        assert schema.dataset(Source(GREY8, "x")).binarize == "dynamic"
        assert schema.dataset(Source(GREY8, "x"), binarize="threshold").binarize == "threshold"
        refused(lambda: schema.dataset(Source(GREY8, "x"), binarize="never"), "'never'")


class TestText:
    @pytest.mark.parametrize("kind", sorted(DATA))
    def test_round_trip(self, kind):
        schema = infer(Source(DATA[kind][0], "x"))[0]
        assert Schema.from_json(schema.to_json()) == schema

    def test_round_trip_of_everything(self):
        schema = Schema((2,), "float32", 0.1, "threshold", ['a "quoted" é', "b\n"])
        assert Schema.from_json(schema.to_json()) == schema
        data = Dataset(torch.rand(3, 2), columns=["a", "b"])
        assert Schema.from_json(Schema.of(data).to_json()) == Schema.of(data)

    def test_a_newer_format_is_refused(self):
        raw = json.loads(Schema((2,), "float32").to_json())
        text = json.dumps({**raw, "format": raw["format"] + 1, "more": 1})
        refused(lambda: Schema.from_json(text), "format 2", "update reparam", kinds=(RunFolderError,))

    def test_cut_anywhere_it_is_refused(self):
        text = Schema((2,), "float32", columns=["a", "b"]).to_json()
        for n in range(len(text) - 2):
            refused(lambda n=n: Schema.from_json(text[:n]), "schema.json", kinds=(RunFolderError,))

    @pytest.mark.parametrize(
        "change",
        [
            {"event_shape": "ab"}, {"event_shape": [1.5]}, {"event_shape": [-1]}, {"event_shape": [True]},
            {"event_shape": None}, {"dtype": "object"}, {"dtype": 3}, {"dtype": ["x"]}, {"pixel_max": "x"},
            {"pixel_max": 0}, {"pixel_max": math.nan}, {"pixel_max": True}, {"binarize": "no"}, {"columns": "ab"},
            {"columns": ["a"]}, {"columns": [1, 2]}, {"format": "1"}, {"format": True}, {"format": 0},
            {"format": None}, {"more": 1},
        ],
    )  # fmt: skip
    def test_an_entry_that_no_schema_has_is_refused(self, change):
        raw = {**json.loads(Schema((2,), "float32").to_json()), **change}
        refused(lambda: Schema.from_json(json.dumps(raw)), "schema.json", kinds=(RunFolderError,))

    @pytest.mark.parametrize("text", ["", "[]", "1", "null", "{}", "[" * 100_000, '{"format": 1}', "\0"])
    def test_foreign_text_is_refused(self, text):
        refused(lambda: Schema.from_json(text), "schema.json", kinds=(RunFolderError,))
