"""Named models, each a few lines: a choice of prior, likelihood and posterior, and the networks between them."""

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
from reparam.vae import VAE

__all__ = ["LIKELIHOODS", "NETWORKS", "POSTERIORS", "autoencoder", "vae"]

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")
POSTERIORS = ("diagonal", "full", "point")
NETWORKS = ("mlp", "conv")


def vae(
    event_shape: int | Sequence[int],
    latent_dim: int = 10,
    *,
    likelihood: str = "bernoulli",
    posterior: str = "diagonal",
    network: str = "mlp",
    hidden: Sequence[int] = (400,),
    channels: Sequence[int] = (32, 64),
    activation: str = "relu",
    scale: float | str | Tensor = 1.0,
    mean: Tensor | None = None,
    loc: Tensor | None = None,
    spread: Tensor | None = None,
) -> VAE:
    """The variational autoencoder of Kingma & Welling (2014): encoder and decoder of one kind, prior N(0, I).

    ``hidden`` are the sizes of the encoder's hidden layers, mirrored in the decoder; ``channels`` those of ``conv``.
    ``scale`` is the Gaussian's: a number or tensor, "shared", "elementwise" or "predicted", in units of ``spread``.
    ``mean``, the mean datum, starts the decoder's output there, which spares the first part of training. ``loc`` and
    ``spread`` standardise real data inside the model: its scores and samples stay in the data's own units.

    Raises:
        InputError: for an unknown name or a size below 1.
    """
    shape = as_shape(event_shape, "sizes of a datum")
    for name, known in ((likelihood, LIKELIHOODS), (posterior, POSTERIORS), (network, NETWORKS)):
        if name not in known:
            raise InputError(f"unknown choice {name!r}: {nearest(name, known)}")
    prior = priors.StandardNormal(latent_dim)
    outputs = {
        "diagonal": 2 * latent_dim,
        "full": posteriors.FullGaussian.outputs(latent_dim),
        "point": latent_dim,
    }
    encoder: nn.Module
    if network == "mlp":
        encoder = networks.mlp(shape, outputs[posterior], hidden, activation)
        decoder: Any = networks.mlp(latent_dim, (*_copies(scale), *shape), tuple(reversed(hidden)), activation)
    else:
        encoder = networks.conv(shape, outputs[posterior], channels, activation)
        decoder = networks.conv(latent_dim, shape, channels, activation, _copies(scale))
    if mean is not None:
        _start_at(decoder, mean, likelihood, network, _copies(scale))
    p_x = _likelihood(likelihood, decoder, scale, shape)
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


def _copies(scale: float | str | Tensor) -> tuple[int, ...]:
    return (2,) if isinstance(scale, str) and scale == "predicted" else ()


def _likelihood(name: str, net: nn.Module, scale: float | str | Tensor, shape: tuple[int, ...]) -> Conditional:
    if name == "gaussian":
        return likelihoods.Gaussian(net, scale, event_shape=shape if isinstance(scale, str) else None)
    if name == "bernoulli":
        return likelihoods.Bernoulli(net)
    return likelihoods.ContinuousBernoulli(net)


@torch.no_grad()
def _start_at(decoder: Any, mean: Tensor, likelihood: str, network: str, copies: tuple[int, ...]) -> None:
    """Set the last bias so that the untrained decoder gives about the mean datum (for conv: its mean level)."""
    level = mean.double() if likelihood == "gaussian" else torch.logit(mean.double().clamp(0.001, 0.999))
    bias = decoder.last.bias
    if network == "conv":
        level = level.mean()
        bias[: max(1, len(bias) // math.prod(copies))] = level.to(bias.dtype)
    else:
        bias[: level.numel()] = level.flatten().to(bias.dtype)
