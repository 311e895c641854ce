"""Models of data given contexts: p(x|c), and codes that are free of what the contexts tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from reparam import networks, posteriors, priors
from reparam.errors import InputError
from reparam.objectives import ELBO, Penalized, penalties
from reparam.recipes.base import vae
from reparam.recipes.codes import Latent, without_latents
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
        model.prior = priors.ConditionalGaussian(networks.mlp(context, 2 * latent_dim, prior_hidden))
    return Recipe(model, ELBO())


def invariant_vae(
    event_shape: Shape, latent_dim: int = 10, *, context: int = 0, weight: Weight = 100.0, **options: Any
) -> Recipe:
    """A code without what the contexts tell, such as a batch: cvae, less ``weight`` HSIC(z, c) (Lopez et al. 2018)."""
    model = vae(event_shape, latent_dim, context=_required("invariant_vae", context), **options)
    return Recipe(model, Penalized(ELBO(), penalties.HSIC(), weight))


def m2(
    event_shape: Shape,
    latent_dim: int = 10,
    *,
    context: int = 0,
    weight: Weight = 10.0,
    features: int = 128,
    **options: Any,
) -> Recipe:
    """Semi-supervised: a code beside a class that is known for some rows, the model M2 (Kingma et al. 2014).

    The context is the class, of ``context`` classes: one-hot, or zeros for a row of which it is not known. The first
    ``context`` numbers of ``encode`` are the probabilities of the classes. ``weight`` is that of the classification.
    """
    sizes = (_required("m2", context), latent_dim)
    head = nn.Sequential(
        networks.activation(activation := options.get("activation", "relu")), nn.Linear(features, context)
    )
    code = networks.mlp(context, 2 * latent_dim, (features,), activation, context=features)
    layers = [posteriors.Label(head, context), posteriors.DiagonalGaussian(networks.WithoutLast(code))]
    p = priors.TopDown([priors.Label(context), priors.StandardNormal(latent_dim)], sizes)
    latent = Latent(
        features, lambda net: (posteriors.OfFeatures(net, posteriors.TopDown(layers, sizes)), p), networks.WithoutLast
    )
    model = vae(event_shape, sum(sizes), posterior=latent, **without_latents("the model M2", options))
    return Recipe(model, Penalized(ELBO(), penalties.Classification(), weight))


def _required(name: str, context: int) -> int:
    if context < 1:
        raise InputError(
            f"the recipe {name} is of data with contexts: give context, their total size, and fit(..., contexts=...); "
            "on the command line, train --context NAME"
        )
    return context
