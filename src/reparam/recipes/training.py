"""Models of papers whose training is their own: a discriminator, dreams, a corrupted input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reparam.objectives import ELBO, Denoising, Penalized, Reconstruction, WakeSleep, penalties
from reparam.recipes.base import autoencoder, vae
from reparam.recipes.papers import Shape
from reparam.recipes.recipe import Recipe
from reparam.schedules import Weight


def factor_vae(
    event_shape: Shape,
    latent_dim: int = 10,
    *,
    gamma: Weight = 10.0,
    discriminator: Sequence[int] = (256, 256, 256),
    **options: Any,
) -> Recipe:
    """FactorVAE: the total correlation, told by a discriminator, weighs gamma more (Kim & Mnih 2018)."""
    ratio = penalties.DensityRatio.untrained(latent_dim, discriminator)
    return Recipe(vae(event_shape, latent_dim, **options), Penalized(ELBO(), ratio, gamma))


def wake_sleep(event_shape: Shape, latent_dim: int = 10, *, k: int = 1, **options: Any) -> Recipe:
    """Wake-sleep: the decoder learns from data, the encoder from the model's dreams (Hinton et al. 1995)."""
    return Recipe(vae(event_shape, latent_dim, **options), WakeSleep(k))


def denoising_vae(
    event_shape: Shape, latent_dim: int = 10, *, noise: float = 0.0, masked: float = 0.25, **options: Any
) -> Recipe:
    """Denoising VAE: the encoder reads a corrupted datum, the likelihood scores the clean one (Im et al. 2017)."""
    return Recipe(vae(event_shape, latent_dim, **options), Denoising(ELBO(), noise, masked))


def denoising_ae(
    event_shape: Shape, latent_dim: int = 10, *, noise: float = 0.0, masked: float = 0.25, **options: Any
) -> Recipe:
    """Denoising autoencoder: a plain one that restores what a corruption took away (Vincent et al. 2008)."""
    return Recipe(autoencoder(event_shape, latent_dim, **options), Denoising(Reconstruction(), noise, masked))
