"""Named models, each a few lines: a choice of prior, likelihood and posterior, and the networks between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reparam import likelihoods, networks, posteriors, priors
from reparam.conditional import Conditional
from reparam.errors import InputError, nearest
from reparam.networks.perceptron import as_shape
from reparam.vae import VAE

__all__ = ["LIKELIHOODS", "LOGARITHMIC", "NETWORKS", "POSTERIORS", "STANDARDIZED", "autoencoder", "vae"]

Options = Mapping[str, Any]  # what `vae` was asked for, None where the family decides; `shape` is that of a datum


class Family(NamedTuple):
    """How a likelihood is made from a net, and the decoder's output at which its mean is a given datum, if one is."""

    make: Callable[[nn.Module, Options], likelihoods.Likelihood | likelihoods.ZeroInflated]
    start: Callable[[Tensor, Options], Tensor] | None = None


def _family(cls: Callable[..., Any], *names: str, **fixed: Any) -> Callable[[nn.Module, Options], Any]:
    """The class, with those options that were given; a kind of its second parameter comes with the shape."""

    def make(net: nn.Module, options: Options) -> Any:
        given = {n: options[n] for n in names if options[n] is not None}
        if any(isinstance(given.get(n), str) for n in ("scale", "dispersion")):
            given["event_shape"] = options["shape"]
        return cls(net, **given, **fixed)

    return make


def _inflated(inner: Callable[[nn.Module, Options], Any]) -> Callable[[nn.Module, Options], Any]:
    return lambda net, options: likelihoods.ZeroInflated(inner(net, options))


def _logit(mean: Tensor, options: Options) -> Tensor:
    return torch.logit((mean / (options["total"] or 1)).clamp(0.001, 0.999))


def _log(mean: Tensor, options: Options) -> Tensor:
    return mean.clamp_min(1e-3).log()


def _same(mean: Tensor, options: Options) -> Tensor:
    return mean


_poisson, _negative_binomial = _family(likelihoods.Poisson), _family(likelihoods.NegativeBinomial, "dispersion")
LIKELIHOODS = {
    "bernoulli": Family(_family(likelihoods.Bernoulli), _logit),
    "continuous_bernoulli": Family(_family(likelihoods.ContinuousBernoulli), _logit),
    "gaussian": Family(_family(likelihoods.Gaussian, "scale"), _same),
    "laplace": Family(_family(likelihoods.Laplace, "scale"), _same),
    "student_t": Family(_family(likelihoods.StudentT, "scale"), _same),
    "log_normal": Family(_family(likelihoods.LogNormal, "scale"), _log),
    "beta": Family(_family(likelihoods.Beta), _logit),
    "poisson": Family(_poisson, _log),
    "negative_binomial": Family(_negative_binomial, _log),
    "zero_inflated_poisson": Family(_inflated(_poisson), _log),
    "zero_inflated_negative_binomial": Family(_inflated(_negative_binomial), _log),
    "binomial": Family(_family(likelihoods.Binomial, "total"), _logit),
    "categorical": Family(_family(likelihoods.Categorical, "classes")),
    "ordinal": Family(_family(likelihoods.Ordinal, "classes")),
    "multinomial": Family(_family(likelihoods.Multinomial, "total"), _log),
    "discretized_logistic": Family(_family(likelihoods.DiscretizedLogistic, "scale", "levels"), _same),
    "discretized_logistic_mixture": Family(
        _family(likelihoods.MixtureOfDiscretizedLogistics, "components", "levels"),
    ),
}
STANDARDIZED = ("gaussian", "laplace", "student_t")  # real data, which may be standardised inside the model
LOGARITHMIC = (  # counts and positive data of many sizes: the encoder reads log(1 + x)
    "log_normal",
    "poisson",
    "negative_binomial",
    "zero_inflated_poisson",
    "zero_inflated_negative_binomial",
    "multinomial",
)
_NEEDED = {"binomial": "total", "categorical": "classes", "ordinal": "classes"}
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

    ``hidden`` are the sizes of the encoder's hidden layers, mirrored in the decoder; ``channels`` those of ``conv``.
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
    prior = priors.StandardNormal(latent_dim)
    family, needed = LIKELIHOODS[likelihood], _NEEDED.get(likelihood)
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
        encoder = networks.conv(shape, codes, channels, activation)
        decoder = networks.conv(latent_dim, shape, channels, activation, _prefix(likelihood, outputs, shape))
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
