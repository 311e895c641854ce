"""The file formats, one function each, from a path to arrays."""

from __future__ import annotations

import csv
import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from reparam.errors import InputError, require

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def load_npy(path: Path) -> np.ndarray:
    """One array, never unpickled."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(_numpy_reason(path, error)) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path.name} is an archive of arrays: name it .npz")
    return array


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive, never unpickled."""
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{path.name} is one array: name it .npy")
        with archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_numpy_reason(path, error)) from error


def _numpy_reason(path: Path, error: Exception) -> str:
    if "allow_pickle" in str(error) and "bject arrays" in str(error):
        return f"{path.name} holds an object array, which is never unpickled: save it with a numeric dtype"
    return f"{path.name} cannot be read as numpy data: it is truncated or of another format"


def looks_like_idx(path: Path) -> bool:
    """Whether the file starts as idx files do: two zero bytes, a type, a number of dimensions."""
    try:
        with _open(path) as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and 1 <= head[3] <= 8


def _open(path: Path) -> gzip.GzipFile:
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def load_idx(path: Path) -> np.ndarray:
    """An idx file, packed by gzip or not; its length must be what its head says."""
    try:
        with _open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} is truncated or damaged: gzip says {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES or content[3] < 1:
        raise InputError(f"{path.name} is no idx file: it must start with two zero bytes and a known type")
    dims, dtype = content[3], np.dtype(_IDX_TYPES[content[2]])
    start = 4 + 4 * dims
    if len(content) < start:
        raise InputError(f"{path.name} is truncated inside its head")
    shape = struct.unpack(f">{dims}I", content[4:start])
    expected = int(np.prod(shape, dtype=np.uint64)) * dtype.itemsize
    if len(content) - start != expected:
        state = "truncated" if len(content) - start < expected else "longer than its head says"
        raise InputError(
            f"{path.name} is {state}: {expected} bytes of data expected, {len(content) - start} found"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def load_csv(path: Path) -> tuple[np.ndarray, list[str]]:
    """A table of numbers, separated by comma, semicolon or tab, with or without a line of names."""
    try:
        opener = gzip.open if path.name.lower().endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            separator = max(",;\t", key=first.count)
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=separator) if row]
    except (UnicodeDecodeError, OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a table of text in UTF-8: {error}") from error
    if not rows:
        raise InputError(f"{path.name} is empty")
    named = not all(_is_number(cell) for cell in rows[0])
    columns = [c.strip() for c in rows[0]] if named else [f"column {i}" for i in range(len(rows[0]))]
    body = rows[1:] if named else rows
    if not body:
        raise InputError(f"{path.name} has a line of names and no rows")
    for i, row in enumerate(body):
        if len(row) != len(columns):
            raise InputError(
                f"{path.name} is ragged: row {i} has {len(row)} cells, the first line has {len(columns)}"
            )
    if len(set(columns)) != len(columns):
        twice = next(c for c in columns if columns.count(c) > 1)
        raise InputError(f"{path.name} has two columns named {twice!r}: rename one")
    try:
        return np.array(body, dtype=np.float64), columns
    except ValueError:
        raise InputError(_bad_cell(path, body, columns)) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip() == ""
    return True


def _bad_cell(path: Path, body: list[list[str]], columns: list[str]) -> str:
    for i, row in enumerate(body):
        for name, cell in zip(columns, row, strict=True):
            if not cell.strip():
                return (
                    f"{path.name}: row {i}, column {name!r} is empty: remove such rows or fill them in first"
                )
            if not _is_number(cell):
                return (
                    f"{path.name}: row {i}, column {name!r} is {cell[:40]!r}, not a number: "
                    "encode such columns as numbers, or remove them"
                )
    return f"{path.name} holds cells that are not numbers"


def load_parquet(path: Path) -> tuple[np.ndarray, list[str]]:
    """A Parquet table whose columns are all numbers."""
    parquet = require("pyarrow.parquet", "tabular", "reading Parquet")
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.name} cannot be read as Parquet: it is truncated or of another format"
        ) from error
    for field in table.schema:
        if not str(field.type).startswith(("int", "uint", "float", "double", "half", "bool")):
            raise InputError(
                f"{path.name}: column {field.name!r} holds {field.type}, not numbers: encode or remove it"
            )
    arrays = [np.asarray(column.to_numpy(), dtype=np.float64) for column in table.columns]
    return np.stack(arrays, axis=1), list(table.column_names)


def load_images(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """A folder of pictures of one size: (N, H, W) if all are grey, else (N, 3, H, W); subfolders are labels."""
    image = require("PIL.Image", "image", "reading a folder of images")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _IMAGE_ENDINGS and f.is_file())
    if not files:
        raise InputError(f"{folder} holds no images ({', '.join(sorted(_IMAGE_ENDINGS))})")
    pictures = []
    for file in files:
        try:
            with image.open(file) as picture:
                pictures.append(picture.convert("L" if picture.mode in ("1", "L", "I;16", "LA") else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{file.name} is no image that can be read: {error}") from error
        if pictures[-1].size != pictures[0].size:
            (w, h), (w0, h0) = pictures[-1].size, pictures[0].size
            raise InputError(
                f"{file.name} is {w} x {h}, {files[0].name} is {w0} x {h0}: make all images one size"
            )
    grey = all(p.mode == "L" for p in pictures)
    x = np.stack([np.asarray(p if grey else p.convert("RGB")) for p in pictures])
    parents = [f.parent.relative_to(folder).as_posix() for f in files]
    labels = np.array(parents) if len(set(parents)) > 1 else None
    return (x if grey else np.ascontiguousarray(x.transpose(0, 3, 1, 2))), labels
