"""The variational autoencoder and the conventional one, from the shape of a datum and a few names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam import likelihoods, networks, posteriors, priors
from reparam.conditional import Conditional
from reparam.errors import InputError, nearest
from reparam.networks.perceptron import as_shape
from reparam.recipes.families import LIKELIHOODS, LOGARITHMIC, NEEDED
from reparam.vae import VAE

POSTERIORS = ("diagonal", "full", "point")
NETWORKS = ("mlp", "conv")


def vae(
    event_shape: int | Sequence[int],
    latent_dim: int = 10,
    *,
    likelihood: str = "bernoulli",
    posterior: str = "diagonal",
    network: str = "mlp",
    hidden: int | Sequence[int] = (400,),
    channels: Sequence[int] = (32, 64),
    dense: bool = True,
    activation: str = "relu",
    scale: float | str | Tensor | None = None,
    dispersion: float | str | Tensor | None = None,
    classes: int | None = None,
    total: int | None = None,
    levels: int | None = None,
    components: int | None = None,
    mean: Tensor | None = None,
    loc: Tensor | None = None,
    spread: Tensor | None = None,
) -> VAE:
    """The variational autoencoder of Kingma & Welling (2014): encoder and decoder of one kind, prior N(0, I).

    ``hidden`` are the sizes of the encoder's hidden layers, mirrored in the decoder; ``channels`` those of ``conv``,
    whose latent without ``dense`` is a feature map: a multiple of its positions.
    ``scale`` is that of real data and of grey levels: a number or tensor, "shared", "elementwise" or "predicted", in
    units of ``spread``; ``dispersion`` is likewise that of the negative binomial. ``classes``, ``total`` (trials or
    draws), ``levels`` and ``components`` are those of the likelihoods that have them. What is not given, the likelihood
    decides. The encoder reads log(1 + x) of counts and of positive data.
    ``mean``, the mean datum, starts the decoder's output there, which spares the first part of training. ``loc`` and
    ``spread`` standardise real data inside the model: its scores and samples stay in the data's own units.

    Raises:
        InputError: for an unknown name, a size below 1, a likelihood whose number of classes or trials is not given, or
            one that asks for another shape than convolutions give.
    """
    shape = as_shape(event_shape, "sizes of a datum")
    for name, known in ((likelihood, LIKELIHOODS), (posterior, POSTERIORS), (network, NETWORKS)):
        if name not in known:
            raise InputError(f"unknown choice {name!r}: {nearest(name, known)}")
    hidden = as_shape(hidden, "hidden sizes") if hidden else ()
    prior = priors.StandardNormal(latent_dim)
    family, needed = LIKELIHOODS[likelihood], NEEDED.get(likelihood)
    options = {
        "shape": shape, "scale": scale, "dispersion": dispersion, "classes": classes, "total": total,
        "levels": levels, "components": components,
    }  # fmt: skip
    if needed and options[needed] is None:
        raise InputError(f"the likelihood {likelihood} needs {needed}")
    outputs = family.make(nn.Identity(), options).outputs(shape)
    codes = {
        "diagonal": 2 * latent_dim,
        "full": posteriors.FullGaussian.outputs(latent_dim),
        "point": latent_dim,
    }[posterior]
    encoder: nn.Module
    if network == "mlp":
        encoder = networks.mlp(shape, codes, hidden, activation)
        decoder: Any = networks.mlp(latent_dim, outputs, tuple(reversed(hidden)), activation)
    else:
        encoder = networks.conv(shape, codes, channels, activation, dense=dense)
        decoder = networks.conv(latent_dim, shape, channels, activation, _prefix(likelihood, outputs, shape), dense)
    if mean is not None and family.start is not None:
        _start_at(decoder, family.start(mean.double(), options), network, math.prod(outputs) // math.prod(shape))
    if likelihood in LOGARITHMIC:
        encoder = networks.Log1p(encoder)
    p_x: Conditional = family.make(decoder, options)
    if loc is not None and spread is not None:
        encoder = networks.Rescale(encoder, loc, spread)
        p_x = likelihoods.Standardized(p_x, loc, spread)
    return VAE(prior, p_x, _posterior(posterior, encoder))


def autoencoder(event_shape: int | Sequence[int], latent_dim: int = 10, **options: Any) -> VAE:
    """The conventional autoencoder: a Point posterior, to be trained with ``objectives.Reconstruction()``."""
    return vae(event_shape, latent_dim, **{**options, "posterior": "point"})


def _posterior(name: str, net: nn.Module) -> Conditional:
    if name == "diagonal":
        return posteriors.DiagonalGaussian(net)
    return posteriors.FullGaussian(net) if name == "full" else posteriors.Point(net)


def _prefix(likelihood: str, outputs: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many images the decoder gives: the channels in front of the shape of a datum."""
    before = outputs[: len(outputs) - len(shape)]
    if (*before, *shape) != outputs:
        raise InputError(f"the likelihood {likelihood} needs outputs {outputs}: choose the network mlp")
    return before


@torch.no_grad()
def _start_at(decoder: Any, level: Tensor, network: str, copies: int) -> None:
    """Set the last bias so that the untrained decoder gives about the mean datum (for conv: its mean level)."""
    bias = decoder.last.bias
    if network == "conv":
        bias[: max(1, len(bias) // copies)] = level.mean().to(bias.dtype)
    else:
        bias[: level.numel()] = level.flatten().to(bias.dtype)
