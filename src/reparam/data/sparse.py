"""Matrices of mostly zeros, whose rows become dense when they are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam.data.rows import Rows
from reparam.errors import InputError

PIECE = 1 << 22  # stored entries that are looked at in one go
_IN_MEMORY = 1 << 28  # bytes of an array beyond which it is kept in a temporary file


class SparseRows(Rows):
    """N rows of D numbers as compressed sparse rows; it stands where the tensor of a :class:`Dataset` would.

    ``rows[i:j]``, or indices in place of the slice, gives these rows as a dense tensor (n, D); ``take`` chooses rows
    and leaves them as they are. The arrays may be mapped from disk: only what is asked for is read.

    Shapes: indptr (N + 1,), indices and values (stored,), with float32 or float64 values; ``rows`` (n,) are the rows
    that this is of, all unless given; ``places`` (stored width,) is where each stored column stands, -1 for nowhere.
    """

    def __init__(
        self, indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, width: int,
        rows: np.ndarray | None = None, places: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.indptr, self.indices, self.values, self.width = indptr, indices, values, width
        self.rows = np.arange(len(indptr) - 1) if rows is None else rows
        self.places = places
        self.dtype = torch.float64 if values.dtype == np.float64 else torch.float32

    @staticmethod
    def of(x: Any) -> SparseRows:
        """The rows of a matrix of scipy, or of a dense array.

        Raises:
            InputError: for another number of dimensions than two, or what are no numbers.
        """
        if not hasattr(x, "tocsr"):
            x = np.asarray(x)
            if x.ndim != 2 or x.dtype.kind not in "biuf":
                raise InputError(f"counts are a matrix of numbers, a row for each cell, not {x.dtype} of {x.shape}")
            at, columns = np.nonzero(x)
            indptr = np.concatenate([[0], np.cumsum(np.bincount(at, minlength=len(x)))])
            return SparseRows(indptr, columns.astype(np.int32), as_floats(x[at, columns]), x.shape[1])
        x = x.tocsr()
        if len(x.shape) != 2:
            raise InputError(f"counts are a matrix, a row for each cell, not of shape {x.shape}")
        return SparseRows(x.indptr, x.indices, as_floats(x.data), x.shape[1])

    @property
    def shape(self) -> torch.Size:
        """(N, D)."""
        return torch.Size((len(self.rows), self.width))

    def __getitem__(self, rows: Any) -> Tensor:
        """Dense rows (n, D), or one row (D,) for a single number."""
        if isinstance(rows, int):
            return self._dense(self.rows[rows : rows + 1 or None])[0]
        return self._dense(self._chosen(rows))

    def take(self, rows: Any) -> SparseRows:
        """The rows chosen by a slice, indices or a mask, still sparse; nothing is copied."""
        return SparseRows(self.indptr, self.indices, self.values, self.width, self._chosen(rows), self.places)

    def select(self, columns: np.ndarray) -> SparseRows:
        """The columns of these numbers, in this order; nothing is copied."""
        places = np.full(self.width, -1, dtype=np.int64)
        places[columns] = np.arange(len(columns))
        if self.places is not None:
            places = np.where(self.places >= 0, places[self.places], -1)
        return SparseRows(self.indptr, self.indices, self.values, len(columns), self.rows, places)

    def near(self, rows: Any) -> SparseRows:
        """The rows chosen, still sparse: a batch of them becomes dense when it is cut."""
        return self.take(rows)

    def contents(self) -> Iterator[np.ndarray]:
        """What is stored, and where."""
        for start, *arrays in self.entries():
            yield from (np.array(start), *arrays)

    def entries(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """(the first row, row after it, column, value) of stored entries, some rows at a time, in the order of rows."""
        counts = self.indptr[self.rows + 1] - self.indptr[self.rows]
        cuts = [0, *(np.flatnonzero(np.diff(np.cumsum(counts) // PIECE)) + 1).tolist(), len(self)]
        for start, stop in pairwise(cuts):
            if start < stop:
                yield (start, *self._entries(self.rows[start:stop]))

    def totals(self) -> np.ndarray:
        """The sum of each row, (N,) float64."""
        sums = np.zeros(len(self))
        for start, row, _, values in self.entries():
            if len(row):
                found = np.bincount(row, weights=values)
                sums[start : start + len(found)] += found
        return sums

    def _chosen(self, rows: Any) -> np.ndarray:
        chosen: np.ndarray = self.rows[rows.numpy() if isinstance(rows, Tensor) else rows]
        return chosen

    def _entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(number among ``rows``, column, value) of what is stored of these rows."""
        starts, ends = self.indptr[rows].astype(np.int64), self.indptr[rows + 1].astype(np.int64)
        counts = ends - starts
        if len(rows) and bool((starts[1:] == ends[:-1]).all()):  # neighbours: one read
            at: Any = slice(int(starts[0]), int(ends[-1]))
        else:
            at = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        row, columns, values = np.repeat(np.arange(len(rows)), counts), self.indices[at], self.values[at]
        if self.places is not None:
            columns = self.places[columns]
            kept = columns >= 0
            row, columns, values = row[kept], columns[kept], values[kept]
        return row, columns, values

    def _dense(self, rows: np.ndarray) -> Tensor:
        row, columns, values = self._entries(rows)
        flat = torch.from_numpy(row * self.width + columns.astype(np.int64))
        out = torch.zeros(len(rows) * self.width, dtype=self.dtype)
        return out.index_add_(0, flat, torch.from_numpy(np.array(values))).view(len(rows), self.width)


def as_floats(values: np.ndarray) -> np.ndarray:
    """The numbers in float32 where it holds every one of them, as it does counts below 2^24, else in float64."""
    if values.dtype == np.float32:
        return values
    narrow = values.astype(np.float32)
    return narrow if bool((narrow == values).all()) else values.astype(np.float64)


def array(size: int, dtype: Any) -> np.ndarray:
    """An empty array, of a nameless temporary file where it is large."""
    if size * np.dtype(dtype).itemsize <= _IN_MEMORY:
        return np.empty(size, dtype)
    with tempfile.TemporaryFile(prefix="reparam-") as file:
        return np.memmap(file, dtype, "w+", shape=(size,))
