"""New rows of a table, freely or under conditions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reparam import seeding
from reparam.data.table import TableSchema
from reparam.distributions import Blend
from reparam.errors import InputError
from reparam.estimators.tabular_combinations import Combinations
from reparam.estimators.tabular_given import draw_within, joined, log_mass, parse_given
from reparam.estimators.tabular_limits import Limits
from reparam.evaluate.draws import evaluating
from reparam.vae import VAE, reference

_ROUND, _MOST = 4096, 1 << 17  # candidates at a time, and at most
_POOR = 0.1  # an effective sample size below this share of the rows asked for


class Quality(NamedTuple):
    """How good the importance weights of a conditional sample were.

    ``ess`` is the effective number of ``candidates``, ``largest`` the share of the largest weight, and
    ``log_probability`` the estimate of log p(conditions), a density where a number is given exactly, in model units.
    """

    n: int
    candidates: int
    ess: float
    largest: float
    log_probability: float


@torch.no_grad()
def sample_rows(
    vae: VAE, schema: TableSchema, n: int, given: Mapping[str, Any], seed: int
) -> tuple[np.ndarray, np.ndarray | None, Quality]:
    """n rows in the model's numbers (n, W), the numbers of their groups, and the quality of the weights."""
    given = dict(given)
    group, combinations = schema.group, Combinations(schema)
    wanted = given.pop(group.name, None) if group is not None else None
    row, limits, within = parse_given(schema, given)
    combinations.require(row, _free(limits, row))
    with evaluating(vae), seeding.seeded(seed):
        groups = None
        if group is not None:
            groups = _groups(schema, wanted, n)
        c = tuple(t.to(reference(vae)) for t in schema.contexts(groups))
        if not given:
            p = vae.prior(*c)
            z = p.sample((n,)) if p.batch_shape == () else p.sample()
            quality = Quality(n, n, float(n), 1 / n, 0.0)
        else:
            z, c, groups, quality = _conditioned(vae, schema, n, row, limits, within, groups, c, combinations)
        parts = []
        for at in torch.arange(n).split(_ROUND):
            known = row.to(z).expand(len(at), -1)
            x = draw_within(vae, z[at], tuple(t[at] for t in c), _free(limits, row), combinations, known).double()
            x = x.clamp(limits.low, limits.high)  # what float32 has rounded beyond the ends
            parts.append(torch.where(row.isnan().expand_as(x), x, row))
    return torch.cat(parts).numpy(), groups, quality


def _free(limits: Limits, row: Tensor) -> Limits:
    """The limits without those of cells that are set."""
    fixed = ~row[0].isnan()
    inf = torch.full_like(limits.low, torch.inf)
    return limits._replace(low=torch.where(fixed, -inf, limits.low), high=torch.where(fixed, inf, limits.high))


def _groups(schema: TableSchema, wanted: Any, n: int) -> np.ndarray:
    from reparam.estimators.tabular_values import number_of

    group = schema.group
    assert group is not None
    if wanted is not None:
        return np.full(n, int(number_of(group, wanted)))
    shares = torch.tensor(group.shares or [1.0] * len(group.categories or ()), dtype=torch.float64)
    return np.asarray(shares.multinomial(n, replacement=True))


def _conditioned(
    vae: VAE, schema: TableSchema, n: int, row: Tensor, limits: Limits, within: list[int],
    groups: np.ndarray | None, c: tuple[Tensor, ...], combinations: Combinations,
) -> tuple[Tensor, tuple[Tensor, ...], np.ndarray | None, Quality]:  # fmt: skip
    """n draws of p(z | conditions), by resampling candidates of an even mixture of the prior and q(z | conditions).

    Candidates come in rounds until they are worth n draws, or there are too many of them.
    """
    like, free = reference(vae), _free(limits, row)
    alone = torch.tensor([i not in combinations.columns for i in range(schema.width)])
    within = [i for i in within if alone[i]]
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    while True:
        at = torch.randint(n, (_ROUND,))  # groups, by their shares
        given = tuple(t[at] for t in c)
        x = row.to(like).expand(_ROUND, -1)
        q, p = vae.posterior(x, *given), vae.prior(*given)
        mixture = Blend([q, p], [0.5, 0.5])
        first = torch.rand(_ROUND, 1) < 0.5
        z = torch.where(first, q.sample(), p.sample() if p.batch_shape else p.sample((_ROUND,)))
        log_w = p.log_prob(z).double() - mixture.log_prob(z).double()
        log_w = log_w + vae.likelihood(z, *given).log_prob(torch.where(alone, x, torch.nan)).double()
        if within or combinations.groups:
            d = joined(vae, z, *given)
            log_w = log_w + log_mass(d, limits, within) + combinations.log_prob(d, row.to(like), free)
        kept.append((z, at, log_w))
        log_weights = torch.cat([k[2] for k in kept])
        weights = log_weights.softmax(0)
        ess = float(1 / weights.square().sum())
        if ess >= n or len(weights) >= _MOST:
            break
    if not bool(log_weights.isfinite().any()) or float(log_weights.max()) < -600:
        raise InputError("no draw of the model meets these conditions: ask for something that is less improbable")
    quality = Quality(
        n, len(weights), ess, float(weights.max()),
        float(log_weights.logsumexp(0) - torch.tensor(float(len(weights))).log()),
    )  # fmt: skip
    if ess < max(_POOR * n, 10):
        warnings.warn(
            f"the conditions are rare for this model: {len(weights)} candidates are worth {ess:.1f} independent draws "
            f"for {n} rows, which will be alike; treat them with care",
            UserWarning,
            stacklevel=4,
        )
    chosen = _systematic(weights, n)
    z, at = torch.cat([k[0] for k in kept])[chosen], torch.cat([k[1] for k in kept])[chosen]
    return z, tuple(t[at] for t in c), None if groups is None else groups[at.numpy()], quality


def _systematic(weights: Tensor, n: int) -> Tensor:
    """n indices by their weights, each as often as n weight rounded up or down, in random order."""
    places = (torch.arange(n, dtype=torch.float64) + torch.rand((), dtype=torch.float64)) / n
    chosen = torch.searchsorted(weights.cumsum(0), places).clamp_max(len(weights) - 1)
    return chosen[torch.randperm(n)]
