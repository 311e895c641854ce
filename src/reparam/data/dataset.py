"""Rows as they came, converted batch by batch to what a model reads."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from reparam import seeding
from reparam.data.order import BlockOrder
from reparam.data.rows import Rows, extremes
from reparam.data.sparse import SparseRows
from reparam.data.stored import StoredRows
from reparam.errors import InputError, nearest

BINARIZE = ("dynamic", "threshold")
_CHUNK = 1 << 21  # elements looked at in one go when data are checked


def as_given(contexts: Sequence[Tensor], like: Tensor) -> tuple[Tensor, ...]:
    """Contexts as a model reads them: real numbers in its dtype, others as they are, where it computes."""
    here = (c.to(like.device) for c in contexts)
    return tuple(c.to(like.dtype) if c.is_floating_point() else c for c in here)


class Dataset:
    """N data of one shape, held in the dtype in which they came (uint8 stays uint8).

    ``pixel_max`` divides the data, so that 0..pixel_max becomes 0..1; for uint8 it is 255 unless given.
    ``binarize`` turns grey values in [0, 1] into 0 and 1: "dynamic" by a Bernoulli draw of each value, fresh at every
    visit in training and decided by row and seed in evaluation; "threshold" at 1/2.

    A matrix of scipy, or :class:`reparam.data.sparse.SparseRows`, stays sparse: rows become dense batch by batch.
    :class:`reparam.data.stored.StoredRows`, which :func:`reparam.open` gives, stay in their file until they are needed;
    they have neither contexts nor weights.

    With ``missing`` elements may be NaN, for likelihoods that leave them out (``likelihoods.Observed``).

    Shapes: x (N, *event); each context (N, ...); labels (N,), which no model reads.

    Raises:
        TypeError: for data that are no numbers (object arrays are never unpickled).
        InputError: for no rows, NaN or infinity (naming row and column) in data or contexts, values outside
            0..pixel_max, grey values outside [0, 1] with ``binarize``, or lengths that differ.
    """

    def __init__(
        self,
        x: Tensor | np.ndarray | Rows | Sequence[Any],
        *,
        contexts: Sequence[Tensor] = (),
        pixel_max: float | None = None,
        binarize: Literal["dynamic", "threshold"] | str | None = None,
        columns: Sequence[str] | None = None,
        labels: np.ndarray | Tensor | Sequence[Any] | None = None,
        missing: bool = False,
        weights: np.ndarray | Tensor | Sequence[float] | None = None,
    ) -> None:
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float64)
        self.missing = missing
        self.x: Any = _as_tensor(x)  # a Tensor, or Rows, which give one for the rows that are asked for
        self.contexts = tuple(torch.as_tensor(c) for c in contexts)
        self.columns = list(columns) if columns else None
        self.labels = None if labels is None else _index(labels)
        if binarize is not None and binarize not in BINARIZE:
            raise InputError(f"unknown binarize {binarize!r}: {nearest(str(binarize), BINARIZE)}")
        self.binarize = binarize
        if pixel_max is None and self.x.dtype == torch.uint8 and self.x.numel() and int(extremes(self.x)[1]) == 1:
            raise InputError(
                "uint8 data are taken for pixels of 0..255, and these hold 0 and 1 alone: give Dataset(x, pixel_max=1) "
                "or x.astype(bool), if they are binary; pixel_max=255 if they are dark pixels"
            )
        if pixel_max is None and self.x.dtype == torch.uint8:
            pixel_max = 255
        if pixel_max is not None and not 0 < pixel_max < math.inf:
            raise InputError(f"pixel_max, the value of white, must be positive and finite, not {pixel_max}")
        self.pixel_max = None if pixel_max is None else float(pixel_max)
        self._check()

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def __getitem__(self, rows: Any) -> Dataset:
        """The rows chosen by a slice, indices or a mask, unchecked since they were checked before.

        Raises:
            TypeError: for a single number: one row is ``data[i : i + 1]``.
        """
        if isinstance(rows, tuple) or (np.ndim(rows) == 0 and not isinstance(rows, slice)):
            raise TypeError("choose rows by a slice, indices or a mask; one row is data[i : i + 1]")
        return self._chosen(self.x.take(rows) if isinstance(self.x, Rows) else self.x[rows], rows)

    def near(self, rows: Any) -> Dataset:
        """The rows chosen by a slice or indices, read from their file if they are in one."""
        return self._chosen(self.x.near(rows) if isinstance(self.x, Rows) else self.x[rows], rows)

    def _chosen(self, x: Tensor | Rows, rows: Any) -> Dataset:
        chosen = object.__new__(Dataset)
        chosen.__dict__ = {**self.__dict__, "x": x}
        chosen.contexts = tuple(c[rows] for c in self.contexts)
        chosen.weights = None if self.weights is None else self.weights[rows]
        chosen.labels = None if self.labels is None else self.labels[rows if isinstance(rows, slice) else _index(rows)]
        return chosen

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.x.shape[1:])

    @property
    def stored(self) -> bool:
        """Whether the rows are read from a file when they are needed."""
        return isinstance(self.x, StoredRows)

    def apart(self, count: int, seed: int) -> tuple[Dataset, Dataset]:
        """The rows without ``count`` of them, and these, chosen by the seed; both in the order in which they came."""
        if isinstance(self.x, StoredRows):
            kept, held = (self._chosen(x, slice(None)) for x in self.x.apart(count, seed))
            return kept, held
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        apart = torch.zeros(len(self), dtype=torch.bool)
        apart[order[:count]] = True
        del order
        return self[~apart], self[apart]

    def order(self, generator: torch.Generator) -> Tensor | BlockOrder:
        """The rows of one pass over the data, (N,): each once, in random order; its slices are tensors of numbers.

        Rows that stay in their file come in blocks and are mixed within a buffer: see ``data.stored.StoredRows``.

        With weights, N rows are drawn systematically: each as often as N w / Σ w, rounded up or down so that this is
        its mean. Rows of one weight then stand as they do without weights, and one of weight 0 not at all.
        """
        if isinstance(self.x, StoredRows):
            return self.x.order(generator)
        n = len(self)
        shuffled = torch.randperm(n, generator=generator)
        if self.weights is None:
            return shuffled
        ends = self.weights.cumsum(0) / self.weights.sum()
        places = (torch.arange(n, dtype=torch.float64) + torch.rand((), dtype=torch.float64, generator=generator)) / n
        last = int(self.weights.nonzero()[-1])
        return torch.searchsorted(ends, places, right=True).clamp_max(last)[shuffled]

    def weighed(self, seed: int) -> Dataset:
        """As many rows, each as often as its weight says; the data themselves where they have none."""
        if self.weights is None:
            return self
        chosen = self[self.order(torch.Generator().manual_seed(seed))[:]]
        chosen.weights = None
        return chosen

    def dense(self) -> Dataset:
        """These data with all rows dense: for few of them."""
        return self._chosen(self.x[:], slice(None)) if isinstance(self.x, Rows) else self

    def grey(self, x: Tensor | Rows, like: Tensor) -> Tensor:
        """Rows of ``self.x`` as floating-point numbers, before any binarisation."""
        x = x.to(device=like.device, dtype=like.dtype)
        return x if self.pixel_max is None or self.pixel_max == 1 else x / self.pixel_max

    def noise(self, x: Tensor) -> Tensor | None:
        """Fresh draws from torch's generator for one visit of these rows of ``self.x``, or None where it needs none.

        Whole numbers (pixels) get 16 random bits each, four of them from one draw, which costs a fifth of a uniform
        number each and a twentieth of ``torch.bernoulli``: probabilities are right to 2^-17.
        """
        if self.binarize != "dynamic":
            return None
        if x.is_floating_point():
            return torch.empty_like(x).uniform_()
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        return draws.view(torch.int16)[: x.numel()].view(x.shape)

    def visit(self, x: Tensor, like: Tensor, noise: Tensor | None = None) -> Tensor:
        """Rows of ``self.x`` as a training step reads them, with the draws of :meth:`noise`, fresh unless given."""
        if self.binarize != "dynamic":
            x = self.grey(x, like)
            return (x >= 0.5).to(x.dtype) if self.binarize == "threshold" else x
        noise = self.noise(x) if noise is None else noise
        assert noise is not None
        if x.is_floating_point():
            return (noise.to(like.device) < self.grey(x, like)).to(like.dtype)
        # an int16 is one of 65536 equal cells of the line; its middle falls under p with probability p to 2^-17
        x, noise = x.to(like.device), noise.to(like.device)
        level = (noise.to(torch.float32) + (2**15 + 0.5)) * ((self.pixel_max or 1.0) / 2**16)
        return (level < x).to(like.dtype)

    def fixed(self, x: Tensor | Rows, like: Tensor, seed: int) -> Tensor:
        """Rows of ``self.x`` as an evaluation reads them: the same for equal row and seed."""
        x = self.grey(x, like)
        if self.binarize != "dynamic":
            return (x >= 0.5).to(x.dtype) if self.binarize == "threshold" else x
        keys = seeding.row_keys(x, seed, "binarize")
        return (seeding.uniform(keys, tuple(x.shape[1:]), x) < x).to(x.dtype)

    def contexts_of(self, rows: Any, like: Tensor) -> tuple[Tensor, ...]:
        """The contexts of these rows as a model reads them: real numbers in its dtype, others as they are."""
        return as_given([c[rows] for c in self.contexts], like)

    def fingerprint(self) -> str:
        """A short text that changes when any row, its order or its units change."""
        digest = blake2b(
            f"{self.x.dtype} {tuple(self.x.shape)} {self.pixel_max} {self.binarize}".encode(), digest_size=8
        )
        tensors = self.contexts if isinstance(self.x, Rows) else (self.x, *self.contexts)
        if isinstance(self.x, Rows):
            for array in self.x.contents():
                digest.update(np.ascontiguousarray(array).data)
        for tensor in tensors if self.weights is None else (*tensors, self.weights):
            for part in tensor.split(max(1, _CHUNK // max(1, tensor[0].numel()))):
                digest.update(np.ascontiguousarray(part.cpu().numpy()).data)
        return digest.hexdigest()

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
        self._check_companions(n)
        if self.columns is not None and (self.x.dim() != 2 or len(self.columns) != self.x.shape[1]):
            raise InputError(f"{len(self.columns)} column names for data of shape {tuple(self.x.shape)}")
        top = self.pixel_max if self.pixel_max is not None else (1.0 if self.binarize else None)
        if self.x.dtype == torch.bool or (self.x.dtype == torch.uint8 and (top is None or top >= 255)):
            return
        rows = max(1, _CHUNK // max(1, math.prod(self.event_shape)))
        for start in range(0, n, rows):
            self._check_rows(self.x[start : start + rows], start, top)

    def _check_companions(self, n: int) -> None:
        """Contexts and labels: one for each row, and contexts finite."""
        if self.stored and (self.contexts or self.weights is not None or self.labels is not None):
            raise InputError("rows that stay in their file have no contexts, weights or labels: read them into memory")
        named = [(f"context {i}", c.shape) for i, c in enumerate(self.contexts)]
        if self.labels is not None:
            named.append(("labels", torch.Size(self.labels.shape)))
        for what, shape in named:
            if tuple(shape[:1]) != (n,):
                raise InputError(f"{n} rows of data, but {what} of shape {tuple(shape)}: each row needs its own")
        if self.weights is not None:
            if self.weights.shape != (n,):
                raise InputError(
                    f"{n} rows of data, but weights of shape {tuple(self.weights.shape)}: one for each row"
                )
            if not bool((self.weights.isfinite() & (self.weights >= 0)).all()):
                raise InputError("the weight of a row is a finite number of at least zero")
            if not bool(self.weights.any()):
                raise InputError("all weights are zero: no row counts")
        for i, c in enumerate(self.contexts):
            if c.is_floating_point() and not bool((finite := c.isfinite()).all()):
                row = int((~finite).nonzero()[0, 0])
                raise InputError(f"context {i} of row {row} is not finite: remove such rows or fill them in first")

    def _known(self, x: Tensor) -> Tensor:
        """Whether each element is what the data may hold: finite, or missing where that is allowed."""
        return x.isfinite() | x.isnan() if self.missing else x.isfinite()

    def _check_rows(self, x: Tensor, start: int, top: float | None) -> None:
        if x.is_floating_point() and not bool((finite := self._known(x)).all()):
            row, *element = (int(i) for i in (~finite).nonzero()[0])
            hole = bool(x[(row, *element)].isnan())
            value = "a missing value (NaN)" if hole else "infinite"
            raise InputError(
                f"{self.place(start + row, element)} is {value}: remove such rows or fill them in first"
                + (", or train a model that integrates them out: TabularVAE, or likelihoods.Observed" if hole else "")
            )
        if top is not None and not bool((inside := (x >= 0) & (x <= top)).all()):
            row, *element = (int(i) for i in (~inside).nonzero()[0])
            raise InputError(
                f"{self.place(start + row, element)} is {float(x[(row, *element)]):.6g}, outside 0..{top:g} where grey "
                "values are expected: give pixel_max, the value of white, or choose the likelihood Gaussian"
            )


def _as_tensor(x: Tensor | np.ndarray | Rows | Sequence[Any]) -> Tensor | Rows:
    if isinstance(x, Rows) or hasattr(x, "tocsr"):
        return x if isinstance(x, Rows) else SparseRows.of(x)
    tensor = x.detach() if isinstance(x, Tensor) else _from_numpy(_as_array(x))
    if tensor.is_complex() or tensor.layout != torch.strided:
        raise TypeError("data must be real numbers in a dense tensor; this one is complex or sparse")
    if tensor.dim() < 2:
        raise InputError(
            f"data have one row for each datum: an array of shape (rows, ...), not {tuple(tensor.shape)}; "
            "for one number each, use shape (rows, 1)"
        )
    return tensor


def _as_array(x: Any) -> np.ndarray:
    """Numbers, of a dtype that torch also has."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise InputError("the data are a masked array with missing values: remove such rows or fill them in first")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise InputError("the rows of the data have different lengths: make them one rectangular array") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"data must be numbers; this array holds {array.dtype} "
            "(object arrays are not unpickled: save it with a numeric dtype)"
        )
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise InputError("the data hold integers of 2**63 or more: convert them to floating-point numbers")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return array.astype(np.float64) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array


def _from_numpy(array: np.ndarray) -> Tensor:
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    with warnings.catch_warnings():  # read-only arrays: the data are never written to
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _index(rows: Any) -> np.ndarray:
    """Indices, a mask or labels as numpy's."""
    return rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)


def as_dataset(x: Any, contexts: Sequence[Tensor] = (), missing: bool = False) -> Dataset:
    """A Dataset, from one or from an array or tensor (N, *event); uint8 are pixels, 0..255.

    With ``missing`` NaN in an array is a missing value; a Dataset says so itself.
    """
    if isinstance(x, Dataset):
        if contexts:
            raise InputError("give contexts to the Dataset itself")
        return x
    readable = isinstance(x, Tensor | Rows | list | tuple) or hasattr(x, "__array__") or hasattr(x, "tocsr")
    if not readable:
        raise TypeError(f"data are an array, a tensor or a reparam.Dataset, not {type(x).__name__}")
    return Dataset(x, contexts=contexts, missing=missing)
