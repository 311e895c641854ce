"""Bounds and estimates of log p(x), by sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from reparam.data import Dataset, as_dataset
from reparam.errors import InputError, nearest
from reparam.evaluate.draws import Proposal, draws, evaluating
from reparam.evaluate.estimate import Estimate
from reparam.objectives import Objective, require_density, sample_count
from reparam.vae import VAE, Draw, has_density

METHODS: dict[str, Proposal] = {"importance": "posterior", "prior": "prior"}
Progress = Callable[[int, int], None]  # (rows done, rows in all)


class Terms(NamedTuple):
    """The evidence lower bound and the two terms of which it is the difference, in nats."""

    elbo: Estimate
    reconstruction: Estimate
    kl: Estimate


def elbo_terms(vae: VAE, x: Any, k: int = 1, seed: int = 0, *, contexts: Sequence[Tensor] = ()) -> Terms:
    """E_q[log p(x|z)] - KL(q(z|x) || p(z)) and its two terms, with k samples for each datum.

    The KL is exact where a closed form is registered, else estimated from the same samples. ``x`` is an array
    or tensor (N, *event), or a Dataset. The value of a row depends on the row, the seed and k alone.

    Raises:
        InputError: for data outside the likelihood's support, k < 1, or a posterior without density (Point).
    """
    data = as_dataset(x, contexts)
    reconstruction, kl = _zeros(data, 2)
    with evaluating(vae):
        for at, draw in draws(vae, data, sample_count(k), seed, "posterior"):
            require_density(draw.q, "the ELBO")
            share = draw.z.shape[0] / k
            reconstruction[at] += share * draw.reconstruction.double()
            kl[at] += share * draw.kl.double()
    return Terms(*(Estimate.of(t, k, "elbo") for t in (reconstruction - kl, reconstruction, kl)))


def elbo(vae: VAE, x: Any, k: int = 1, seed: int = 0, *, contexts: Sequence[Tensor] = ()) -> Estimate:
    """The evidence lower bound: see :func:`elbo_terms`."""
    return elbo_terms(vae, x, k, seed, contexts=contexts).elbo


def log_likelihood(
    vae: VAE,
    x: Any,
    k: int = 5000,
    method: Literal["importance", "prior"] | str = "importance",
    seed: int = 0,
    *,
    contexts: Sequence[Tensor] = (),
    chunk: int | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """log p(x) estimated as log 1/k Σ p(x, z_i) / r(z_i), with z_i from a proposal r.

    ``method`` "importance" proposes from q(z|x) (Burda et al. 2016, eq. 8); "prior" from p(z), plain Monte Carlo of
    the integral of p(x|z) p(z), which needs many more samples. Both are lower bounds in expectation that rise to
    log p(x) with k. Samples are summed in log space and in float64 as they come, in calls of ``chunk`` decoder rows
    (chosen to fit caches and about 1 GB unless given), which changes the value by rounding only.

    ``x`` is an array or tensor (N, *event), or a Dataset. The value of a row depends on the row, the seed and k alone.
    ``progress`` is called with the rows done and the rows in all.

    Raises:
        InputError: for data outside the likelihood's support, k < 1, an unknown method, or "importance" with a
            posterior without density (Point).
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}: {nearest(method, METHODS)}")
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk, the decoder rows in one call, must be at least 1, not {chunk}")
    data = as_dataset(x, contexts)
    total, squares = (t.fill_(-math.inf) for t in _zeros(data, 2))
    with evaluating(vae):
        for at, draw in draws(vae, data, sample_count(k), seed, METHODS[method], chunk):
            if method == "importance":
                require_density(draw.q, "importance sampling by the posterior")
            log_w = draw.log_w.double()
            total[at] = torch.logaddexp(total[at], log_w.logsumexp(0).to(total.device))
            squares[at] = torch.logaddexp(squares[at], (2 * log_w).logsumexp(0).to(total.device))
            if progress is not None:
                progress(at.stop, len(data))
    return Estimate.of(total - math.log(k), k, method, (2 * total - squares).exp())


def objective_value(vae: VAE, data: Dataset, objective: Objective, seed: int = 0) -> dict[str, float]:
    """The objective's own value and the two terms of its draws, means over the data, in nats.

    Keys: objective, reconstruction, kl (NaN for a posterior without density).
    """
    sums = torch.zeros(3, dtype=torch.float64)
    with evaluating(vae):
        for _, draw in draws(vae, data, objective.k, seed, "posterior", whole=True):
            values = objective.bound(draw), draw.reconstruction, finite_kl(draw)
            sums += torch.stack([v.double().sum() for v in values]).cpu()
    means = (sums / len(data)).tolist()
    return dict(zip(("objective", "reconstruction", "kl"), means, strict=True))


def finite_kl(draw: Draw) -> Tensor:
    """KL(q || p) for each datum, (B,), NaN where q has no density and the KL says nothing."""
    return draw.kl if has_density(draw.q) else torch.full_like(draw.log_px[0], math.nan)


def _zeros(data: Dataset, count: int) -> tuple[Tensor, ...]:
    return tuple(torch.zeros(len(data), dtype=torch.float64) for _ in range(count))
