"""The models of papers that differ in their latents or in what they explain: each a choice of prior or posterior."""

from __future__ import annotations

from typing import Any

from reparam.objectives import ELBO
from reparam.recipes.base import vae
from reparam.recipes.recipe import Recipe, Shape


def vamp_vae(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """VampPrior: the mixture of the posterior at learned inputs is the prior (Tomczak & Welling 2018).

    ``pseudo_inputs`` are rows of the data, by ``recipes.draw_rows``, or a number of fresh ones, 500.
    """
    return Recipe(vae(event_shape, latent_dim, **options, prior="vamp"), ELBO())


def flow_prior_vae(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """A masked autoregressive flow is learned as prior (Chen et al. 2017; Papamakarios et al. 2017)."""
    return Recipe(vae(event_shape, latent_dim, **options, prior="flow"), ELBO())


def mixture_vae(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """A mixture of Gaussians is learned as prior, the component summed out (Jiang et al. 2017)."""
    return Recipe(vae(event_shape, latent_dim, **options, prior="mixture"), ELBO())


def iaf_vae(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """Inverse autoregressive flow: a Gaussian posterior bent by learned maps (Kingma et al. 2016)."""
    return Recipe(vae(event_shape, latent_dim, **options, posterior="flow"), ELBO())


def svae(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """Hyperspherical: von Mises-Fisher on the unit sphere, with a uniform prior (Davidson et al. 2018)."""
    return Recipe(vae(event_shape, latent_dim, **options, posterior="vmf"), ELBO())


def nb_vae(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """Counts of genes: negative binomial, for each its dispersion (Lopez et al. 2018, without batches and dropout).

    With ``exposure=True`` the last context of each row is the size of its library, a factor of all its rates.
    """
    shape = (event_shape,) if isinstance(event_shape, int) else tuple(event_shape)
    options.setdefault("dispersion", "elementwise" if len(shape) == 1 else "shared")
    return Recipe(vae(event_shape, latent_dim, **options, likelihood="negative_binomial"), ELBO())
