"""Rows as they came, converted batch by batch to what a model reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from reparam import seeding
from reparam.errors import InputError, nearest

BINARIZE = ("dynamic", "threshold")
_CHUNK = 1 << 24  # elements looked at in one go when data are checked


class Dataset:
    """N data of one shape, held in the dtype in which they came (uint8 stays uint8).

    ``pixel_max`` divides the data, so that 0..pixel_max becomes 0..1; for uint8 it is 255 unless given.
    ``binarize`` turns grey values in [0, 1] into 0 and 1: "dynamic" by a Bernoulli draw of each value, fresh at every
    visit in training and decided by row and seed in evaluation; "threshold" at 1/2.

    Shapes: x (N, *event); each context (N, ...); labels (N,), which no model reads.

    Raises:
        TypeError: for data that are no numbers (object arrays are never unpickled).
        InputError: for no rows, NaN or infinity (naming row and column), values outside 0..pixel_max, grey values
            outside [0, 1] with ``binarize``, or lengths that differ.
    """

    def __init__(
        self,
        x: Tensor | np.ndarray | Sequence[Any],
        *,
        contexts: Sequence[Tensor] = (),
        pixel_max: float | None = None,
        binarize: Literal["dynamic", "threshold"] | str | None = None,
        columns: Sequence[str] | None = None,
        labels: np.ndarray | None = None,
    ) -> None:
        self.x = _as_tensor(x)
        self.contexts = tuple(torch.as_tensor(c) for c in contexts)
        self.columns = list(columns) if columns else None
        self.labels = labels
        if binarize is not None and binarize not in BINARIZE:
            raise InputError(f"unknown binarize {binarize!r}: {nearest(str(binarize), BINARIZE)}")
        self.binarize = binarize
        if pixel_max is None and self.x.dtype == torch.uint8:
            pixel_max = 255
        if pixel_max is not None and not pixel_max > 0:
            raise InputError(f"pixel_max must be positive, not {pixel_max}")
        self.pixel_max = pixel_max
        self._check()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> Dataset:
        """The rows chosen by a slice, an index tensor or a mask, unchecked since they were checked before."""
        chosen = object.__new__(Dataset)
        chosen.__dict__ = dict(self.__dict__)
        chosen.x = self.x[rows]
        chosen.contexts = tuple(c[rows] for c in self.contexts)
        chosen.labels = (
            None
            if self.labels is None
            else self.labels[np.asarray(rows) if isinstance(rows, Tensor) else rows]
        )
        return chosen

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.x.shape[1:])

    def grey(self, x: Tensor, like: Tensor) -> Tensor:
        """Rows of ``self.x`` as floating-point numbers, before any binarisation."""
        x = x.to(device=like.device, dtype=like.dtype)
        return x if self.pixel_max is None or self.pixel_max == 1 else x / self.pixel_max

    def visit(self, x: Tensor, like: Tensor) -> Tensor:
        """Rows of ``self.x`` as a training step reads them: with fresh draws from torch's generator."""
        x = self.grey(x, like)
        if self.binarize == "dynamic":
            return torch.bernoulli(x)
        return (x >= 0.5).to(x.dtype) if self.binarize == "threshold" else x

    def fixed(self, x: Tensor, like: Tensor, seed: int) -> Tensor:
        """Rows of ``self.x`` as an evaluation reads them: the same for equal row and seed."""
        x = self.grey(x, like)
        if self.binarize != "dynamic":
            return (x >= 0.5).to(x.dtype) if self.binarize == "threshold" else x
        keys = seeding.row_keys(x, seed, "binarize")
        return (seeding.uniform(keys, tuple(x.shape[1:]), x) < x).to(x.dtype)

    def place(self, row: int, element: Sequence[int]) -> str:
        """Words for one number of the data."""
        if len(element) == 1:
            name = repr(self.columns[element[0]]) if self.columns else str(element[0])
            return f"row {row}, column {name}"
        return f"row {row}, element {tuple(element)}" if element else f"row {row}"

    def _check(self) -> None:
        n = len(self.x)
        if n == 0:
            raise InputError("the data have no rows")
        if self.x.numel() == 0:
            raise InputError(f"each datum is empty: the data have shape {tuple(self.x.shape)}")
        for what, length in (
            ("contexts", [len(c) for c in self.contexts]),
            ("labels", self._label_lengths()),
        ):
            if any(m != n for m in length):
                raise InputError(
                    f"{n} rows of data, but {what} of length {length[0]}: each row needs its own"
                )
        if self.columns is not None and (self.x.dim() != 2 or len(self.columns) != self.x.shape[1]):
            raise InputError(f"{len(self.columns)} column names for data of shape {tuple(self.x.shape)}")
        top = self.pixel_max if self.pixel_max is not None else (1.0 if self.binarize else None)
        if self.x.dtype == torch.bool or (self.x.dtype == torch.uint8 and (top is None or top >= 255)):
            return
        rows = max(1, _CHUNK // max(1, self.x[0].numel()))
        for start in range(0, n, rows):
            self._check_rows(self.x[start : start + rows], start, top)

    def _label_lengths(self) -> list[int]:
        return [] if self.labels is None else [len(self.labels)]

    def _check_rows(self, x: Tensor, start: int, top: float | None) -> None:
        if x.is_floating_point() and not bool((finite := x.isfinite()).all()):
            row, *element = (int(i) for i in (~finite).nonzero()[0])
            value = "a missing value (NaN)" if bool(x[(row, *element)].isnan()) else "infinite"
            raise InputError(
                f"{self.place(start + row, element)} is {value}: remove such rows or fill them in first"
            )
        if top is not None and not bool((inside := (x >= 0) & (x <= top)).all()):
            row, *element = (int(i) for i in (~inside).nonzero()[0])
            raise InputError(
                f"{self.place(start + row, element)} is {float(x[(row, *element)]):.6g}, outside 0..{top:g} where grey "
                "values are expected: give pixel_max, the value of white, or choose the likelihood Gaussian"
            )


def _as_tensor(x: Tensor | np.ndarray | Sequence[Any]) -> Tensor:
    if not isinstance(x, Tensor):
        array = np.asarray(x)
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"data must be numbers; this array holds {array.dtype} "
                "(object arrays are not unpickled: save it with a numeric dtype)"
            )
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        with warnings.catch_warnings():  # read-only arrays: the data are never written to
            warnings.simplefilter("ignore", UserWarning)
            x = torch.from_numpy(array)
    if x.is_complex():
        raise TypeError("data must be real numbers; this tensor is complex")
    if x.dim() < 2:
        raise InputError(
            f"data have one row for each datum: an array of shape (rows, ...), not {tuple(x.shape)}; "
            "for one number each, use shape (rows, 1)"
        )
    return x.detach()


def as_dataset(x: Any, contexts: Sequence[Tensor] = ()) -> Dataset:
    """A Dataset, from one or from an array or tensor (N, *event); uint8 are pixels, 0..255."""
    if isinstance(x, Dataset):
        if contexts:
            raise InputError("give contexts to the Dataset itself")
        return x
    if not isinstance(x, Tensor) and not hasattr(x, "__array__") and not isinstance(x, list | tuple):
        raise TypeError(f"data are an array, a tensor or a reparam.Dataset, not {type(x).__name__}")
    return Dataset(x, contexts=contexts)
