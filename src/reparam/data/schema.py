"""What the numbers of a data set mean, kept beside the model that was trained on them."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam.data import counts
from reparam.data.context import Context, fault, given, joined
from reparam.data.counts import Counting
from reparam.data.dataset import BINARIZE, Dataset
from reparam.data.readers import Source
from reparam.data.rows import Rows, extremes, numpy_dtype, spread_over
from reparam.data.sparse import SparseRows
from reparam.data.stored import StoredRows
from reparam.data.table import TableSchema
from reparam.errors import InputError, RunFolderError, nearest

FORMAT = 1
_LOOKED_AT = 100_000  # rows of a file that decide whether its whole numbers are counts


@dataclass(frozen=True)
class Schema:
    """The shape, dtype and units of one datum.

    ``pixel_max`` is the value that becomes 1; ``binarize`` how grey values become 0 and 1; ``columns`` the names of
    a table's columns; ``contexts`` what a conditional model reads beside the data; ``table`` what the columns of a
    mixed table hold; ``counting`` how counts of cells are read, whose last context is the size factor, if any.
    """

    event_shape: tuple[int, ...]
    dtype: str
    pixel_max: float | None = None
    binarize: str | None = None
    columns: list[str] | None = None
    contexts: list[Context] | None = None
    table: TableSchema | None = None
    counting: Counting | None = None

    @staticmethod
    def of(data: Dataset) -> Schema:
        """The schema of a data set made in Python."""
        dtype = str(data.x.dtype).removeprefix("torch.").replace("bfloat16", "float32")  # numpy has none
        return Schema(data.event_shape, dtype, data.pixel_max, data.binarize, data.columns)

    @staticmethod
    def of_table(table: TableSchema) -> Schema:
        """The schema of a mixed table: a datum is a row, in the numbers of the model."""
        return Schema((table.width,), "float64", columns=table.names, table=table)

    @property
    def integers(self) -> bool:
        """Whether the data came as whole numbers."""
        return self.dtype.startswith(("int", "uint"))

    def dataset(self, source: Source, binarize: str | None = None) -> Dataset:
        """The data of a file, read in these units; ``binarize`` replaces the schema's choice.

        Raises:
            InputError: if the shape, the columns or the range of the values do not fit.
        """
        x: Any = self._columns_of(source)
        if x.ndim < 2 or tuple(x.shape[1:]) != self.event_shape:
            raise InputError(
                f"a datum of this model has shape {self.event_shape}; {source.name} has {tuple(x.shape[1:])}"
            )
        if self.counting is not None:
            return self._cells(source, x)
        white, kind = self.pixel_max, numpy_dtype(x).kind
        if white is not None and white > 1 and kind == "f" and self.integers and x.size and extremes(x)[1] <= 1:
            raise InputError(
                f"{source.name} seems to be scaled to 0..1, and the training data were 0..{white:g}: "
                "give values in the units of the training data"
            )
        if white is None and numpy_dtype(x) == np.uint8:  # alone, a Dataset would take them for pixels
            x = x.astype(np.int64)
        given = [torch.from_numpy(joined(self.contexts, source.contexts, source.name, len(x)))] if self.contexts else ()
        return Dataset(
            x, contexts=given, pixel_max=white, binarize=binarize or self.binarize, columns=self.columns,
            labels=source.labels,
        )  # fmt: skip

    def _cells(self, source: Source, x: Any) -> Dataset:
        assert self.counting is not None
        x = x if isinstance(x, SparseRows) else SparseRows.of(x)
        own = [torch.from_numpy(joined(self.contexts, source.contexts, source.name, len(x)))] if self.contexts else []
        sizes = self.counting.context(x, dict(source.contexts), source.name)
        return Dataset(x, contexts=[*own, *sizes], columns=self.columns, labels=source.labels)

    @property
    def exposed(self) -> bool:
        """Whether the last context is a size factor."""
        return self.counting is not None and self.counting.sized

    def given(self, text: str | None, n: int) -> tuple[Tensor, ...]:
        """The contexts of n rows that all have those of an option such as ``batch=a``; none for a model without.

        Raises:
            InputError: unless the option gives every context, and nothing else.
        """
        sizes = (torch.ones(n, 1),) if self.exposed else ()  # usual cells
        if not self.contexts:
            if text is not None:
                raise InputError("this model was trained without contexts: leave --given out")
            return sizes
        return (torch.from_numpy(given(self.contexts, text)).expand(n, -1), *sizes)

    def _columns_of(self, source: Source) -> np.ndarray | Rows:
        """The columns of a table by their names, in the order of the training data, whatever else it holds."""
        if not self.columns or not source.columns or source.columns == self.columns:
            return source.x
        missing = [name for name in self.columns if name not in source.columns]
        if missing:
            hint = nearest(missing[0], source.columns)
            raise InputError(f"{source.name} has no column {missing[0]!r}, which the training data had: {hint}")
        at = [source.columns.index(name) for name in self.columns]
        return source.x.select(np.array(at)) if isinstance(source.x, SparseRows | StoredRows) else source.x[:, at]

    def restore(self, x: Tensor) -> np.ndarray:
        """What a model gives, in the units and the dtype of the data."""
        array = x.detach().cpu().double().numpy() * (self.pixel_max or 1.0)
        dtype = np.dtype(self.dtype)
        if dtype.kind == "b":
            return array >= 0.5
        if self.integers:
            array = np.rint(array).clip(*_range(dtype))
            if self.pixel_max is not None:
                array = array.clip(0, self.pixel_max)
        return array.astype(dtype)

    def log_units(self) -> float:
        """Nats for each element from a density per model unit to one per unit of the data: minus log pixel_max."""
        return -float(np.log(self.pixel_max)) if self.pixel_max else 0.0

    def row_units(self, data: Dataset) -> Tensor:
        """Nats for each row of a mixed table from a density per model unit to one per unit of its columns, (N,)."""
        if self.table is None:
            return torch.zeros(len(data), dtype=torch.float64)
        return torch.from_numpy(self.table.log_units(data.x.numpy()))

    def to_json(self) -> str:
        """The schema as JSON."""
        table = {} if self.table is None else {"table": self.table.to_dict()}
        plain = asdict(replace(self, table=None))
        plain = plain if self.counting is not None else {n: v for n, v in plain.items() if n != "counting"}
        return json.dumps({"format": FORMAT, **plain, **table}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Schema:
        """The schema that ``to_json`` wrote.

        Raises:
            RunFolderError: for text that is no schema, or of a newer version.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RunFolderError(f"schema.json is damaged: {error}") from error
        version = raw.pop("format", None) if isinstance(raw, dict) else None
        if type(version) is not int or version < 1:
            raise RunFolderError("schema.json names no format: it was altered, or is not of a run")
        if version > FORMAT:
            raise RunFolderError(f"schema.json has format {version}, newer than this reparam: update reparam")
        table = TableSchema.from_dict(raw["table"]) if raw.get("table") is not None else None
        fault = _fault({name: entry for name, entry in raw.items() if name != "table"})
        if fault:
            raise RunFolderError(f"schema.json is damaged: {fault}")
        contexts = [Context(**c) for c in raw["contexts"]] if raw.get("contexts") else None
        counting = Counting(**raw["counting"]) if raw.get("counting") else None
        return Schema(**{
            **raw, "event_shape": tuple(raw["event_shape"]), "contexts": contexts, "table": table, "counting": counting
        })  # fmt: skip


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least and the greatest float64 that the integer type holds: its own maximum may round up beyond itself."""
    info = np.iinfo(dtype)
    high = float(info.max)
    return float(info.min), high if high <= info.max else float(np.nextafter(high, 0))


_DTYPES = {"bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)), *(f"float{n}" for n in (16, 32, 64))}


def _fault(raw: dict[str, Any]) -> str | None:
    """The entry that no schema has, or None: the text may have been altered, or come from anywhere."""
    shape, white, columns = raw.get("event_shape"), raw.get("pixel_max"), raw.get("columns")
    checks = {
        "event_shape": isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape),
        "dtype": isinstance(raw.get("dtype"), str) and raw["dtype"] in _DTYPES,
        "pixel_max": white is None or (type(white) in (int, float) and 0 < white < math.inf),
        "binarize": raw.get("binarize") in (None, *BINARIZE),
        "columns": columns is None
        or (isinstance(columns, list) and all(isinstance(c, str) for c in columns) and [len(columns)] == shape),
        "contexts": not fault(raw.get("contexts")),
        "counting": not Counting.fault(raw.get("counting")),
    }
    return next((f"{name} is {raw.get(name)!r}" for name, good in checks.items() if not good), None) or next(
        (f"it has an entry {name!r}" for name in raw if name not in checks), None
    )


_PIXELS = ("bernoulli", "continuous_bernoulli", "discretized_logistic", "discretized_logistic_mixture")
_WHOLE = (  # of whole numbers, which no white divides
    "poisson", "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial", "multinomial",
    "categorical", "ordinal", "binomial",
)  # fmt: skip
LIKELIHOODS = ("auto", *_PIXELS, "gaussian", "laplace", "student_t", "log_normal", "beta", *_WHOLE)


def infer(
    source: Source,
    likelihood: str = "auto",
    binarize: str | None = None,
    pixel_max: float | None = None,
    partial: bool = False,
) -> tuple[Schema, str, list[str]]:
    """The schema of a file, the likelihood that fits it, and sentences that say what was chosen and why.

    ``partial`` contexts are labels, which rows may lack.

    Raises:
        InputError: for an unknown likelihood, integers beyond 0..255 where pixels are expected, or integers whose
            white is not known.
    """
    likelihood = likelihood.lower().replace("-", "_")
    if likelihood not in LIKELIHOODS:
        raise InputError(f"unknown likelihood {likelihood!r}: {nearest(likelihood, LIKELIHOODS)}")
    if source.counting is not None:
        return _infer_counts(source, likelihood)
    x, dtype, notes = source.x, numpy_dtype(source.x), []
    if dtype.kind not in "biuf":
        raise InputError(f"{source.name} holds {dtype}, not numbers: save it with a numeric dtype")
    if x.ndim < 2 or x.size == 0:
        Dataset(x)  # gives the reason
    white = source.pixel_max if pixel_max is None else pixel_max
    if likelihood in _WHOLE:
        white = None
    elif white is None and dtype.kind in "iu":
        white, note = _white(source, likelihood, binarize)
        notes += note
    low, high = (float(v) for v in extremes(x))
    binary = _is_binary(x, white or 1.0)
    grey = white is not None or (low >= 0 and high <= 1 and source.columns is None)
    if likelihood == "auto":
        likelihood = (
            "bernoulli" if binary or binarize else "continuous_bernoulli" if grey
            else "negative_binomial" if _is_counts(x) else "gaussian"
        )  # fmt: skip
        reason = (
            "the data are 0 and 1" if binary else f"grey values are made binary ({binarize})" if binarize
            else "grey values between black and white" if grey
            else "whole numbers from 0 whose variance is above their mean: counts" if likelihood == "negative_binomial"
            else "real numbers"
        )  # fmt: skip
        notes.append(f"likelihood {likelihood}: {reason}")
    if binary and binarize:
        binarize = None
        notes.append("the data are binary already: binarize has nothing to do")
    known = dtype.name if dtype.name in _DTYPES else "float64"  # what is wider than 8 bytes
    contexts = [Context.of(name, values, partial) for name, values in source.contexts.items()]
    notes += [c.words for c in contexts]
    return Schema(tuple(x.shape[1:]), known, white, binarize, source.columns, contexts or None), likelihood, notes


def _infer_counts(source: Source, likelihood: str) -> tuple[Schema, str, list[str]]:
    """What :func:`infer` gives for counts of cells."""
    counting, x, columns = source.counting, source.x, source.columns or []
    assert counting is not None
    assert isinstance(x, SparseRows)
    likelihood, notes = counts.choose(x, likelihood, source.name, columns)
    contexts = [Context.of(n, values) for n, values in source.contexts.items() if n != counting.column]
    if counting.sized:
        typical = float(np.median(counting.sizes(x, dict(source.contexts), source.name)))
        counting = replace(counting, typical=typical)
        what = "the total of each cell" if counting.column is None else f"column {counting.column!r}"
        notes.append(f"size factor: {what}, over its median of {typical:g}")
    notes += [c.words for c in contexts]
    return (
        Schema(tuple(x.shape[1:]), "float32", None, None, columns, contexts or None, None, counting),
        likelihood,
        notes,
    )


def _is_binary(x: np.ndarray | Rows, white: float) -> bool:
    sample = x[: max(1, (1 << 20) // max(1, math.prod(x.shape[1:])))]
    parts = x.split() if isinstance(x, Rows) else (x,)
    return all(bool(((part == 0) | (part == white)).all()) for part in itertools.chain((sample,), parts))


def _is_counts(x: np.ndarray | Rows) -> bool:
    """Whether a table of whole numbers starts at 0 and, in most columns, varies more than a Poisson would.

    Years, codes and grades do not; of a negative binomial it is true for every mixture of means.
    """
    if numpy_dtype(x).kind not in "iu" or x.ndim != 2 or extremes(x)[0] != 0:
        return False
    y = spread_over(x, _LOOKED_AT).astype(np.float64)
    return bool(np.mean(y.var(0) > y.mean(0)) > 0.5)


def _white(source: Source, likelihood: str, binarize: str | None) -> tuple[float | None, list[str]]:
    """The value of white for whole numbers, where pixels are expected, and a sentence where it was guessed."""
    x, dtype = source.x, numpy_dtype(source.x)
    low, high = (int(v) for v in extremes(x))
    if low >= 0 and high <= 1:
        return 1.0, []
    expected = source.is_image or dtype == np.uint8 or binarize or likelihood in _PIXELS
    if not expected or (likelihood == "gaussian" and not source.is_image and dtype != np.uint8):
        return None, []
    if low < 0 or high > 255:
        value = low if low < 0 else high
        raise InputError(
            f"{source.name} holds the integer {value}, beyond 0..255 where pixels are expected: "
            "give pixel_max, the value of white, or choose the likelihood gaussian"
        )
    if high < 128:
        if dtype != np.uint8:
            raise InputError(
                f"the largest value of {source.name} is {high}: give pixel_max, the value of white (255 for 8-bit "
                "pixels)"
            )
        return 255.0, [f"the largest value is {high} of 255: give pixel_max {high} if that is white"]
    return 255.0, []
