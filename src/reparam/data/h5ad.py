"""Files of AnnData (.h5ad): counts of cells and their columns, read through h5py alone, and results written back.

The layout is that of anndata's specification of files (encoding-type and encoding-version of each element), versions
0.7 and later; see https://anndata.readthedocs.io, "On-disk format".
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reparam.data.sparse import PIECE, SparseRows, array, as_floats
from reparam.errors import InputError, nearest, require

_Block = Callable[[int, int], np.ndarray]  # rows start..stop of what is written


class Cells(NamedTuple):
    """What is read of a file: counts x (cells, genes), the names of genes, and columns of obs by name, (cells,)."""

    x: SparseRows
    genes: list[str]
    obs: dict[str, np.ndarray]


def read_cells(path: Path, layer: str | None = None, columns: Sequence[str] = ()) -> Cells:
    """The counts of X, or of a layer, and some columns of obs.

    Compressed rows, compressed columns and dense matrices are read piece by piece into compressed rows, in memory or,
    where these are large, in a temporary file; at no time is the matrix dense as a whole.

    Raises:
        InputError: for a file that is damaged or of another layout, or a layer or column that it has not.
    """
    with _opened(path) as file:
        x = _matrix(path, file, layer)
        genes = _names(path, file, "var")
        if len(genes) != x.width:
            raise InputError(f"{path.name} has {x.width} columns of counts and {len(genes)} names of genes")
        obs = {name: _column(path, file, name) for name in columns}
    for name, values in obs.items():
        if len(values) != len(x):
            raise InputError(f"{path.name}: column {name!r} of obs has {len(values)} values for {len(x)} cells")
    return Cells(x, genes, obs)


def read_genes(path: Path) -> list[str]:
    """The names of the genes of a file."""
    with _opened(path) as file:
        return _names(path, file, "var")


@contextmanager
def _opened(path: Path, mode: str = "r") -> Iterator[Any]:
    h5py = require("h5py", "counts", "reading .h5ad")
    try:
        with h5py.File(path, mode) as file:
            yield file
    except InputError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path.name} cannot be read as .h5ad: it is truncated, damaged or of another format; write it again with "
            "a current anndata"
        ) from error


def _matrix(path: Path, file: Any, layer: str | None) -> SparseRows:
    layers = sorted(file["layers"]) if "layers" in file else []
    if layer is not None and layer not in layers:
        raise InputError(
            f"{path.name} has no layer {layer!r}: " + (nearest(layer, layers) if layers else "it has none")
        )
    if layer is None and "X" not in file:
        known = f": name a layer with counts, of {', '.join(layers)}" if layers else ""
        raise InputError(f"{path.name} has no X{known}")
    found = file["X"] if layer is None else file["layers"][layer]
    if hasattr(found, "shape"):
        return _from_dense(path, found)
    kind = _text(found.attrs.get("encoding-type", found.attrs.get("h5sparse_format", "")))
    shape = tuple(int(n) for n in found.attrs.get("shape", found.attrs.get("h5sparse_shape", ())))
    if len(shape) != 2 or kind.split("_")[0] not in ("csr", "csc"):
        raise InputError(f"{path.name}: the counts are a {kind or 'group'}, not a matrix that this reads")
    compressed = kind.startswith("csr")
    indptr = np.asarray(found["indptr"][:], dtype=np.int64)
    stored = len(found["data"])
    if (
        len(indptr) != shape[not compressed] + 1 or indptr[0] != 0 or indptr[-1] != stored
        or len(found["indices"]) != stored or bool((np.diff(indptr) < 0).any())
    ):  # fmt: skip
        raise InputError(f"{path.name}: the arrays of the sparse counts do not fit each other: write the file again")
    read = _from_rows if compressed else _from_columns
    return read(path, found, indptr, shape)


def _from_rows(path: Path, found: Any, indptr: np.ndarray, shape: tuple[int, int]) -> SparseRows:
    indices = array(int(indptr[-1]), np.int32)

    def fill(values: np.ndarray) -> bool:
        for start in range(0, int(indptr[-1]), PIECE):
            at = slice(start, start + PIECE)
            indices[at] = _inside(path, found["indices"][at], shape[1])
            if not _put(values, at, found["data"][at]):
                return False
        return True

    return SparseRows(indptr, indices, _values(int(indptr[-1]), fill), shape[1])


def _from_columns(path: Path, found: Any, indptr: np.ndarray, shape: tuple[int, int]) -> SparseRows:
    """Entries of compressed columns put in their rows: counted first, then placed, some columns at a time."""
    counts = np.zeros(shape[0] + 1, dtype=np.int64)
    for start in range(0, int(indptr[-1]), PIECE):
        rows = _inside(path, found["indices"][start : start + PIECE], shape[0])
        counts[1:] += np.bincount(rows, minlength=shape[0])
    starts = np.cumsum(counts)
    indices = array(int(indptr[-1]), np.int32)

    def fill(values: np.ndarray) -> bool:
        free = starts[:-1].copy()
        for start in range(0, int(indptr[-1]), PIECE):
            rows = np.asarray(found["indices"][start : start + PIECE], dtype=np.int64)
            columns = np.searchsorted(indptr, np.arange(start, start + len(rows)), side="right") - 1
            order = np.argsort(rows, kind="stable")
            in_row = np.bincount(rows, minlength=shape[0])
            rank = np.arange(len(rows)) - np.repeat(np.cumsum(in_row) - in_row, in_row)
            at = free[rows[order]] + rank
            indices[at] = columns[order]
            if not _put(values, at, found["data"][start : start + PIECE][order]):
                return False
            free += in_row
        return True

    return SparseRows(starts, indices, _values(int(indptr[-1]), fill), shape[1])


def _from_dense(path: Path, found: Any) -> SparseRows:
    if len(found.shape) != 2 or found.dtype.kind not in "biuf":
        raise InputError(f"{path.name}: the counts are {found.dtype} of shape {found.shape}, not a matrix of numbers")
    rows, width = found.shape
    step = max(1, PIECE // max(1, width))
    counts = [np.zeros(1, dtype=np.int64)]
    for start in range(0, rows, step):
        counts.append(np.count_nonzero(found[start : start + step], axis=1))
    indptr = np.cumsum(np.concatenate(counts))
    indices = array(int(indptr[-1]), np.int32)

    def fill(values: np.ndarray) -> bool:
        for start in range(0, rows, step):
            piece = found[start : start + step]
            at, columns = np.nonzero(piece)
            span = slice(int(indptr[start]), int(indptr[min(start + step, rows)]))
            indices[span] = columns
            if not _put(values, span, piece[at, columns]):
                return False
        return True

    return SparseRows(indptr, indices, _values(int(indptr[-1]), fill), width)


def _values(size: int, fill: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The values as float32, or as float64 where float32 does not hold them."""
    for dtype in (np.float32, np.float64):
        values = array(size, dtype)
        if fill(values):
            return values
    raise InputError("the counts are no numbers that float64 holds")


def _put(values: np.ndarray, at: Any, found: np.ndarray) -> bool:
    floats = as_floats(np.asarray(found))
    if floats.dtype == np.float64 and values.dtype == np.float32:
        return False
    values[at] = floats
    return True


def _inside(path: Path, found: Any, end: int) -> np.ndarray:
    places = np.asarray(found)
    if len(places) and (int(places.min()) < 0 or int(places.max()) >= end):
        raise InputError(f"{path.name}: the sparse counts name a place beyond their shape: write the file again")
    return places


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _frame(path: Path, file: Any, which: str) -> Any:
    found = file.get(which)
    if found is None or not hasattr(found, "keys"):
        raise InputError(f"{path.name} has no {which} as anndata 0.7 and later write it: write it again with anndata")
    return found


def _names(path: Path, file: Any, which: str) -> list[str]:
    found = _frame(path, file, which)
    index = _text(found.attrs.get("_index", "_index"))
    return [_text(v) for v in _array(path, found, index).tolist()]


def _column(path: Path, file: Any, name: str) -> np.ndarray:
    obs = _frame(path, file, "obs")
    index = _text(obs.attrs.get("_index", "_index"))
    known = [n for n in obs if n not in (index, "__categories")]
    if name not in known:
        raise InputError(
            f"{path.name} has no column {name!r} in obs: " + (nearest(name, known) if known else "it has none")
        )
    return _array(path, obs, name)


def _array(path: Path, frame: Any, name: str) -> np.ndarray:
    """A column as text or numbers, of the kinds that anndata writes."""
    found = frame[name]
    if hasattr(found, "keys"):
        if "codes" in found:
            return _coded(path, name, found["codes"][:], _array(path, found, "categories"))
        values, mask = np.asarray(found["values"]), np.asarray(found["mask"])
        if mask.any():
            raise InputError(f"{path.name}: column {name!r} of row {int(mask.argmax())} is missing: fill it in first")
        return _plain(values)
    values = _plain(found[:])
    old = frame.get("__categories")
    return values if old is None or name not in old else _coded(path, name, values, _plain(old[name][:]))


def _coded(path: Path, name: str, codes: np.ndarray, categories: np.ndarray) -> np.ndarray:
    codes = np.asarray(codes)
    if len(codes) and int(codes.min()) < 0:
        row = int((codes < 0).argmax())
        raise InputError(f"{path.name}: column {name!r} of row {row} is missing: fill it in or leave such cells out")
    return np.asarray(categories[codes])


def _plain(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "OS":
        return np.array([_text(v) for v in values.tolist()], dtype=str)
    return values if values.dtype.kind in "biufU" else values.astype(str)


def write_results(
    source: Path, out: Path, obsm: dict[str, np.ndarray] | None = None,
    layers: dict[str, tuple[int, _Block]] | None = None,
) -> None:  # fmt: skip
    """A copy of the file ``source`` at ``out``, or itself, with arrays in obsm and layers, whole or not at all.

    A layer is (its width, a function that gives rows start..stop, float32): it is written some rows at a time.

    Raises:
        InputError: for a source that is no .h5ad.
        OSError: if ``out`` cannot be written to.
    """
    temporary = out.with_name(f".{out.name}.part")
    try:
        shutil.copyfile(source, temporary)
        with _opened(temporary, "r+") as file:
            cells = len(_names(source, file, "obs"))
            for name, values in (obsm or {}).items():
                _replaced(file, "obsm", name, values.shape, values.dtype)[...] = values
            for name, (width, block) in (layers or {}).items():
                layer = _replaced(file, "layers", name, (cells, width), np.float32)
                step = max(1, PIECE // max(1, width))
                for start in range(0, cells, step):
                    stop = min(start + step, cells)
                    layer[start:stop] = block(start, stop)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


def _replaced(file: Any, group: str, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of this name in the group, in place of what was there."""
    if group not in file:
        made = file.create_group(group)
        made.attrs["encoding-type"], made.attrs["encoding-version"] = "dict", "0.1.0"
    if name in file[group]:
        del file[group][name]
    found = file[group].create_dataset(name, shape, dtype, **({"compression": "lzf"} if len(shape) == 2 else {}))
    found.attrs["encoding-type"], found.attrs["encoding-version"] = "array", "0.2.0"
    return found
