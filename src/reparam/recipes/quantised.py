"""Models whose latents are codes: vector quantisation, and finite scalar quantisation.

With ``network="conv"`` the latent is a feature map, whose positions are groups of codes. Their bound is that of the
prior over codes, which :func:`reparam.fit_prior` fits further when the rest is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reparam import posteriors, priors
from reparam.conditional import Conditional
from reparam.errors import InputError
from reparam.objectives import ELBO, Penalized, penalties
from reparam.recipes.base import autoencoder
from reparam.recipes.recipe import Recipe, Shape
from reparam.schedules import Weight
from reparam.vae import VAE


def vq_vae(
    event_shape: Shape,
    latent_dim: int = 16,
    *,
    dim: int = 2,
    codes: int = 64,
    over: str = "autoregressive",
    commitment: Weight = 0.25,
    **options: Any,
) -> Recipe:
    """VQ-VAE: groups of ``dim`` numbers, each one of ``codes`` vectors, and a prior over codes (Oord et al. 2017)."""
    plain, groups = _plain(event_shape, latent_dim, dim, options)
    posterior = posteriors.VectorQuantized(plain.posterior.net, groups, dim, codes)
    objective = Penalized(ELBO(), penalties.Commitment(), commitment)
    return Recipe(_with_codes(plain, posterior, over), objective)


def fsq_vae(
    event_shape: Shape,
    latent_dim: int = 16,
    *,
    levels: Sequence[int] = (8, 5),
    over: str = "autoregressive",
    **options: Any,
) -> Recipe:
    """FSQ-VAE: numbers rounded to few levels, and a prior over groups of ``len(levels)`` (Mentzer et al. 2024)."""
    plain, groups = _plain(event_shape, latent_dim, len(levels), options)
    posterior = posteriors.FiniteScalar(plain.posterior.net, levels, groups)
    return Recipe(_with_codes(plain, posterior, over), ELBO())


def _plain(event_shape: Shape, latent_dim: int, dim: int, options: dict[str, Any]) -> tuple[Any, int]:
    """The autoencoder whose networks are used, and how many groups its latent has."""
    if dim < 1 or latent_dim % dim:
        raise InputError(f"latent_dim = {latent_dim} is no multiple of the {dim} numbers of a group")
    return autoencoder(event_shape, latent_dim, **{"dense": False, **options}), latent_dim // dim


def _with_codes(plain: Any, posterior: Conditional, over: str) -> VAE:
    return VAE(priors.Codes(posterior, over), plain.likelihood, posterior)
