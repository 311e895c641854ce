"""The evidence lower bound and its terms, and the values of objectives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.distributions import Hierarchical
from reparam.evaluate.draws import draws, evaluating, rows_of
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.refine import refined
from reparam.objectives import Objective, require_density, sample_count
from reparam.vae import VAE, Draw, has_density, reference


class Terms(NamedTuple):
    """The evidence lower bound and the two terms of which it is the difference, in nats."""

    elbo: Estimate
    reconstruction: Estimate
    kl: Estimate


def elbo_terms(
    vae: VAE, x: Any, k: int = 1, seed: int = 0, *, contexts: Sequence[Tensor] = (), refine: int = 0
) -> Terms:
    """E_q[log p(x|z)] - KL(q(z|x) || p(z)) and its two terms, with k samples for each datum.

    The KL is exact where a closed form is registered, else estimated from the same samples. A posterior that lists its
    values (gradient="enumerate") is read so: both terms are exact, and k plays no part. ``x`` is an array
    or tensor (N, *event), or a Dataset. The value of a row depends on the row, the seed and k alone. With ``refine``,
    q is that after so many steps of :func:`reparam.evaluate.refined`.

    Raises:
        InputError: for data outside the likelihood's support, k < 1, or a posterior without density (Point); what
            ``refined`` raises.
    """
    vae = refined(vae, refine, seed=seed) if refine else vae
    reconstruction, kl = _averages(vae, x, k, seed, contexts, lambda draw: torch.stack([draw.reconstruction, draw.kl]))
    return Terms(*(Estimate.of(t, k, "elbo") for t in (reconstruction - kl, reconstruction, kl)))


def kl_per_layer(
    vae: VAE, x: Any, k: int = 1, seed: int = 0, *, contexts: Sequence[Tensor] = ()
) -> tuple[Estimate, ...]:
    """What each layer of a hierarchy adds to the KL, the top layer first as in z, in nats.

    For a posterior that goes down as the prior does it is E_q KL(q(z_l | z_above, x) || p(z_l | z_above)), each KL in
    closed form; for one that goes up, E_q[log q(z_l | .) - log p(z_l | .)]. The samples are those of ``elbo_terms``
    with the same k and seed, and the layers sum to its KL. Empty for a model without layers.

    Raises:
        InputError: as ``elbo_terms`` does.
    """

    data = rows_of(vae, x, contexts)
    if not isinstance(vae.prior(*(t[:1].to(reference(vae).device) for t in data.contexts)), Hierarchical):
        return ()

    def layers(draw: Draw) -> Tensor:
        return draw.log_px.new_zeros(0, draw.z.shape[1]) if draw.kl_layers is None else draw.kl_layers

    return tuple(Estimate.of(t, k, "elbo") for t in _averages(vae, data, k, seed, (), layers))


def _averages(
    vae: VAE, x: Any, k: int, seed: int, contexts: Sequence[Tensor], read: Callable[[Draw], Tensor]
) -> Tensor:
    """Means over the k samples of each row of what is read from its draws: (T, N), float64, from (T, B) for each."""
    data = rows_of(vae, x, contexts)
    means: Tensor | None = None  # in one place: see weights.collect
    with evaluating(vae):
        for at, draw in draws(vae, data, sample_count(k), seed, "posterior", listed=True):
            require_density(draw.q, "the ELBO")
            share = draw.z.shape[0] / k if draw.log_shares is None else 1.0
            terms = share * read(draw).double().cpu()
            means = terms.new_zeros(len(terms), len(data)) if means is None else means
            means[:, at] += terms
    assert means is not None
    return means


def elbo(vae: VAE, x: Any, k: int = 1, seed: int = 0, *, contexts: Sequence[Tensor] = (), refine: int = 0) -> Estimate:
    """The evidence lower bound: see :func:`elbo_terms`."""
    return elbo_terms(vae, x, k, seed, contexts=contexts, refine=refine).elbo


def objective_value(vae: VAE, data: Dataset, objective: Objective, seed: int = 0) -> dict[str, float]:
    """The objective's own value and the two terms of its draws, means over the data, in nats.

    Keys: objective, reconstruction, kl (NaN for a posterior without density).
    """
    sums = torch.zeros(3, dtype=torch.float64)
    with evaluating(vae):
        for _, draw in draws(vae, data, objective.k, seed, "posterior", whole=True, listed=True):
            values = objective.bound(draw), draw.reconstruction, finite_kl(draw)
            sums += torch.stack([v.double().sum() for v in values]).cpu()
    means = (sums / len(data)).tolist()
    return dict(zip(("objective", "reconstruction", "kl"), means, strict=True))


def finite_kl(draw: Draw) -> Tensor:
    """KL(q || p) for each datum, (B,), NaN where q has no density and the KL says nothing."""
    return draw.kl if has_density(draw.q) else torch.full_like(draw.log_px[0], math.nan)
