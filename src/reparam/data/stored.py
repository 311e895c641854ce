"""Rows that stay in their files: read by number when they are asked for, in memory that does not grow with the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam.data.order import BlockOrder
from reparam.data.rows import Rows
from reparam.errors import InputError
from reparam.seeding import derived

BUFFER = 256  # megabytes of rows that are mixed with each other
_BLOCK, _RUN = 1 << 20, 1 << 23  # bytes of a block, and of the longest read
GAP = 1 << 16  # bytes that are read rather than skipped
_READ = 1 << 25  # bytes of rows that are looked at together


class Store(ABC):
    """What holds rows on disk. ``cuts`` (blocks + 1,) are the row numbers where what is read together begins and ends.

    ``gap`` is how many rows between two that are wanted are read rather than skipped.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    cuts: np.ndarray
    gap: int = 1

    @property
    def row_bytes(self) -> int:
        """The size of a row in memory."""
        return max(1, int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize)

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from ``start`` on and before ``stop``, (n, *event), safe to call from several threads.

        Raises:
            InputError: for what is damaged, or has been changed since it was opened.
        """

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """The rows of these numbers, in any order, (n, *event); of each part of the file once."""
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        places: Any = slice(None)
        if bool((np.diff(numbers) < 0).any()):
            places = np.argsort(numbers, kind="stable")
            numbers = numbers[places]
        for a, b in self.runs(numbers):
            where = slice(a, b) if isinstance(places, slice) else places[a:b]
            out[where] = self.some(numbers[a:b])
        return out

    def some(self, numbers: np.ndarray) -> np.ndarray:
        """The rows of one of the :meth:`runs`."""
        first = int(numbers[0])
        return self.read(first, int(numbers[-1]) + 1)[numbers - first]

    def runs(self, numbers: np.ndarray) -> Iterator[tuple[int, int]]:
        """The parts of ``numbers``, which rise, that are read at once: neighbours but for small gaps, not too many."""
        apart = np.diff(numbers) > self.gap
        long = np.diff(numbers // max(1, _RUN // self.row_bytes)) > 0
        yield from pairwise([0, *(np.flatnonzero(apart | long) + 1).tolist(), len(numbers)]) if len(numbers) else ()


def known(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """The dtype, native and one that torch also has, in which elements of this one are read.

    Raises:
        InputError: for elements that are no numbers.
    """
    if dtype.kind not in "biuf":
        raise InputError(f"{name} holds {dtype}, not numbers: save it with a numeric dtype")
    if dtype.kind == "u" and dtype.itemsize > 1:
        return np.dtype(np.int64)
    return np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")


def even_cuts(rows: int, row_bytes: int, within: np.ndarray | None = None) -> np.ndarray:
    """Blocks of about a megabyte; ``within`` are places that no block goes across."""
    step = max(1, _BLOCK // row_bytes)
    ends = np.array([0, rows]) if within is None else within
    parts = [np.arange(a, b, step, dtype=np.int64) for a, b in pairwise(ends.tolist())]
    return np.concatenate([*parts, np.array([rows])])


class _Every:
    """All rows of a store."""

    def __init__(self, cuts: np.ndarray) -> None:
        self.ends = cuts[1:]

    def of(self, places: np.ndarray) -> np.ndarray:
        return places


class _Apart:
    """One of two parts of the rows of a store: ``count`` of them are held out, of each block its share, by the seed."""

    def __init__(self, cuts: np.ndarray, count: int, seed: int, held: bool) -> None:
        self.cuts, self.seed, self.held = cuts, seed, held
        self.quota = np.diff((cuts * count) // int(cuts[-1]))  # whole numbers that sum to the count
        self.ends = np.cumsum(self.quota if held else np.diff(cuts) - self.quota)
        self._last: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def of(self, places: np.ndarray) -> np.ndarray:
        block = np.searchsorted(self.ends, places, side="right")
        order = np.argsort(block, kind="stable")
        out = np.empty(len(places), np.int64)
        firsts = np.flatnonzero(np.diff(block[order], prepend=-1))
        for a, b in pairwise([*firsts.tolist(), len(places)]):
            here = order[a:b]
            which = int(block[order[a]])
            out[here] = self._rows(which)[places[here] - (int(self.ends[which - 1]) if which else 0)]
        return out

    def _rows(self, block: int) -> np.ndarray:
        known, rows = self._last
        if known != block:
            start, stop = int(self.cuts[block]), int(self.cuts[block + 1])
            generator = torch.Generator().manual_seed(derived(self.seed, f"held out of block {block}"))
            shuffled = torch.randperm(stop - start, generator=generator).numpy()
            quota = int(self.quota[block])
            rows = start + np.sort(shuffled[:quota] if self.held else shuffled[quota:])
            self._last = (block, rows)
        return rows


class _Some:
    """Some of the rows of another choice, in the order of ``chosen``."""

    def __init__(self, inner: Any, chosen: range | np.ndarray, step: int) -> None:
        self.inner, self.chosen = inner, chosen
        self.ends = np.array([*range(step, len(chosen), step), len(chosen)])

    def of(self, places: np.ndarray) -> np.ndarray:
        if isinstance(self.chosen, range):
            places = self.chosen.start + self.chosen.step * places
        else:
            places = self.chosen[places]
        numbers: np.ndarray = self.inner.of(places)
        return numbers


class StoredRows(Rows):
    """Rows of a :class:`Store`, all or some; it stands where the tensor of a :class:`Dataset` would.

    A pass over them (:meth:`order`) takes blocks of about a megabyte, or what the file has in place of them, in random
    order, and mixes the rows of so many blocks as fill ``buffer`` megabytes. While a buffer is used the next one is
    read, so that training holds two. ``columns`` are some of those of a table.
    """

    def __init__(
        self, store: Store, buffer: float = BUFFER, choice: Any = None, dtype: torch.dtype | None = None,
        columns: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.store, self.buffer, self.columns = store, buffer, columns
        self.choice = _Every(store.cuts) if choice is None else choice
        self.dtype = torch.from_numpy(np.empty(0, store.dtype)).dtype if dtype is None else dtype

    @property
    def shape(self) -> torch.Size:
        """(N, *event)."""
        event = self.store.shape[1:] if self.columns is None else (len(self.columns),)
        return torch.Size((int(self.choice.ends[-1]), *event))

    @property
    def buffer_rows(self) -> int:
        """How many rows are mixed with each other."""
        return max(1, int(self.buffer * 2**20) // self.store.row_bytes)

    def __getitem__(self, rows: Any) -> Tensor:
        """Dense rows (n, *event), or one row for a single number, read now."""
        if isinstance(rows, int):
            return self[rows : rows + 1 or None][0]
        found = self.store.gather(self.choice.of(self._places(rows)))
        found = found if self.columns is None else np.ascontiguousarray(found[:, self.columns])
        return torch.from_numpy(found).to(self.dtype)

    def take(self, rows: Any) -> StoredRows:
        """The rows chosen by a slice, indices or a mask; nothing is read."""
        chosen: range | np.ndarray
        chosen = range(len(self))[rows] if isinstance(rows, slice) else self._places(rows)
        step = max(1, _BLOCK // self.store.row_bytes)
        return self._with(choice=_Some(self.choice, chosen, step))

    def near(self, rows: Any) -> Tensor:
        """The rows chosen, read now."""
        return self[rows]

    def apart(self, count: int, seed: int) -> tuple[StoredRows, StoredRows]:
        """The rows without ``count`` of them, and these: of each block its share, chosen by the seed."""
        if isinstance(self.choice, _Every):
            kept, held = (self._with(choice=_Apart(self.store.cuts, count, seed, held)) for held in (False, True))
            return kept, held
        shuffled = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed)).numpy()
        return self.take(np.sort(shuffled[count:])), self.take(np.sort(shuffled[:count]))

    def order(self, generator: torch.Generator) -> BlockOrder:
        """The rows of one pass: see the class."""
        return BlockOrder(self.choice.ends, self.buffer_rows, generator)

    def astype(self, dtype: Any) -> StoredRows:
        """The same rows, converted when they are read."""
        return self._with(dtype=torch.from_numpy(np.empty(0, dtype)).dtype)

    def select(self, columns: np.ndarray) -> StoredRows:
        """The columns of these numbers, in this order."""
        return self._with(columns=columns if self.columns is None else self.columns[columns])

    def contents(self) -> Iterator[np.ndarray]:
        """How a pass goes over them, which a resumed run must share, and all rows."""
        yield np.array([self.buffer_rows, *self.choice.ends.tolist()])
        for part in self.split(max(1, _READ // self.store.row_bytes)):
            yield part.numpy()

    def split(self, rows: int | None = None) -> Iterator[Tensor]:
        """Dense tensors of so many rows, one after the other."""
        return super().split(max(1, _READ // self.store.row_bytes) if rows is None else rows)

    def _with(self, **more: Any) -> StoredRows:
        mine = {"choice": self.choice, "dtype": self.dtype, "columns": self.columns}
        return StoredRows(self.store, self.buffer, **{**mine, **more})

    def _places(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)), dtype=np.int64)
        places = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
        if places.dtype == bool:
            return np.flatnonzero(places)
        places = places.astype(np.int64)
        if len(places) and not -len(self) <= int(places.min()) <= int(places.max()) < len(self):
            raise IndexError(f"a row beyond the {len(self)} that there are")
        return np.where(places < 0, places + len(self), places)
