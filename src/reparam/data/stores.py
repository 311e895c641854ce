"""Stores of numbers: .npy and idx, read by position, and Parquet, read by row groups."""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reparam.data import formats
from reparam.data.stored import GAP, Store, even_cuts, known
from reparam.errors import InputError, require


class Numbers(Store):
    """An array in a file, row after row from a byte on. Reads are by position: the file is not mapped into memory,
    where the pages that were touched would count as the process's own.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> None:
        self.path, self.name, self.shape = path, path.name, shape
        self.stored, self.dtype, self.offset = dtype, known(dtype, path.name), offset
        self.stride = max(1, int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize)
        self.gap = 1 + GAP // self.stride
        self.cuts = even_cuts(shape[0], self.row_bytes)
        self._handle: int | None = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from ``start`` on and before ``stop``."""
        out = np.empty((stop - start, *self.shape[1:]), self.stored)
        view, at = out.view(np.uint8).reshape(-1).data, self.offset + start * self.stride
        done = 0
        while done < len(view):
            got = self._into(view[done:], at + done)
            if not got:
                raise InputError(f"{self.name} has become shorter since it was opened: get the file again")
            done += got
        return out.astype(self.dtype, copy=False)

    def _into(self, view: memoryview, at: int) -> int:
        assert self._handle is not None
        if hasattr(os, "preadv"):
            return os.preadv(self._handle, [view], at)
        with self._lock:
            os.lseek(self._handle, at, os.SEEK_SET)
            found = os.read(self._handle, len(view))
        view[: len(found)] = found
        return len(found)

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            os.close(handle)


def npy(path: Path) -> Numbers:
    """The array of an .npy file.

    Raises:
        InputError: for a file that is damaged, holds objects, or whose first dimension is not the slowest.
    """
    with formats.numpy_errors(path, path.name):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(mapped, np.memmap):
        raise InputError(f"{path.name} is an archive of arrays, which is read as a whole: save one array as .npy")
    if mapped.ndim > 1 and not mapped.flags.c_contiguous:
        raise InputError(
            f"{path.name} holds its columns one after the other, so that no row can be read alone: save it again by "
            "numpy.save(file, numpy.ascontiguousarray(x))"
        )
    end = mapped.offset + mapped.nbytes
    if path.stat().st_size != end:
        raise InputError(f"{path.name} is longer than its head says: save one array in a file")
    return Numbers(path, _rows(mapped.shape, path.name), mapped.dtype, mapped.offset)


def idx(path: Path) -> Numbers:
    """The array of an idx file that is not packed.

    Raises:
        InputError: for a file whose length is not what its head says, or that is packed.
    """
    with path.open("rb") as file:
        head = file.read(4)
        if head[:2] == b"\x1f\x8b":
            raise InputError(f"{path.name} is packed, and its rows cannot be read by number: unpack it by gunzip first")
        dtype = formats.idx_dtype(path.name, head)
        dims = file.read(4 * head[3])
    if len(dims) < 4 * head[3]:
        raise InputError(f"{path.name} is truncated inside its head: get the file again")
    store = Numbers(path, _rows(struct.unpack(f">{head[3]}I", dims), path.name), dtype, 4 + len(dims))
    formats.check_length(path.name, store.shape[0] * store.stride, path.stat().st_size - store.offset)
    return store


def _rows(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"{name} has shape {shape}: data have one row for each datum, an array of shape (rows, ...)")
    return tuple(int(n) for n in shape)


class Parquet(Store):
    """The columns of numbers of a Parquet file as one table of float64; a row group is read at once."""

    def __init__(self, path: Path, without: Sequence[str] = ()) -> None:
        parquet = require("pyarrow.parquet", "tabular", "reading Parquet")
        self.path, self.name = path, path.name
        try:
            self.file = parquet.ParquetFile(path, pre_buffer=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path.name} cannot be read as Parquet: it is truncated or of another format") from error
        schema = self.file.schema_arrow
        missing = [name for name in without if name not in schema.names]
        if missing:
            raise InputError(f"{path.name} has no column {missing[0]!r}")
        kept = [n for n in schema.names if n not in without and not re.fullmatch(r"__index_level_\d+__", n)]
        for name in kept:
            kind = str(schema.field(name).type)
            if not kind.startswith(("int", "uint", "float", "double", "half", "bool")):
                raise InputError(f"{path.name}: column {name!r} holds {kind}, not numbers: encode or remove it")
        self.columns, groups = kept, self.file.metadata.num_row_groups
        sizes = [self.file.metadata.row_group(i).num_rows for i in range(groups)]
        self.group_ends = np.cumsum([0, *sizes]).astype(np.int64)
        self.shape, self.dtype = _rows((int(self.group_ends[-1]), len(kept)), path.name), np.dtype(np.float64)
        self.cuts = np.unique(self.group_ends)
        self._lock = threading.Lock()
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from ``start`` on and before ``stop``."""
        return self.gather(np.arange(start, stop))

    def runs(self, numbers: np.ndarray) -> Iterator[tuple[int, int]]:
        """The rows of each row group."""
        group = np.searchsorted(self.group_ends, numbers, side="right")
        yield from pairwise([*np.flatnonzero(np.diff(group, prepend=-1)).tolist(), len(numbers)])

    def some(self, numbers: np.ndarray) -> np.ndarray:
        """The rows of one row group."""
        group = int(np.searchsorted(self.group_ends, numbers[0], side="right")) - 1
        rows: np.ndarray = self._group(group)[numbers - self.group_ends[group]]
        return rows

    def _group(self, group: int) -> np.ndarray:
        with self._lock:  # the group of the last call is kept: slices of rows come from it one after the other
            if self._last is not None and self._last[0] == group:
                return self._last[1]
            self._last = None
            try:
                table = self.file.read_row_group(group, columns=self.columns)
            except (OSError, ValueError) as error:
                raise InputError(f"{self.name}: row group {group} is damaged: get the file again") from error
            out = np.empty((table.num_rows, len(self.columns)))
            for i, name in enumerate(self.columns):
                out[:, i] = table.column(name).to_numpy()
            self._last = (group, out)
            return out
