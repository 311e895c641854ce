"""Cells of a table given z, and z given cells: intervals, truncated draws, weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.data.table import TableSchema
from reparam.distributions import Joined, log_prob_of_each, unwrap
from reparam.errors import InputError
from reparam.estimators.tabular_combinations import Combinations
from reparam.estimators.tabular_limits import Limits
from reparam.estimators.tabular_values import codes_of_value, interval_of, number_of
from reparam.vae import VAE

_TRIES = 8  # rounds of rejection before cells are drawn on a grid
_GRID = 400


def joined(vae: VAE, z: Tensor, *c: Tensor) -> Joined:
    """The distribution of the cells given z, of rows that are whole."""
    d = vae.likelihood(z, *c)
    inner = getattr(d, "base", d)
    assert isinstance(inner, Joined)
    return inner


def log_mass(d: Joined, limits: Limits, columns: list[int]) -> Tensor:
    """log P(these cells are within their limits | z), summed over ``columns``: batch of d, in nats."""
    total = torch.zeros(d.batch_shape, dtype=limits.low.dtype)
    for part, places in zip(d.parts, d.columns, strict=True):
        chosen = [(j, int(i)) for j, i in enumerate(places) if int(i) in columns]
        if not chosen:
            continue
        base = unwrap(part)
        upto, below, at = (torch.zeros(len(places), dtype=limits.low.dtype) for _ in range(3))
        for j, i in chosen:
            upto[j], below[j] = limits.high[i], limits.low[i]
        discrete = _discrete(base)
        high, low = _cdf(base, upto), _cdf(base, below - 0.5 if discrete else below)
        for j, i in chosen:
            if i in limits.allowed:
                mass = torch.zeros(d.batch_shape, dtype=at.dtype)
                for code in limits.allowed[i]:
                    at[j] = code
                    mass = mass + log_prob_of_each(part, at.to(_like(part)).expand(*d.batch_shape, -1))[..., j].exp()
            else:
                mass = high[..., j] - low[..., j]
            total = total + mass.double().clamp_min(1e-300).log()
    return total


def _cdf(base: Distribution, value: Tensor) -> Tensor:
    """The distribution function, also at infinity."""
    shape = base.batch_shape
    finite = torch.where(value.isfinite(), value, 0.0)
    if hasattr(base, "probs") and type(base).__module__.startswith("torch"):  # torch's Bernoulli has none
        inside = torch.where(value >= 1, 1.0, torch.where(value >= 0, 1 - base.probs.double(), 0.0))
    else:
        inside = base.cdf(finite.to(_like(base)).expand(shape)).double()
    return torch.where(value == math.inf, 1.0, torch.where(value == -math.inf, 0.0, inside))


def _discrete(base: Distribution) -> bool:
    return bool(getattr(base.support, "is_discrete", False))


def _like(d: Distribution) -> Tensor:
    return d.mean.new_empty(0)


def draw_within(
    vae: VAE, z: Tensor, c: tuple[Tensor, ...], limits: Limits, combinations: Combinations, known: Tensor
) -> Tensor:
    """One draw of the cells given each z (N, D), each within its limits: (N, W).

    By rejection; what is left after some rounds is drawn on a grid of the interval, from the density there. Columns of
    combinations are drawn together, given those of the cells ``known`` (N, W), NaN where nothing is.
    """
    x = combinations.draw(d := joined(vae, z, *c), d.sample(), known, limits)
    for _ in range(_TRIES):
        rows = (~limits.check(x)).any(-1).nonzero().flatten()
        if not len(rows):
            return x
        again = joined(vae, z[rows], *(t[rows] for t in c))
        fresh = again.sample()
        fixed = [i for i in combinations.columns if bool(limits.check(x[rows])[:, i].all())]
        fresh[:, fixed] = x[rows][:, fixed]  # drawn together, and within their limits
        x[rows] = torch.where(limits.check(x[rows]), x[rows], fresh)
    outside = ~limits.check(x)
    for i in outside.any(0).nonzero().flatten().tolist():
        rows = outside[:, i].nonzero().flatten()
        x[rows, i] = _on_grid(joined(vae, z[rows], *(t[rows] for t in c)), x[rows], i, limits)
    return x


def _on_grid(d: Joined, x: Tensor, i: int, limits: Limits) -> Tensor:
    """A draw of cell i, by its density at places of its interval."""
    low, high = float(limits.low[i]), float(limits.high[i])
    m, s = d.mean[..., i].double(), d.variance[..., i].double().clamp(1e-12, 1e12).sqrt()
    low = low if low > -math.inf else min(float((m - 8 * s).min()), high - 1)
    high = high if high < math.inf else max(float((m + 8 * s).max()), low + 1)
    if i in limits.allowed:
        places = torch.tensor(sorted(limits.allowed[i]), dtype=torch.float64)
    else:
        places = torch.linspace(low, high, _GRID, dtype=torch.float64)
        base = next(unwrap(p) for p, at in zip(d.parts, d.columns, strict=True) if i in at.tolist())
        if _discrete(base):
            places = places.round().unique()
    logits = []
    for place in places:
        value = torch.where(torch.arange(x.shape[-1]) == i, place.to(x), x)
        logits.append(log_prob_of_each(d, value)[..., i])
    chosen = torch.distributions.Categorical(logits=torch.stack(logits, -1)).sample()
    return places.to(x)[chosen]


def parse_given(schema: TableSchema, given: Mapping[str, object]) -> tuple[Tensor, Limits, list[int]]:
    """What is asked of the cells: a row (1, W) of those that are equal to something, the limits, and their columns.

    A value asks for equality, a pair (low, high) of numbers for an interval, a list for one of its values.

    Raises:
        InputError: for a column or a category that is none, or an empty interval.
    """
    row, limits = torch.full((1, schema.width), math.nan, dtype=torch.float64), Limits.of(schema)
    allowed, within = dict[int, frozenset[int]](), []
    for name, asked in given.items():
        column = schema[name]
        if not column.modelled:
            raise InputError(f"column {name!r} is {column.kind}, no part of the model: nothing can be asked of it")
        i = schema.places[name]
        if isinstance(asked, tuple):
            limits.low[i], limits.high[i] = interval_of(column, asked)
            within.append(i)
        elif isinstance(asked, list | set | frozenset):
            allowed[i] = codes_of_value(column, asked)
            within.append(i)
        else:
            row[0, i] = number_of(column, asked)
            limits.low[i] = limits.high[i] = row[0, i]
    return row, limits._replace(allowed=allowed), within
