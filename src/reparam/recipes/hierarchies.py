"""Models of several layers of latents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from reparam import networks, posteriors, priors
from reparam.conditional import Conditional
from reparam.errors import InputError, nearest
from reparam.networks.perceptron import as_shape
from reparam.objectives import ELBO
from reparam.recipes.base import vae
from reparam.recipes.codes import Latent, without_latents
from reparam.recipes.recipe import Recipe, Shape
from reparam.schedules import Linear
from reparam.vae import VAE

INFERENCE = ("ladder", "bottom_up")
_LOG_VARIANCE = -2.0  # of fresh messages: they outweigh the fresh prior, else layers are lost before they are learned


def hierarchy(
    event_shape: Shape,
    sizes: Sequence[int] = (32, 16, 8),
    *,
    inference: str = "ladder",
    between: Sequence[int] = (128,),
    features: int = 128,
    **options: Any,
) -> VAE:
    """p(x|z_1) p(z_1|z_2) ... p(z_L) with layers of these ``sizes``, z_1 first, each Gaussian given the one above.

    ``inference`` "ladder" goes up without noise, in ``features`` numbers for each layer, and down as the prior
    (Sønderby et al. 2016); "bottom_up" draws z_1 from the datum, z_2 from z_1 and so on (Burda et al. 2016). The
    networks between the layers have hidden layers ``between``; those between z_1 and x are as in ``vae``, which
    takes the further ``options``. The decoder reads z_1; ``encode`` gives all layers, the top one first.

    A ladder collapses without warm-up of the KL. Its messages are read from features normalised over each datum; the
    paper normalises over batches, by which a datum's posterior would depend on other data.

    Raises:
        InputError: for sizes below 1, an unknown inference, a ``posterior`` by name, and what ``vae`` refuses.
    """
    if inference not in INFERENCE:
        raise InputError(f"unknown inference {inference!r}: {nearest(inference, INFERENCE)}")
    options = without_latents("a hierarchy", options)
    sizes, activation = as_shape(sizes, "sizes of the layers"), options.get("activation", "relu")

    def net(inputs: int, outputs: int) -> nn.Module:
        return networks.mlp(inputs, outputs, between, activation)

    down = sizes[::-1]
    below = [posteriors.DiagonalGaussian(net(above, 2 * size)) for above, size in pairwise(down)]
    prior = priors.TopDown([priors.StandardNormal(down[0]), *below], down)

    def head(size: int) -> nn.Module:
        last = nn.Linear(features, 2 * size)
        nn.init.constant_(last.bias.detach()[size:], _LOG_VARIANCE)
        return nn.Sequential(nn.LayerNorm(features), networks.activation(activation), last)

    def ladder(encoder: nn.Module) -> Conditional:
        ups = [encoder, *(net(features, features) for _ in sizes[1:])]
        return posteriors.Ladder(prior, ups, [head(size) for size in sizes])

    def bottom_up(encoder: nn.Module) -> Conditional:
        above = [posteriors.DiagonalGaussian(net(size, 2 * above)) for size, above in pairwise(sizes)]
        return posteriors.BottomUp([posteriors.DiagonalGaussian(encoder), *above], sizes)

    outputs, posterior = (features, ladder) if inference == "ladder" else (2 * sizes[0], bottom_up)
    latent = Latent(
        outputs, lambda encoder: (posterior(encoder), prior), lambda decoder: networks.Lowest(decoder, sizes[0])
    )
    return vae(event_shape, sizes[0], posterior=latent, **options)


def ladder_vae(
    event_shape: Shape, latent_dim: int = 32, *, layers: int = 3, over: float = 0.2, **options: Any
) -> Recipe:
    """Ladder VAE: layers of which each is half the one below, z_1 of latent_dim, warmed up (Sønderby et al. 2016)."""
    sizes = [max(1, latent_dim // 2**i) for i in range(layers)]
    return Recipe(hierarchy(event_shape, sizes, **options), ELBO(beta=Linear(0.0, 1.0, over)))
