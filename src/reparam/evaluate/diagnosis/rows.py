"""What is wrong with the data themselves: constants, duplicates, rows that the model cannot believe."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset
from reparam.shapes import Float

_MOST = 200_000  # rows in which duplicates are looked for


def constants(data: Dataset) -> list[int]:
    """The numbers of the elements (of a flattened datum) that never change."""
    if len(data) < 2:
        return []
    flat = data.x.flatten(1)
    return [int(i) for i in (flat == flat[:1]).all(0).nonzero().flatten()]


class Pairs(NamedTuple):
    """Pairs of equal rows: how many there are, how many the model expects, and how many rows equal an earlier one."""

    found: int
    expected: float
    rows: int


def _keys(data: Dataset) -> tuple[list[int], list[int]]:
    """A key for the content of each row, and of each of its contexts."""
    own = seeding.row_keys(data.x[:_MOST], 0, "equal")
    c = [seeding.row_keys(t[:_MOST].to(torch.float64), 0, "equal") for t in data.contexts]
    return own, [hash(t) for t in zip(*c, strict=True)] if c else [0] * len(own)


def equal_pairs(data: Dataset, log_p: Float[Tensor, " n"], resolution: float) -> Pairs:
    """Pairs of equal rows, beside what chance gives if the model is right.

    Two rows of the model are equal with probability E p(x), the mean over its data; ``log_p`` are of some rows, per
    model unit, and ``resolution`` is the sum over elements of the log of the steps in which the data are written
    (:func:`log_steps`), by which a density becomes a probability.
    """
    own, contexts = _keys(data)
    counts: dict[tuple[int, int], int] = {}
    for key in zip(own, contexts, strict=True):
        counts[key] = counts.get(key, 0) + 1
    found = sum(m * (m - 1) // 2 for m in counts.values())
    again = sum(m - 1 for m in counts.values())
    chance = min(1.0, float((log_p.double() + min(resolution, 700.0)).clamp_max(0).exp().mean()))
    return Pairs(found, len(own) * (len(own) - 1) / 2 * chance, again)


def shared_rows(data: Dataset, train: Dataset) -> int:
    """How many rows of the data also stand in the training data."""
    if data.x.dtype != train.x.dtype or data.event_shape != train.event_shape:
        return 0
    known = set(zip(*_keys(train), strict=True))
    return sum(key in known for key in zip(*_keys(data), strict=True))


def log_steps(data: Dataset, discrete: bool | Tensor) -> float:
    """The sum over elements of the log of the least step between two of its values, in the model's units.

    ``discrete`` says of which elements (of a flattened datum) p(x) is a probability already: those count 0, as do
    elements that never change.
    """
    flat = data.x[:_MOST].flatten(1)
    if isinstance(discrete, bool):
        discrete = torch.full((flat.shape[1],), discrete)
    total = 0.0
    for column in flat[:, ~discrete].double().mT:
        values = column[~column.isnan()].unique()
        if len(values) > 1:
            total += math.log(float(values.diff().min()) / (data.pixel_max or 1.0))
    return total


class Outliers(NamedTuple):
    """Rows that the model finds far less likely than anything that it makes, the worst first.

    ``limit`` is the log p(x) below which they lie.
    """

    rows: list[int]
    log_p: list[float]
    limit: float


def outliers(log_p: Float[Tensor, " n"], simulated: Float[Tensor, " m"]) -> Outliers:
    """Rows whose log p(x) lies below both the model's own data and the bulk of these.

    Of data that the model makes, log p(x) has a left tail that falls off at least as fast as exp(-t/2), for all
    families here. Below the least of ``simulated`` (log p(x) of data from the model) by 2 (log n + 5) nats, none of n
    rows is expected once in a hundred. As a model may also be wrong about all rows alike, an outlier lies as far below
    the 5% quantile of the data, and below it by 3 times the distance of that from the median.
    """
    margin = 2 * (math.log(len(log_p)) + 5)
    low, middle = (float(torch.quantile(log_p.double(), q)) for q in (0.05, 0.5))
    limit = min(float(simulated.min()), low - 3 * (middle - low)) - margin
    far = [int(i) for i in (log_p < limit).nonzero().flatten()]
    far.sort(key=lambda i: float(log_p[i]))
    return Outliers(far, [float(log_p[i]) for i in far], limit)


class Kind(NamedTuple):
    """What the numbers of a data set are."""

    whole: bool  # whole numbers from 0, of more than two values
    over: float  # the median over elements of variance / mean
    least: float
    most: float


def kind(data: Dataset) -> Kind:
    """The kind of the values, read in up to 10,000 rows and in their own units."""
    x = data.x[:10_000].flatten(1).double()
    whole = bool((x == x.round()).all()) and float(x.min()) >= 0 and float(x.max()) > 1
    mean, variance = x.mean(0), x.var(0) if len(x) > 1 else x.var(0, correction=0)
    used = (mean > 0) & (variance > 0)
    over = float((variance[used] / mean[used]).median()) if bool(used.any()) else 1.0
    return Kind(whole, over, float(x.min()), float(x.max()))
