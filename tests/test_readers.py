"""Files of data: what is read, bit for bit, and that everything else is refused in one line."""

from __future__ import annotations

import gzip
import io
import pickle
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refusals import refused, taken_or_refused
from reparam.data import Dataset, read
from reparam.data.readers import bundled

QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
IDX = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused_as(path: Path, content: str | bytes, *words: str, labels=None) -> None:
    """A file of this name and content is refused."""
    write(path, content)
    refused(lambda: read(path, labels), *words)


def idx(array: np.ndarray) -> bytes:
    kind = array.dtype.str[1:]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, IDX[kind], array.ndim, *array.shape)
    return head + array.astype(f">{kind}").tobytes()


def npy(array: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


NUMBERS = np.arange(24).reshape(4, 6) % 7


class TestNumpy:
    @pytest.mark.parametrize(
        "dtype",
        ["f2", "f4", "f8", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f4", ">f8", ">i4", ">u2"],
    )
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_numbers_of_every_type_are_read(self, tmp_path, dtype, order):
        array = np.asarray(NUMBERS, dtype=dtype, order=order)
        for source in (
            read(write(tmp_path / "x.npy", npy(array))),
            read(write(tmp_path / "x.npy.gz", gzip.compress(npy(array)))),
            read(write(tmp_path / "x.npz", npz(x=array))),
        ):
            assert source.x.dtype == array.dtype
            assert np.array_equal(source.x, array)
            assert np.array_equal(Dataset(source.x, pixel_max=6).x.double().numpy(), array.astype(float))

    def test_the_array_of_an_archive_is_found(self, tmp_path):
        named = read(write(tmp_path / "a.npz", npz(y=np.arange(4), x=NUMBERS, other=np.ones(1))))
        assert np.array_equal(named.labels, np.arange(4))
        only = read(write(tmp_path / "b.npz", npz(cells=NUMBERS, labels=np.arange(4)[:, None])))
        assert np.array_equal(only.x, NUMBERS)
        assert np.array_equal(only.labels, np.arange(4))
        assert read(write(tmp_path / "c.npz", npz(arr_0=NUMBERS))).labels is None
        one_hot = read(write(tmp_path / "d.npz", npz(x=NUMBERS, y=np.eye(4))))
        assert one_hot.labels is None

    def test_an_archive_without_an_answer_is_refused(self, tmp_path):
        refused_as(tmp_path / "a.npz", npz(a=NUMBERS, b=NUMBERS), "a, b", "'x'")
        refused_as(tmp_path / "b.npz", npz(), "no arrays")
        refused_as(tmp_path / "c.npz", npz(x=NUMBERS, y=np.arange(3)), "'y'", "3 labels", "4 rows")

    @QUICK
    @given(cut=st.floats(0, 1, exclude_max=True), packed=st.booleans())
    def test_cut_short_it_is_refused(self, tmp_path, cut, packed):
        for name, whole in (("x.npy", npy(NUMBERS)), ("x.npz", npz(x=NUMBERS, y=np.arange(4)))):
            content = gzip.compress(whole) if packed else whole
            path = write(tmp_path / name, content[: int(cut * len(content))])
            refused(lambda path=path: read(path), name, "truncated")

    @QUICK
    @given(at=st.integers(0, 10**6), value=st.integers(0, 255))
    def test_altered_bytes_never_end_in_another_error(self, tmp_path, at, value):
        for name, whole in (("x.npy", npy(NUMBERS)), ("x.npz", npz(x=NUMBERS))):
            content = bytearray(whole)
            content[at % (128 if name == "x.npy" else len(content))] = value
            write(tmp_path / name, bytes(content))
            taken_or_refused(lambda name=name: Dataset(read(tmp_path / name).x))

    @QUICK
    @given(
        st.binary(max_size=300), st.sampled_from(["", "\x93NUMPY\x01\0", "\x93NUMPY\x03\0", "PK\x03\x04", "\x80\x04"])
    )
    def test_foreign_bytes_are_refused(self, tmp_path, content, start):
        for name in ("x.npy", "x.npz"):
            path = write(tmp_path / name, start.encode("latin1") + content)
            refused(lambda path=path: read(path), name)

    def test_a_head_that_promises_too_much_is_refused(self, tmp_path):
        for shape in ("(9999999999999,)", "(-1, 3)", "(4, 600)", "(10**3,)", "(1e3,)"):
            head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
            content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode() + bytes(192)
            path = write(tmp_path / "x.npy", content)
            refused(lambda path=path: read(path), "x.npy")

    def test_the_wrong_ending_is_named(self, tmp_path):
        refused_as(tmp_path / "x.npz", npy(NUMBERS), "name it .npy")
        refused_as(tmp_path / "x.npy", npz(x=NUMBERS), "name it .npz")
        refused_as(tmp_path / "x.npy", npy(NUMBERS) + npy(NUMBERS), "longer than its head says")

    def test_objects_are_refused_and_never_unpickled(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "sprung",))

        trap = np.array([Trap(), Trap()], dtype=object)
        pickle.loads(pickle.dumps(trap))  # noqa: S301 - the trap works ...
        assert (tmp_path / "sprung").exists()
        (tmp_path / "sprung").unlink()
        objects = npy(trap, allow_pickle=True)
        for name, content in (
            ("x.npy", objects),
            ("x.npy.gz", gzip.compress(objects)),
            ("bare.npy", pickle.dumps(trap)),
            ("bare.npz", pickle.dumps(trap)),
        ):
            refused_as(tmp_path / name, content, name)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("x.npy", objects)
        refused_as(tmp_path / "x.npz", out.getvalue(), "'x'", "never unpickled", "astype")
        refused(lambda: Dataset(trap), "object", kinds=(TypeError,))
        assert not (tmp_path / "sprung").exists()  # ... and was never sprung

    def test_an_array_that_is_not_asked_for_may_hold_objects(self, tmp_path):
        path = tmp_path / "x.npz"
        np.savez(path, x=NUMBERS, names=np.array(["a", None], dtype=object))
        assert np.array_equal(read(path).x, NUMBERS)


class TestIdx:
    @pytest.mark.parametrize("kind", sorted(IDX))
    @pytest.mark.parametrize("dims", [1, 2, 3, 4])
    def test_all_types_and_dimensions(self, tmp_path, kind, dims):
        array = np.arange(2 * 3**dims)[: 3**dims].reshape((3,) * dims).astype(kind)
        for name, content in (
            ("x.idx", idx(array)),
            ("x-ubyte.gz", gzip.compress(idx(array))),
            ("no-ending", idx(array)),
        ):
            found = read(write(tmp_path / name, content)).x
            assert found.dtype == array.dtype
            assert found.dtype.isnative
            assert np.array_equal(found, array)

    def test_cut_anywhere_it_is_refused(self, tmp_path):
        whole = idx(NUMBERS.astype("u1"))
        packed = gzip.compress(whole)
        for n in range(len(whole)):
            refused_as(tmp_path / "x.idx", whole[:n], "x.idx")
        for n in range(len(packed)):
            refused_as(tmp_path / "x-ubyte.gz", packed[:n], "x-ubyte.gz")
        refused_as(tmp_path / "x.idx", whole[:-1], "truncated", "24 bytes", "23 found")
        refused_as(tmp_path / "x.idx", whole[:9], "truncated inside its head")

    def test_too_long_or_foreign_is_refused(self, tmp_path):
        whole = idx(NUMBERS.astype("u1"))
        refused_as(tmp_path / "x.idx", whole + b"\0", "longer than its head says")
        for wrong in (b"\1" + whole[1:], whole[:2] + b"\x0a" + whole[3:], whole[:3] + b"\0" + whole[4:], b"", b"\0\0"):
            refused_as(tmp_path / "x.idx", wrong, "no idx file")
        overflow = struct.pack(">BBBB4I", 0, 0, 0x08, 4, *[65536] * 4)  # 2**64 bytes, which are 0 modulo 2**64
        refused_as(tmp_path / "x.idx", overflow, "truncated", str(2**64))
        refused_as(tmp_path / "x.idx.gz", gzip.compress(whole)[:-8] + bytes(8), "damaged")

    @pytest.mark.parametrize("image", ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "t-images-idx3-ubyte.gz"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_labels_beside_images_are_found(self, tmp_path, image, packed):
        images, labels = np.ones((3, 2, 2), "u1"), np.arange(3, dtype="u1")
        path = write(tmp_path / image, idx(images))
        assert read(path).labels is None
        beside = image.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1").removesuffix(".gz")
        write(tmp_path / (beside + ".gz" * packed), gzip.compress(idx(labels)) if packed else idx(labels))
        assert np.array_equal(read(path).labels, labels)

    def test_labels_beside_images_that_do_not_fit_are_refused(self, tmp_path):
        path = write(tmp_path / "a-images-idx3-ubyte", idx(np.ones((3, 2, 2), "u1")))
        beside = write(tmp_path / "a-labels-idx1-ubyte", idx(np.arange(2, dtype="u1")))
        refused(lambda: read(path), beside.name, "2 labels", "3 rows")
        write(beside, idx(np.ones((3, 2), "u1")))
        refused(lambda: read(path), beside.name, "one dimension")
        own = write(tmp_path / "mine.csv", "1\n2\n3\n")
        assert np.array_equal(read(path, own).labels, [1, 2, 3])


TABLE = [[1.0, 2.5], [-3e-3, 4.0], [5.0, 6.0]]


class TestCsv:
    @pytest.mark.parametrize(
        "text",
        [
            "a,b\n1,2.5\n-3e-3,4\n5,6\n",
            "a;b\n1;2.5\n-3e-3;4\n5;6",
            "a\tb\n1\t2.5\n-3E-3\t4.\n5\t6\n",
            "a,b\r\n1,2.5\r\n-3e-3,4\r\n5,6\r\n",
            '"a","b"\n"1","2.5"\n"-3e-3",4\n5,6\n',
            "\ufeffa,b\n1,2.5\n-3e-3,4\n5,6\n",
            " a , b \n 1 , 2.5\n-.003,+4\n5,6\n",
            "\na,b\n\n1,2.5\n\n-3e-3,4\n5,6\n\n\n",
        ],
    )
    def test_the_forms_of_a_table(self, tmp_path, text):
        for path in (
            write(tmp_path / "t.csv", text),
            write(tmp_path / "t.csv.gz", gzip.compress(text.encode())),
            write(tmp_path / "T.TSV", text),
        ):
            source = read(path)
            assert source.columns == ["a", "b"]
            assert source.x.tolist() == TABLE

    def test_without_names(self, tmp_path):
        source = read(write(tmp_path / "t.csv", "1,2.5\n-3e-3,4\n5,6\n"))
        assert source.columns == ["column 0", "column 1"]
        assert source.x.tolist() == TABLE

    def test_names_may_hold_separators_line_ends_and_years(self, tmp_path):
        source = read(write(tmp_path / "t.csv", '"weight, kg";"a, b, c";"two\nlines";2001\n1;2;3;4\n'))
        assert source.columns == ["weight, kg", "a, b, c", "two lines", "2001"]
        assert source.x.tolist() == [[1, 2, 3, 4]]

    def test_the_first_row_is_never_taken_for_names_in_silence(self, tmp_path):
        refused_as(tmp_path / "t.csv", "1.5,NA\n2,3\n", "row 0", "'NA'", "missing value")
        refused_as(tmp_path / "t.csv", "1,\n2,3\n", "row 0", "empty")
        refused_as(tmp_path / "t.csv", "5.1,setosa\n4.9,setosa\n", "row 0", "'setosa'")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["is empty"]),
            ("\n\n", ["is empty"]),
            ("a,b\n", ["line of names and no rows"]),
            ("a,b\n\n\n", ["line of names and no rows"]),
            ("a,b\n1,2\n3\n", ["ragged", "row 1 (line 3)", "1 cells where 2"]),
            ("a,b\n1,2\n3,4,5\n", ["ragged", "row 1 (line 3)", "3 cells where 2"]),
            ("a,b\n1,2,3\n4,5,6\n", ["ragged", "row 0 (line 2)"]),
            ("a,b\n1,2\n3,cat\n", ["row 1 (line 3)", "'b'", "'cat'", "not a number", "labels='b'"]),
            ("a,b\n1,2\n\n3,\n", ["row 1 (line 4)", "'b'", "empty", "fill them in"]),
            ('a,b\n1,""\n', ["row 0", "'b'", "empty"]),
            ("a,b\n1,NA\n", ["row 0", "'b'", "missing value"]),
            ("a,b\n1,1_000\n", ["row 0", "'b'", "'1_000'", "not a number"]),
            ("a,b\n1,\u0661\n", ["row 0", "'b'", "not a number"]),
            ("a;b\n1,5;2\n", ["'1,5'", "decimal point"]),
            ("a,b,a\n1,2,3\n", ["two columns named 'a'"]),
            (",a\n0,2\n1,4\n", ["column 0 has no name", "index=False"]),
            ("a\n1 2\n", ["'1 2'", "not a number"]),
            ('a,b\n1,"2\n3,4\n', ["row 0"]),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, words):
        refused_as(tmp_path / "t.csv", text, "t.csv", *words)
        refused_as(tmp_path / "t.csv.gz", gzip.compress(text.encode()), "t.csv.gz", *words)

    def test_not_a_number_and_infinity_are_refused_by_row_and_column(self, tmp_path):
        for cell, word in (("nan", "NaN"), ("inf", "infinite"), ("-Infinity", "infinite"), ("1e999", "infinite")):
            source = read(write(tmp_path / "t.csv", f"a,b\n1,2\n3,{cell}\n"))
            refused(lambda s=source: Dataset(s.x, columns=s.columns), "row 1", "column 'b'", word, "remove such rows")

    def test_what_is_no_text_is_refused(self, tmp_path):
        whole = gzip.compress(b"a,b\n1,2\n" * 50)
        for n in range(len(whole)):
            refused_as(tmp_path / "t.csv.gz", whole[:n], "t.csv.gz")
        refused_as(tmp_path / "t.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-8")
        refused_as(tmp_path / "t.csv", b"a,b\n" + b"1,2\n" * 9000 + b"\xff\n", "UTF-8")
        refused_as(tmp_path / "t.csv", b"a,b\n1,\0\n", "row 0")
        refused_as(tmp_path / "t.csv", "a," + "b" * 200_000 + "\n1,2\n", "t.csv")

    @QUICK
    @given(
        st.lists(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3), min_size=1, max_size=5),
        st.sampled_from(",;\t"),
    )
    def test_every_number_comes_back_as_it_was_written(self, tmp_path, rows, separator):
        text = "\n".join(separator.join(map(repr, row)) for row in rows)
        assert read(write(tmp_path / "t.csv", text)).x.tolist() == rows

    @QUICK
    @given(st.text(alphabet='1a,;"\n\r\t .-é', max_size=40))
    def test_no_text_ends_in_another_error(self, tmp_path, text):
        for labels in (None, "a", "-\n1"):
            path = write(tmp_path / "t.csv", text)
            source = taken_or_refused(lambda path=path, labels=labels: read(path, labels))
            assert source is None or 0 < source.x.size == len(source.x) * len(source.columns)

    def test_a_large_table_needs_little_memory_beside_its_numbers(self, tmp_path):
        import tracemalloc

        path = tmp_path / "t.csv"
        line = ",".join(f"{i}.12345678" for i in range(10)) + "\n"
        write(path, line * 20_000)
        tracemalloc.start()
        x = read(path).x
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert x.shape == (20_000, 10)
        assert peak < 5 * x.nbytes


IRIS = "size,species,width\n1.5,setosa,2\n2.5,virginica,3\n3.5,setosa,4\n"


class TestLabels:
    def test_a_column_of_text_or_numbers_is_taken_out(self, tmp_path):
        source = read(write(tmp_path / "t.csv", IRIS), "species")
        assert source.columns == ["size", "width"]
        assert source.x.tolist() == [[1.5, 2], [2.5, 3], [3.5, 4]]
        assert source.labels.tolist() == ["setosa", "virginica", "setosa"]
        numbers = read(write(tmp_path / "u.csv", IRIS.replace("setosa", "0").replace("virginica", "1")), "species")
        assert numbers.labels.dtype == np.int64
        assert numbers.labels.tolist() == [0, 1, 0]
        data = Dataset(source.x, columns=source.columns, labels=source.labels)
        assert data[1:].labels.tolist() == ["virginica", "setosa"]

    def test_a_column_of_labels_excuses_nothing_else(self, tmp_path):
        refused_as(tmp_path / "t.csv", IRIS, "'species'", "labels='species'")
        refused_as(tmp_path / "t.csv", IRIS + "4,x\n", "ragged", "row 3 (line 5)", labels="species")
        refused_as(tmp_path / "t.csv", IRIS + "4,x,1,\n", "ragged", "4 cells", labels="species")
        refused_as(tmp_path / "t.csv", IRIS + "cat,x,1\n", "row 3", "'size'", "'cat'", labels="species")
        refused_as(tmp_path / "t.csv", "species\na\n", "no column beside", labels="species")

    def test_an_absent_column_is_refused_with_the_nearest(self, tmp_path):
        path = write(tmp_path / "t.csv", IRIS)
        refused(lambda: read(path, "specis"), "'specis'", "neither a column", "did you mean 'species'")
        refused_as(path, 'a,"two\nlines"\n1,2\n', "a, two lines", labels="b")
        assert read(path, "two\nlines").labels.tolist() == [2]
        refused_as(tmp_path / "x.npy", npy(NUMBERS), "'species'", "no such file", labels="species")

    @pytest.mark.parametrize("name", ["l.csv", "l.txt", "l.csv.gz", "l.tsv"])
    def test_files_of_text_with_and_without_a_name(self, tmp_path, name):
        data = write(tmp_path / "x.npy", npy(NUMBERS))
        for text, expected in (
            ("a\nb\na\nc\n", ["a", "b", "a", "c"]),
            ("kind\na\nb\na\nc\n", ["a", "b", "a", "c"]),
            ("1\n2\n3\n4\n", [1, 2, 3, 4]),
            ("class\r\n1\r\n2\r\n3\r\n4", [1, 2, 3, 4]),
        ):
            file = write(tmp_path / name, gzip.compress(text.encode()) if name.endswith("gz") else text)
            assert read(data, file).labels.tolist() == expected
        for text, words in (
            ("a\nb\n", ["2 labels", "4 rows"]),
            ("", ["is empty"]),
            ("a,b\n" * 4, ["2 columns"]),
            (b"\xff\n", ["UTF-8"]),
        ):
            file = write(tmp_path / name.removesuffix(".gz"), text)
            refused(lambda file=file: read(data, file), file.name, *words)

    def test_files_of_arrays(self, tmp_path):
        data = write(tmp_path / "x.npy", npy(NUMBERS))
        for array in (np.arange(4), np.arange(4)[:, None], np.array(list("abca"))):
            found = read(data, write(tmp_path / "l.npy", npy(array))).labels
            assert found.tolist() == array.reshape(-1).tolist()
        for array in (np.arange(3), np.ones((4, 2)), np.array(1)):
            file = write(tmp_path / "l.npy", npy(array))
            refused(lambda file=file: read(data, file), "l.npy", "4 rows")
        replaced = read(write(tmp_path / "x.npz", npz(x=NUMBERS, y=np.arange(3))), write(tmp_path / "l.csv", "1\n" * 4))
        assert replaced.labels.tolist() == [1, 1, 1, 1]
        refused(lambda: read(data, tmp_path / "absent.npy"), "absent.npy", "no such file")


class TestParquet:
    @pytest.fixture
    def frame(self):
        pandas = pytest.importorskip("pandas")
        return pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "c": [True, False, True], "d": ["x", "y", "x"]})

    def test_numbers_and_labels(self, tmp_path, frame):
        path = tmp_path / "key=1" / "t.parquet"  # a name that pyarrow would take for a partition
        path.parent.mkdir()
        frame.iloc[[0, 2]].to_parquet(path)  # with an index that pandas stores as a column
        refused(lambda: read(path), "'d'", "not numbers")
        source = read(path, "d")
        assert source.columns == ["a", "b", "c"]
        assert source.x.tolist() == [[1, 0.5, 1], [3, 2.5, 1]]
        assert source.labels.tolist() == ["x", "x"]
        assert read(path, "d").x.dtype == np.float64
        refused(lambda: read(path, "e"), "'e'", "neither a column")
        frame[["a", "b"]].to_parquet(path)
        assert read(path, "a").labels.tolist() == [1, 2, 3]

    def test_holes_are_refused_by_row_and_column(self, tmp_path, frame):
        frame["a"] = frame["a"].astype("Int64")
        frame.loc[1, "a"] = None
        frame[["b", "a"]].to_parquet(tmp_path / "t.parquet")
        source = read(tmp_path / "t.parquet")
        refused(lambda: Dataset(source.x, columns=source.columns), "row 1", "column 'a'", "NaN")

    def test_damaged_or_empty_is_refused(self, tmp_path, frame):
        path = tmp_path / "t.parquet"
        frame[["a", "b"]].to_parquet(path)
        whole = path.read_bytes()
        for n in range(0, len(whole), 101):
            refused_as(path, whole[:n], "t.parquet", "truncated")
        frame[[]].to_parquet(path, index=False)
        refused(lambda: read(path), "no columns")
        frame[["a"]].iloc[:0].to_parquet(path)
        refused(lambda: Dataset(read(path).x), "no rows")


class TestImages:
    @pytest.fixture
    def image(self):
        return pytest.importorskip("PIL.Image")

    def save(self, image, path, array, mode=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = image.fromarray(array)
        (picture.convert(mode) if mode else picture).save(path)

    def test_grey_with_labels_from_nested_folders(self, tmp_path, image):
        grey = np.arange(6, dtype="u1").reshape(2, 3) * 50
        for i, name in enumerate(["b/1.png", "a/x/2.png", "a/3.PNG", ".hidden/4.png", "a/._5.png"]):
            self.save(image, tmp_path / name, grey + i)
        write(tmp_path / "notes.txt", "no picture")
        source = read(tmp_path)
        assert source.pixel_max == 255
        assert source.labels.tolist() == ["a", "a/x", "b"]
        assert np.array_equal(source.x, np.stack([grey + 2, grey + 1, grey]))
        assert source.x.dtype == np.uint8

    def test_colour_of_every_kind(self, tmp_path, image):
        grey = np.arange(6, dtype="u1").reshape(2, 3) * 50
        rgb = np.stack([grey, 255 - grey, grey // 2], -1)
        for i, mode in enumerate([None, "RGBA", "P", "CMYK"]):
            self.save(image, tmp_path / mode.__str__() / f"{i}.{'tif' if mode == 'CMYK' else 'png'}", rgb, mode)
        self.save(image, tmp_path / "z" / "grey.png", grey)
        source = read(tmp_path)
        assert source.x.shape == (5, 3, 2, 3)
        where = dict(zip(source.labels, source.x, strict=True))
        assert np.array_equal(where["None"], rgb.transpose(2, 0, 1))
        assert np.array_equal(where["RGBA"], rgb.transpose(2, 0, 1))
        assert np.array_equal(where["z"], np.stack([grey] * 3))

    @pytest.mark.parametrize("ending", ["png", "bmp", "gif", "tif", "webp", "jpg", "jpeg"])
    def test_every_ending(self, tmp_path, image, ending):
        grey = np.full((8, 8), 100, dtype="u1")
        self.save(image, tmp_path / f"a.{ending}", grey)
        source = read(tmp_path)
        assert source.labels is None
        assert source.x.shape in ((1, 8, 8), (1, 3, 8, 8))
        assert np.abs(source.x.astype(int) - 100).max() <= 3

    def test_one_bit_and_transparent_grey(self, tmp_path, image):
        black = np.eye(4, dtype=bool)
        self.save(image, tmp_path / "a.png", black)
        self.save(image, tmp_path / "b.png", black, "LA")
        assert np.array_equal(read(tmp_path).x, np.stack([black * 255] * 2))

    def test_sixteen_bits_are_kept(self, tmp_path, image):
        deep = np.array([[0, 300], [40000, 65535]], dtype="u2")
        self.save(image, tmp_path / "a.png", deep)
        source = read(tmp_path)
        assert np.array_equal(source.x[0], deep)
        assert source.pixel_max == 65535
        self.save(image, tmp_path / "b.png", np.zeros((2, 2), "u1"))
        refused(lambda: read(tmp_path), "b.png has 8 bits", "a.png has 16", "one depth")

    def test_what_cannot_be_one_array_is_refused(self, tmp_path, image):
        refused(lambda: read(tmp_path), "holds no images", ".png")
        self.save(image, tmp_path / "a.png", np.zeros((2, 3), "u1"))
        self.save(image, tmp_path / "c" / "b.png", np.zeros((2, 4), "u1"))
        refused(lambda: read(tmp_path), "c/b.png is 4 x 2", "a.png is 3 x 2", "one size")
        shutil.rmtree(tmp_path / "c")
        self.save(image, tmp_path / "f.tif", np.zeros((2, 3), "f4"))
        refused(lambda: read(tmp_path), "f.tif", "32 bits")
        (tmp_path / "f.tif").unlink()
        self.save(image, tmp_path / "b.png", np.random.default_rng(0).integers(0, 255, (2, 3)).astype("u1"))
        pixels, whole = read(tmp_path).x, (tmp_path / "b.png").read_bytes()
        for n in range(len(whole)):
            write(tmp_path / "b.png", whole[:n])
            if n < whole.index(b"IDAT") + 12:
                refused(lambda: read(tmp_path), "b.png is no image", "mend or remove it")
            else:  # where only the last bytes of a chunk are gone, all pixels may be there
                source = taken_or_refused(lambda: read(tmp_path))
                assert source is None or np.array_equal(source.x, pixels)

    def test_bytes_of_another_kind_are_refused(self, tmp_path, image):
        write(tmp_path / "a.jpg", b"<html>not found</html>")
        refused(lambda: read(tmp_path), "a.jpg is no image")


class TestPlaces:
    def test_the_bundled_digits(self):
        pytest.importorskip("sklearn")
        source = read("digits")
        assert source.x.shape == (1797, 8, 8)
        assert source.x.dtype == np.uint8
        assert source.pixel_max == 16
        assert len(source.labels) == 1797

    def test_what_is_missing_or_unknown_is_refused(self, tmp_path):
        refused(lambda: read(tmp_path / "absent.csv"), "no such file", "digits")
        refused_as(tmp_path / "x.xlsx", b"PK", "no reader knows", "x.xlsx", ".npy")
        refused_as(tmp_path / "x", b"", "no reader knows")
        for ending in ("npy", "npz", "csv", "parquet", "idx"):
            folder = tmp_path / f"folder.{ending}"
            folder.mkdir()
            refused(lambda f=folder: read(f), "holds no images")
            refused_as(tmp_path / f"x.{ending}", b"", f"x.{ending}")
        refused(lambda: read("/dev/null/x.csv"), "x.csv")
        refused(lambda: read(tmp_path / ("x" * 300)), "cannot be read", "too long")

    def test_a_file_that_may_not_be_read_is_refused(self, tmp_path, monkeypatch):
        def denied(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
        for name in ("x.npy", "x.npz", "x.csv", "x.idx"):
            (tmp_path / name).touch()
            refused(lambda name=name: read(tmp_path / name), name)

    def test_reading_needs_no_optional_package(self):
        import subprocess

        code = (
            "import sys; import reparam.data; "
            "bad = {'pandas', 'pyarrow', 'PIL', 'sklearn', 'matplotlib'} & set(sys.modules); assert not bad, bad"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_of_the_name_of_bundled_data_is_no_data(tmp_path, monkeypatch):
    """``train digits --out digits``, then a command that reads the run's data again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "config.toml").write_text("")
    assert read("digits").x.shape == (1797, 8, 8)
    assert bundled("digits")
    (tmp_path / "digits" / "config.toml").unlink()
    assert not bundled("digits")  # a folder of images
