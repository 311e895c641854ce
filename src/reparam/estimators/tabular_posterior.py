"""What the seen cells of a row tell about the missing ones: weighted draws of z, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset
from reparam.data.table import TableSchema
from reparam.distributions import Joined, filled, from_standard_normal, log_prob_of_each
from reparam.errors import InputError
from reparam.estimators.tabular_combinations import Combinations, class_log_probs
from reparam.estimators.tabular_given import draw_within, joined
from reparam.estimators.tabular_limits import Limits
from reparam.evaluate.draws import draws, evaluating
from reparam.vae import VAE, reference

_CALL = 8192  # decoder rows in one call
_DRAWS = 500  # of a number whose mean is no mean of the model's own


class Weighted(NamedTuple):
    """Draws of z for some rows and their importance weights: together, p(z | what is seen).

    Shapes: z (K, B, D), weights (K, B), which sum to one over K, contexts (B, ...).
    """

    rows: slice
    z: Tensor
    weights: Tensor
    contexts: tuple[Tensor, ...]

    def repeated(self, k: int) -> tuple[Tensor, ...]:
        """The contexts for k draws of each row, (k B, ...)."""
        return tuple(c.expand(k, *c.shape).flatten(0, 1) for c in self.contexts)


def weighted(vae: VAE, data: Dataset, k: int, seed: int) -> Iterator[Weighted]:
    """k draws of q(z|x_seen) for each row, weighted by p(x_seen, z) / q(z|x_seen)."""
    with evaluating(vae):
        for rows, draw in draws(vae, data, k, seed, "posterior", max(_CALL, k), whole=True):
            weights = draw.log_w.double().softmax(0)
            far = ~weights.isfinite().all(0)
            if bool(far.any()):
                row = rows.start + int(far.nonzero()[0])
                raise InputError(f"row {row} has no finite density under this model: its values are beyond training's")
            yield Weighted(rows, draw.z, weights, data.contexts_of(rows, reference(vae)))


@torch.no_grad()
def single(
    vae: VAE, data: Dataset, schema: TableSchema, k: int, seed: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """One value for each cell given what is seen, in the units of the columns (N, W), and its probability.

    Posterior means for numbers and counts, the median of grades, the most probable of other categories, as their
    numbers; the probability is that of the category, NaN for numbers. ``first`` is the number of the first row in the
    whole table.
    """
    values = np.empty((len(data), schema.width))
    probabilities, combinations = np.full(values.shape, np.nan), Combinations(schema)
    for part in weighted(vae, data, k, seed):
        with seeding.seeded((seed * 1_000_003 + first + part.rows.start) % 2**32):
            d = joined(vae, part.z, *(c.expand(k, *c.shape) for c in part.contexts))
            at = part.rows
            _means(d, part.weights, schema, values[at], probabilities[at])
            _likeliest(combinations, d, part.weights, data.x[at], values[at], probabilities[at])
    return values, probabilities


@torch.no_grad()
def decoded(vae: VAE, z: Tensor, c: tuple[Tensor, ...], schema: TableSchema, seed: int) -> np.ndarray:
    """A value for each cell given z (N, D), in the units of the columns (N, W): means, medians, most probable ones."""
    values, combinations = np.empty((len(z), schema.width)), Combinations(schema)
    none = torch.full((1, schema.width), torch.nan).to(z)
    with evaluating(vae), seeding.seeded(seed):
        for start in range(0, len(z), _CALL):
            at = slice(start, start + _CALL)
            part = z[at].unsqueeze(0)
            d = joined(vae, part, *(t[at].unsqueeze(0) for t in c))
            one, found = torch.ones(part.shape[:2], dtype=torch.float64), np.empty((part.shape[1], schema.width))
            _means(d, one, schema, values[at], found)
            _likeliest(combinations, d, one, none.expand(part.shape[1], -1), values[at], found)
    return values


@torch.no_grad()
def drawn(vae: VAE, z: Tensor, c: tuple[Tensor, ...], schema: TableSchema, seed: int) -> np.ndarray:
    """A draw of each row's cells given z (N, D), within the schema, in the model's numbers (N, W)."""
    limits, combinations = Limits.of(schema), Combinations(schema)
    none = torch.full((len(z), schema.width), torch.nan).to(z)
    with evaluating(vae), seeding.seeded(seed):
        parts = [
            draw_within(vae, z[at], tuple(t[at] for t in c), limits, combinations, none[at])
            for at in torch.arange(len(z)).split(_CALL)
        ]
    return torch.cat(parts).double().numpy()


def _means(d: Joined, weights: Tensor, schema: TableSchema, values: np.ndarray, probabilities: np.ndarray) -> None:
    """Fill in the mean or the most probable value of each column."""
    columns = schema.modelled
    repeats = (max(1, math.ceil(_DRAWS / len(weights))),)
    for part, places in zip(d.parts, d.columns, strict=True):
        mean = (weights.unsqueeze(-1) * part.mean.double()).sum(0).numpy()
        samples = None
        for j, i in enumerate(places.tolist()):
            column = columns[i] if i < len(columns) else None
            if column is None or column.coded:
                p = (weights.unsqueeze(-1) * class_log_probs(d, i).double().exp()).sum(0).numpy()
                ordered = column is not None and column.kind == "ordinal"
                best = (p.cumsum(-1) < 0.5 - 1e-9).sum(-1) if ordered else p.argmax(-1)
                values[:, i] = best
                probabilities[:, i] = np.take_along_axis(p, best[:, None], 1)[:, 0]
            elif column.kind in ("positive", "proportion"):  # the mean of x is not x at the mean of its logarithm
                samples = part.sample(repeats) if samples is None else samples
                x = column.fitting(column.raw(samples[..., j].double().numpy())).mean(0)
                values[:, i] = (weights.numpy() * x).sum(0)
            else:
                values[:, i] = column.raw(mean[:, j])


def _likeliest(
    combinations: Combinations, d: Joined, weights: Tensor, known: Tensor, values: np.ndarray, probabilities: np.ndarray
) -> None:
    """Put the most probable combinations in place of the most probable values of each of their columns."""
    for places, there, codes, p in combinations.likeliest(d, weights, known):
        rows = there.nonzero().flatten().numpy()
        for j, i in enumerate(places.tolist()):
            values[rows, i] = codes[there, j].numpy()
            probabilities[rows, i] = p[there, j].numpy()


@torch.no_grad()
def multiple(vae: VAE, data: Dataset, schema: TableSchema, m: int, k: int, seed: int, first: int = 0) -> np.ndarray:
    """m draws of each row's cells from p(x | what is seen), (m, N, W), in the model's numbers.

    By sampling importance resampling (Rubin 1987; Mattei & Frellsen 2019): z is drawn from the weighted draws, x from
    p(x|z), within the bounds of the schema. Equal rows get draws of their own: ``first`` is the number of the first.
    """
    limits, combinations = Limits.of(schema), Combinations(schema)
    out = np.empty((m, len(data), schema.width), dtype=np.float32)
    for part in weighted(vae, data, k, seed):
        with seeding.seeded((seed * 1_000_003 + first + part.rows.start + 1) % 2**32):
            chosen = part.weights.mT.multinomial(m, replacement=True).mT
            z = part.z.gather(0, chosen.unsqueeze(-1).expand(-1, -1, part.z.shape[-1]))
            known = data.x[part.rows].to(z).expand(m, -1, -1).flatten(0, 1)
            x = draw_within(vae, z.flatten(0, 1), part.repeated(m), limits, combinations, known)
        out[:, part.rows] = x.reshape(m, -1, schema.width).numpy()
    return out


@torch.no_grad()
def surprises(vae: VAE, data: Dataset, k: int, seed: int) -> np.ndarray:
    """-log p(x_j | the other seen cells of its row) of each seen cell, (N, W), NaN where nothing is seen; model units.

    log p(x) and log p(x without x_j) are estimated from the same draws, of an even mixture of q given the row and q
    given the rest, so that the noise of both is common to their difference. The value of a row does not depend on the
    rows beside it.
    """
    like, width = reference(vae), data.x.shape[1]
    rows = max(1, _CALL // (k * width))
    found = []
    with evaluating(vae):
        for start in range(0, len(data), rows):
            at = slice(start, min(start + rows, len(data)))
            x, c = data.fixed(data.x[at], like, seed), data.contexts_of(at, like)
            found.append(_surprises(vae, x, c, k, seeding.row_keys(x, seed, "surprise")))
    return np.concatenate(found)


def _surprises(vae: VAE, x: Tensor, c: tuple[Tensor, ...], k: int, keys: list[int]) -> np.ndarray:
    """The surprises of some rows: each row stands W times, each time without one of its cells."""
    n, width = x.shape
    cell = torch.arange(width).repeat_interleave(n)
    x, c = x.repeat(width, 1), tuple(t.repeat(width, *(1,) * (t.dim() - 1)) for t in c)
    seen = ~x.isnan()
    rest = x.scatter(1, cell.unsqueeze(1), torch.nan)
    half = max(1, k // 2)
    q_rest, q_all = vae.posterior(rest, *c), vae.posterior(x, *c)
    noise = seeding.normal(keys, (2 * half, q_all.event_shape[0]), x).movedim(0, 1).repeat(1, width, 1)
    draws_of_both = [from_standard_normal(q, e) for q, e in zip((q_rest, q_all), noise.split(half), strict=True)]
    z = torch.cat([t for t in draws_of_both if t is not None])
    log_r = torch.logaddexp(q_rest.log_prob(z), q_all.log_prob(z))
    d = joined(vae, z, *(t.expand(len(z), *t.shape) for t in c))
    each = torch.where(seen, log_prob_of_each(d, filled(d, x)).double(), 0.0)
    own = each.gather(-1, cell.expand(len(z), -1).unsqueeze(-1)).squeeze(-1)
    log_w = each.sum(-1) + vae.prior(*c).log_prob(z).double() - log_r.double()
    value = (log_w - own).logsumexp(0) - log_w.logsumexp(0)
    there = seen.gather(1, cell.unsqueeze(1)).squeeze(1)
    return torch.where(there, value, torch.nan).reshape(width, n).mT.numpy()
