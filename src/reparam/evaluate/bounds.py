"""The evidence lower bound and its terms, and the values of objectives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reparam.data import Dataset, as_dataset
from reparam.evaluate.draws import draws, evaluating
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.refine import refined
from reparam.objectives import Objective, require_density, sample_count
from reparam.vae import VAE, Draw, has_density


class Terms(NamedTuple):
    """The evidence lower bound and the two terms of which it is the difference, in nats."""

    elbo: Estimate
    reconstruction: Estimate
    kl: Estimate


def elbo_terms(
    vae: VAE, x: Any, k: int = 1, seed: int = 0, *, contexts: Sequence[Tensor] = (), refine: int = 0
) -> Terms:
    """E_q[log p(x|z)] - KL(q(z|x) || p(z)) and its two terms, with k samples for each datum.

    The KL is exact where a closed form is registered, else estimated from the same samples. ``x`` is an array
    or tensor (N, *event), or a Dataset. The value of a row depends on the row, the seed and k alone. With ``refine``,
    q is that after so many steps of :func:`reparam.evaluate.refined`.

    Raises:
        InputError: for data outside the likelihood's support, k < 1, or a posterior without density (Point); what
            ``refined`` raises.
    """
    data = as_dataset(x, contexts)
    vae = refined(vae, refine, seed=seed) if refine else vae
    reconstruction, kl = _zeros(data, 2)
    with evaluating(vae):
        for at, draw in draws(vae, data, sample_count(k), seed, "posterior"):
            require_density(draw.q, "the ELBO")
            share = draw.z.shape[0] / k
            reconstruction[at] += share * draw.reconstruction.double()
            kl[at] += share * draw.kl.double()
    return Terms(*(Estimate.of(t, k, "elbo") for t in (reconstruction - kl, reconstruction, kl)))


def elbo(vae: VAE, x: Any, k: int = 1, seed: int = 0, *, contexts: Sequence[Tensor] = (), refine: int = 0) -> Estimate:
    """The evidence lower bound: see :func:`elbo_terms`."""
    return elbo_terms(vae, x, k, seed, contexts=contexts, refine=refine).elbo


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
