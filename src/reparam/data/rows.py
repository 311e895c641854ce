"""Rows by number: what stands where the tensor of a Dataset would, and gives tensors of the rows that are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DENSE = 1 << 24  # elements of dense rows made at once, where a caller leaves the number open


class Rows(ABC):
    """N rows of one shape, which need not be in memory.

    ``rows[i:j]``, or indices or a mask in place of the slice, gives these rows as a dense tensor (n, *event); ``take``
    chooses rows without reading them. What a tensor also has, it has under the same name.
    """

    dtype: torch.dtype
    device = torch.device("cpu")

    @property
    @abstractmethod
    def shape(self) -> torch.Size:
        """(N, *event)."""

    @abstractmethod
    def __getitem__(self, rows: Any) -> Tensor:
        """Dense rows (n, *event), or one row for a single number."""

    @abstractmethod
    def take(self, rows: Any) -> Rows:
        """The rows chosen by a slice, indices or a mask; nothing is read."""

    @abstractmethod
    def near(self, rows: Any) -> Tensor | Rows:
        """The rows chosen, at hand: what batches are cut from."""

    @abstractmethod
    def contents(self) -> Iterator[np.ndarray]:
        """Arrays that together change when any row does, in the order of rows."""

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def ndim(self) -> int:
        """The number of dimensions, that of rows included."""
        return len(self.shape)

    def dim(self) -> int:
        """The number of dimensions, that of rows included."""
        return self.ndim

    @property
    def size(self) -> int:
        """Elements."""
        return int(self.shape.numel())

    def numel(self) -> int:
        """Elements."""
        return self.size

    def is_floating_point(self) -> bool:
        """Whether the elements are no whole numbers."""
        return self.dtype.is_floating_point

    def split(self, rows: int | None = None) -> Iterator[Tensor]:
        """Dense tensors of so many rows, one after the other."""
        rows = max(1, _DENSE // max(1, self.size // max(1, len(self)))) if rows is None else rows
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def to(self, *args: Any, **more: Any) -> Tensor:
        """All rows as one dense tensor: for few of them."""
        return self[:].to(*args, **more)


def numpy_dtype(x: Any) -> np.dtype[Any]:
    """The dtype of an array or of rows, as numpy has it."""
    if not isinstance(x, Rows):
        return np.dtype(x.dtype)
    return np.dtype(torch.empty(0, dtype=x.dtype).numpy().dtype)


def extremes(x: Any) -> tuple[Any, Any]:
    """The least and the greatest element of an array, a tensor or rows; NaN where there is one."""
    if not isinstance(x, Rows):
        return x.min(), x.max()
    low, high = zip(*((part.numpy().min(), part.numpy().max()) for part in x.split()), strict=True)
    return np.min(low), np.max(high)


def spread_over(x: Any, most: int) -> np.ndarray:
    """The array, or of rows that are not at hand at most so many, evenly spaced."""
    if not isinstance(x, Rows):
        array: np.ndarray = x
        return array
    return x[np.linspace(0, len(x) - 1, min(most, len(x))).astype(np.int64)].numpy()
