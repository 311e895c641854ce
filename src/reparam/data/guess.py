"""What a column holds, read from its values: see :class:`reparam.data.columns.Column`."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np

from reparam.data.columns import NUMERIC, Column
from reparam.data.frames import Plain
from reparam.errors import InputError

_LEVELS = 10  # so many different whole numbers are grades
_ROWS = 20  # fewer rows say nothing about their being told apart
_KINDS = 1000  # so many texts are no categories
_LOOKED_AT = 20_000  # values that decide about a shape
_TIMES = (86400.0, 3600.0, 60.0, 1.0, 1e-3)


def guess(name: str, found: Plain, kind: str | None = None) -> Column:
    """The column that these values are of; ``kind`` decides what it is where it is given.

    Raises:
        InputError: for a given kind that the values are not of.
    """
    missing = (
        np.array([v is None for v in found.values], dtype=bool) if found.form == "text" else np.isnan(found.values)
    )
    known = found.values[~missing]
    share = float(missing.mean()) if len(missing) else 0.0
    column = Column(name, "constant", found.dtype, [], missing=share)
    if not len(known):
        return column
    different = _different(known)
    if kind is None:
        kind = _kind(name, known, different, found)
    column = replace(column, kind=kind, categories=None)
    if kind == "identifier":
        return column
    if column.coded or kind in ("constant", "group"):
        column = replace(column, categories=_categories(column, known, different, found))
        return replace(column, shares=[float((known == c).mean()) for c in column.categories or []])
    if found.form == "text" or (found.form == "time") != (kind == "datetime"):
        raise InputError(f"column {name!r} holds {found.form}, which cannot be {kind}")
    return _numeric(column, known, found.form)


def _different(known: np.ndarray) -> np.ndarray:
    """The different values, sorted."""
    return np.array(sorted(set(known.tolist())), dtype=object) if known.dtype == object else np.unique(known)


def _kind(name: str, known: np.ndarray, different: np.ndarray, found: Plain) -> str:
    n, d = len(known), len(different)
    if d == 1 and found.categories is None:
        return "constant"
    if found.form == "bool":
        return "boolean"
    if found.categories is not None:
        c = len(found.categories)
        many = "ordinal" if found.ordered else "categorical"
        return "constant" if c < 2 else "binary" if c == 2 else many
    if found.form == "text":
        apart = n >= _ROWS and d > n / 2
        return "binary" if d == 2 else "identifier" if apart or d > _KINDS else "categorical"
    if found.form == "time":
        return "datetime"
    if d == 2:
        return "binary"
    return _kind_of_numbers(name, known, different)


def _kind_of_numbers(name: str, known: np.ndarray, different: np.ndarray) -> str:
    n, d, low, high = len(known), len(different), float(different[0]), float(different[-1])
    if bool((known == np.rint(known)).all()):
        named = re.search(r"(^|[_ .])(id|index|key|uuid|row)($|[_ .])|^unnamed", name.lower()) is not None
        if n >= _ROWS and d == n and (named or (high - low == n - 1 and bool((np.diff(known) == 1).all()))):
            return "identifier"
        with np.errstate(over="ignore"):  # of 1e300
            mean, variance = float(known.mean()), float(known.var())
        if low == 0 and variance > mean:
            return "count"
        if d <= _LEVELS and (high - low <= 2 * _LEVELS or n >= _ROWS * d):
            return "ordinal"
        if low >= 0 and low <= 1 and variance > mean and mean < high / 4:  # the long tail of counts
            return "count"
        return _real_or_positive(known)
    if 0 <= low < 0.05 and 0.95 < high <= 1:
        return "proportion"
    return _real_or_positive(known)


def _real_or_positive(known: np.ndarray) -> str:
    """Positive numbers whose logarithm is less skewed than they are."""
    if known.min() <= 0 or len(known) < _ROWS:
        return "real"
    x = _sample(known)
    skew = _skew(x)
    return "positive" if skew > 1 and abs(_skew(np.log(x))) < skew else "real"


def _categories(column: Column, known: np.ndarray, different: np.ndarray, found: Plain) -> list[Any]:
    if found.categories is not None and column.kind != "constant":
        return list(found.categories)
    if column.kind == "boolean":
        return [0.0, 1.0]
    if column.kind == "ordinal" and found.form == "number" and all(v == round(v) for v in different):
        low, high = int(different[0]), int(different[-1])
        if high - low <= 10 * len(different):
            return [float(v) for v in range(low, high + 1)]  # grades that nobody got are grades
    if column.coded and len(different) < 2:
        raise InputError(f"column {column.name!r} has one value, {different[0]!r}: its kind is 'constant'")
    return list(different.tolist())


def _numeric(column: Column, known: np.ndarray, form: str) -> Column:
    low, high = float(known.min()), float(known.max())
    step = 1.0 if column.kind == "count" else _step(known, _TIMES if form == "time" else None)
    column = replace(column, low=low, high=high, step=step)
    if column.kind == "count":
        if low < 0 or not bool((known == np.rint(known)).all()):
            raise InputError(f"column {column.name!r} holds numbers that are no counts: its kind is 'real'")
        expected = _zeros(float(known.mean()), float(known.var()))
        x = np.log1p(known)
        return replace(
            column, inflated=float((known == 0).mean()) > 1.2 * expected + 0.05, loc=float(x.mean()), spread=_spread(x)
        )
    if column.kind == "positive":
        end = min(low, 0.0)  # a zero is what is below half a step
        column = replace(column, support=[end - (_margin(column, known) if step or low <= 0 else 0.0), None])
    elif column.kind == "proportion":
        ends = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
        margin = _margin(column, known)
        column = replace(column, support=[
            ends[0] - margin * (low <= ends[0]), ends[1] + margin * (high >= ends[1])
        ])  # fmt: skip
    t = column._f(known)
    column = replace(column, loc=float(t.mean()), spread=_spread(t))
    y = _sample((t - column.loc) / column.spread)
    tails = float((y**4).mean()) > 6 if len(y) >= _ROWS else False
    family = "mixture" if modes(y) > 1 else "student_t" if tails else "gaussian"
    return replace(column, family=family)


def _margin(column: Column, known: np.ndarray) -> float:
    """Half of the rounding step, by which a closed end is moved so that values at it are inside."""
    return (column.step or 1e-3 * max(float(np.ptp(known)), 1e-12)) / 2


def _zeros(mean: float, variance: float) -> float:
    """The share of zeros of a negative binomial with these moments."""
    if variance <= mean or mean <= 0:
        return math.exp(-mean)
    theta = mean**2 / (variance - mean)
    return (theta / (theta + mean)) ** theta


def _step(known: np.ndarray, steps: tuple[float, ...] | None = None) -> float | None:
    """The largest unit of which all values are multiples, a power of ten or of time."""
    for step in steps or (1e6, 1e5, 1e4, 1e3, 1e2, 10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        if all(_whole(x / step) for x in (_sample(known), known)):  # a sample first: it refuses most
            return step
    return None


def _whole(k: np.ndarray) -> bool:
    """Whether all are whole numbers, to rounding, and small enough that this says something."""
    size = np.abs(k)
    return bool((np.abs(k - np.rint(k)) <= np.minimum(1e-9 * size, 1e-4)).all()) and bool(size.max() < 1e12)


def _sample(x: np.ndarray) -> np.ndarray:
    """Values from the whole length, at most so many as decide."""
    return x[:: max(1, len(x) // _LOOKED_AT)]


def _spread(x: np.ndarray) -> float:
    size = max(abs(float(x.min())), abs(float(x.max())), 1e-300)
    spread = float((x / size).std()) * size
    return spread if spread > 1e-12 * size and math.isfinite(spread) else 1.0


def _skew(x: np.ndarray) -> float:
    spread = _spread(x)
    return float((((x - x.mean()) / spread) ** 3).mean())


def modes(y: np.ndarray) -> int:
    """How many modes a density estimate has, of standardised numbers: heights of a twentieth of the highest count.

    A Gaussian kernel of Silverman's width on a grid; two maxima are two modes where the density between them falls to
    four fifths of the lower.
    """
    if len(y) < 5 * _ROWS:
        return 1
    inner = float(np.subtract(*np.percentile(y, [75, 25]))) / 1.34
    width = 0.9 * min(1.0, inner if inner > 0 else 1.0) * len(y) ** -0.2
    y = y[np.abs(y) < 5]
    counts, edges = np.histogram(y, bins=512, range=(-5.5, 5.5))
    grid = (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-0.5 * ((grid - grid[256]) / max(width, 0.03)) ** 2)
    density = np.convolve(counts, kernel, mode="same")
    tops = [
        i for i in range(1, 511) if density[i - 1] < density[i] >= density[i + 1] and density[i] > density.max() / 20
    ]
    found, last = 0, None
    for top in tops:
        if last is None or density[last:top].min() < 0.8 * min(density[last], density[top]):
            found, last = found + 1, top
        elif density[top] > density[last]:
            last = top
    return max(1, found)


__all__ = ["NUMERIC", "guess", "modes"]
