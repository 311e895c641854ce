"""The variational autoencoder and the conventional one, from the shape of a datum and a few names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


class Latent(NamedTuple):
    """What stands between encoder and decoder: a prior, and a posterior of an encoder with so many outputs.

    ``reading`` gives the decoder what it reads of z: for all of it, the decoder itself.
    """

    prior: Conditional
    outputs: int
    posterior: Callable[[nn.Module], Conditional]
    reading: Callable[[nn.Module], nn.Module] = lambda decoder: decoder


def vae(
    event_shape: int | Sequence[int],
    latent_dim: int = 10,
    *,
    likelihood: str = "bernoulli",
    posterior: str | Latent = "diagonal",
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
    context: int = 0,
    mean: Tensor | None = None,
    loc: Tensor | None = None,
    spread: Tensor | None = None,
) -> VAE:
    """The variational autoencoder of Kingma & Welling (2014): encoder and decoder of one kind, prior N(0, I).

    A ``posterior`` that is no name is a :class:`Latent`, whose decoder reads ``latent_dim`` numbers.
    ``hidden`` are the sizes of the encoder's hidden layers, mirrored in the decoder; ``channels`` those of ``conv``,
    whose latent without ``dense`` is a feature map: a multiple of its positions.
    ``scale`` is that of real data and of grey levels: a number or tensor, "shared", "elementwise" or "predicted", in
    units of ``spread``; ``dispersion`` is likewise that of the negative binomial. ``classes``, ``total`` (trials or
    draws), ``levels`` and ``components`` are those of the likelihoods that have them. What is not given, the likelihood
    decides. The encoder reads log(1 + x) of counts and of positive data. ``context`` is the total size of the contexts
    that encoder and decoder read beside x and z: 0 for none.
    ``mean``, the mean datum, starts the decoder's output there, which spares the first part of training. ``loc`` and
    ``spread`` standardise real data inside the model: its scores and samples stay in the data's own units.

    Raises:
        InputError: for an unknown name, a size below 1, a likelihood whose number of classes or trials is not given, or
            one that asks for another shape than convolutions give.
    """
    shape = as_shape(event_shape, "sizes of a datum")
    latent = posterior if isinstance(posterior, Latent) else _latent(posterior, latent_dim)
    for name, known in ((likelihood, LIKELIHOODS), (network, NETWORKS)):
        if name not in known:
            raise InputError(f"unknown choice {name!r}: {nearest(name, known)}")
    hidden = as_shape(hidden, "hidden sizes") if hidden else ()
    family, needed = LIKELIHOODS[likelihood], NEEDED.get(likelihood)
    options = {
        "shape": shape, "scale": scale, "dispersion": dispersion, "classes": classes, "total": total,
        "levels": levels, "components": components,
    }  # fmt: skip
    if needed and options[needed] is None:
        raise InputError(f"the likelihood {likelihood} needs {needed}")
    outputs = family.make(nn.Identity(), options).outputs(shape)
    encoder: nn.Module
    if network == "mlp":
        encoder = networks.mlp(shape, latent.outputs, hidden, activation, context=context)
        decoder: Any = networks.mlp(latent_dim, outputs, tuple(reversed(hidden)), activation, context=context)
    else:
        encoder = networks.conv(shape, latent.outputs, channels, activation, context=context, dense=dense)
        prefix = _prefix(likelihood, outputs, shape)
        decoder = networks.conv(latent_dim, shape, channels, activation, prefix, context=context, dense=dense)
    if mean is not None and family.start is not None:
        _start_at(decoder, family.start(mean.double(), options), network, math.prod(outputs) // math.prod(shape))
    if likelihood in LOGARITHMIC:
        encoder = networks.Log1p(encoder)
    p_x: Conditional = family.make(latent.reading(decoder), options)
    if loc is not None and spread is not None:
        encoder = networks.Rescale(encoder, loc, spread)
        p_x = likelihoods.Standardized(p_x, loc, spread)
    return VAE(latent.prior, p_x, latent.posterior(encoder))


def autoencoder(event_shape: int | Sequence[int], latent_dim: int = 10, **options: Any) -> VAE:
    """The conventional autoencoder: a Point posterior, to be trained with ``objectives.Reconstruction()``."""
    return vae(event_shape, latent_dim, **{**options, "posterior": "point"})


def _latent(posterior: str, dim: int) -> Latent:
    """One layer with the prior N(0, I) and the posterior of this name."""
    if posterior not in POSTERIORS:
        raise InputError(f"unknown choice {posterior!r}: {nearest(posterior, POSTERIORS)}")
    prior = priors.StandardNormal(dim)
    if posterior == "diagonal":
        return Latent(prior, 2 * dim, posteriors.DiagonalGaussian)
    if posterior == "full":
        return Latent(prior, posteriors.FullGaussian.outputs(dim), posteriors.FullGaussian)
    return Latent(prior, dim, posteriors.Point)


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
