"""Models of data given contexts: p(x|c), and codes that are free of what the contexts tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reparam import networks
from reparam.errors import InputError
from reparam.objectives import ELBO, Penalized, penalties
from reparam.priors import ConditionalGaussian
from reparam.recipes.base import vae
from reparam.recipes.recipe import Recipe, Shape
from reparam.schedules import Weight


def cvae(
    event_shape: Shape,
    latent_dim: int = 10,
    *,
    context: int = 0,
    learned_prior: bool = False,
    prior_hidden: Sequence[int] = (64,),
    **options: Any,
) -> Recipe:
    """Conditional VAE p(x|z, c), q(z|x, c), with p(z) = N(0, I) or a learned p(z|c) (Sohn et al. 2015)."""
    model = vae(event_shape, latent_dim, context=_required("cvae", context), **options)
    if learned_prior:
        model.prior = ConditionalGaussian(networks.mlp(context, 2 * latent_dim, prior_hidden))
    return Recipe(model, ELBO())


def invariant_vae(
    event_shape: Shape, latent_dim: int = 10, *, context: int = 0, weight: Weight = 100.0, **options: Any
) -> Recipe:
    """A code without what the contexts tell, such as a batch: cvae, less ``weight`` HSIC(z, c) (Lopez et al. 2018)."""
    model = vae(event_shape, latent_dim, context=_required("invariant_vae", context), **options)
    return Recipe(model, Penalized(ELBO(), penalties.HSIC(), weight))


def _required(name: str, context: int) -> int:
    if context < 1:
        raise InputError(
            f"the recipe {name} is of data with contexts: give context, their total size, and fit(..., contexts=...); "
            "on the command line, train --context NAME"
        )
    return context
