"""The variational autoencoder and the conventional one, from the shape of a datum and a few names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam import likelihoods, networks
from reparam.conditional import Conditional
from reparam.errors import InputError
from reparam.networks.perceptron import as_shape
from reparam.recipes.codes import Latent, known, latent_options, named
from reparam.recipes.families import EXPOSED, LIKELIHOODS, LOGARITHMIC, MIXTURES, NEEDED, REAL, UNIT, Family
from reparam.vae import VAE

_OWN = "a family of one's own"  # in place of a likelihood's name
NETWORKS = ("mlp", "conv", "resnet")


def vae(
    event_shape: int | Sequence[int],
    latent_dim: int = 10,
    *,
    likelihood: str | Family = "bernoulli",
    posterior: str | Latent = "diagonal",
    prior: str | None = None,
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
    exposure: bool = False,
    rank: int | None = None,
    transforms: int | None = None,
    flow_kind: str | None = None,
    pseudo_inputs: int | Tensor | None = None,
    pseudo_contexts: Sequence[Tensor] = (),
    concentration: float | None = None,
    latent_classes: int | None = None,
    gradient: str | None = None,
    context: int = 0,
    residual: bool = False,
    gated: bool = False,
    norm: str | None = None,
    mean: Tensor | None = None,
    loc: Tensor | None = None,
    spread: Tensor | None = None,
) -> VAE:
    """The variational autoencoder of Kingma & Welling (2014): encoder and decoder of one kind, prior N(0, I).

    A ``posterior`` that is no name is a :class:`Latent`, whose decoder reads ``latent_dim`` numbers; a ``likelihood``
    that is none is a :class:`Family`, such as ``by_column`` gives, which brings its own options and units.
    ``hidden`` are the sizes of the encoder's hidden layers, mirrored in the decoder; ``channels`` those of ``conv``,
    whose latent without ``dense`` is a feature map: a multiple of its positions.
    ``scale`` is that of real data and of grey levels: a number or tensor, "shared", "elementwise" or "predicted", in
    units of ``spread``; ``dispersion`` is likewise that of the negative binomial. ``classes``, ``total`` (trials or
    draws), ``levels`` and ``components`` are those of the likelihoods that have them. What is not given, the likelihood
    decides. The encoder reads log(1 + x) of counts and of positive data. With ``exposure`` the last context is a factor
    of the rate of counts, such as the size of a library, and enters no net; ``context`` is the total size of the other
    contexts, which encoder and decoder read beside x and z: 0 for none. ``residual``, ``gated`` and ``norm`` are those
    of ``networks.mlp`` and ``networks.conv``; the network "resnet" is conv with residual stages.

    ``posterior`` and ``prior`` are names of ``POSTERIORS`` and ``PRIORS``; the prior is that of the posterior unless
    given: N(0, I), or "sphere_uniform" for "vmf", "dirichlet" for shares; "gamma", "categorical"
    and "bernoulli" have their own. ``rank`` is that of
    "lowrank"; ``transforms`` and ``flow_kind`` ("affine" or "spline") those of flows; ``components`` also the number
    of a "mixture" prior; ``concentration`` that of "dirichlet" and "gamma". ``pseudo_inputs`` of "vamp" are rows of the
    data (see ``draw_rows``), or a number of fresh ones; of a model with contexts ``pseudo_contexts`` are theirs.
    "categorical" latents are one-hot vectors of ``latent_classes`` numbers each, all ``latent_dim`` of them unless
    given; ``gradient`` is that of discrete posteriors: "gumbel" unless given, "score" or "enumerate". Their priors are
    uniform, or "autoregressive".

    ``mean``, the mean datum, starts the decoder's output there, which spares the first part of training. ``loc`` and
    ``spread`` standardise real data inside the model: its scores and samples stay in the data's own units.

    Raises:
        InputError: for an unknown name, a size below 1, a likelihood whose number of classes or trials is not given, or
            one that asks for another shape than convolutions give; for a posterior and a prior that live in different
            places; for an option of the latents that neither of the two has.
    """
    shape = as_shape(event_shape, "sizes of a datum")
    likelihood, family = _named(likelihood)
    known(network, NETWORKS, "network")
    hidden = as_shape(hidden, "hidden sizes") if hidden else ()
    given = {
        "rank": rank, "transforms": transforms, "flow_kind": flow_kind, "components": components,
        "pseudo_inputs": pseudo_inputs, "concentration": concentration, "latent_classes": latent_classes,
        "gradient": gradient,
    }  # fmt: skip
    taken = ("components",) if likelihood in MIXTURES else ()
    if isinstance(posterior, Latent):
        unused = [n for n, v in {"prior": prior, **given}.items() if v is not None and n not in taken]
        if unused:
            raise InputError(f"these latents bring their own prior and options: leave {unused[0]} out")
        latent = posterior
    else:
        prior, latents = latent_options(posterior, prior, given, taken)
        if prior == "vamp":
            if context != sum(c[0].numel() for c in pseudo_contexts):
                raise InputError(
                    f"pseudo-inputs of a model with contexts of {context} numbers have their own: give "
                    "pseudo_contexts, those of the rows that the pseudo-inputs are"
                )
            started = _pseudo_inputs(latents["pseudo_inputs"], shape, likelihood, loc, spread)
            latents = {**latents, **started, "pseudo_contexts": pseudo_contexts}
        latent = named(posterior, prior, latent_dim, latents)
    needed = NEEDED.get(likelihood)
    options = {
        "shape": shape, "scale": scale, "dispersion": dispersion, "classes": classes, "total": total,
        "levels": levels, "components": components, "exposure": exposure or None,
    }  # fmt: skip
    if needed and options[needed] is None:
        raise InputError(f"the likelihood {likelihood} needs {needed}")
    if exposure and likelihood not in EXPOSED:
        raise InputError(f"an exposure is a factor of the rate of counts: the likelihood {likelihood} has none")
    outputs = family.make(nn.Identity(), options).outputs(shape)
    encoder: nn.Module
    layers: dict[str, Any] = {
        "context": context, "residual": residual or network == "resnet", "gated": gated, "norm": norm,
    }  # fmt: skip
    if network == "mlp":
        encoder = networks.mlp(shape, latent.outputs, hidden, activation, **layers)
        decoder: Any = networks.mlp(latent_dim, outputs, tuple(reversed(hidden)), activation, **layers)
    else:
        encoder = networks.conv(shape, latent.outputs, channels, activation, dense=dense, **layers)
        prefix = _prefix(likelihood, outputs, shape)
        decoder = networks.conv(latent_dim, shape, channels, activation, prefix, dense=dense, **layers)
    if mean is not None and family.start is not None:
        _start_at(decoder, family.start(mean.double(), options), network, math.prod(outputs) // math.prod(shape))
    if exposure:
        encoder = networks.WithoutLast(encoder)
    if likelihood in LOGARITHMIC:
        encoder = networks.Log1p(encoder)
    p_x: Conditional = family.make(latent.reading(decoder), options)
    if loc is not None and spread is not None:
        encoder = networks.Rescale(encoder, loc, spread)
        p_x = p_x if likelihood == _OWN else likelihoods.Standardized(p_x, loc, spread)
    q, p = latent.parts(encoder)
    return VAE(p, p_x, q)


def autoencoder(event_shape: int | Sequence[int], latent_dim: int = 10, **options: Any) -> VAE:
    """The conventional autoencoder: a Point posterior, to be trained with ``objectives.Reconstruction()``."""
    return vae(event_shape, latent_dim, **{**options, "posterior": "point"})


def _named(likelihood: str | Family) -> tuple[str, Family]:
    if isinstance(likelihood, Family):
        return _OWN, likelihood
    known(likelihood, LIKELIHOODS, "likelihood")
    return likelihood, LIKELIHOODS[likelihood]


def _pseudo_inputs(
    given: int | Tensor, shape: tuple[int, ...], likelihood: str, loc: Tensor | None, spread: Tensor | None
) -> dict[str, Any]:
    """Where pseudo-inputs start, (C, *shape), and the bounds within which they stay: those of what the encoder reads.

    Raises:
        InputError: for a number of them where no range is known.
    """
    bounded = likelihood not in (*REAL, _OWN)
    if isinstance(given, Tensor):
        low, high = float(given.min()), float(given.max())
        ends = (0.0, 2 * high + 1) if likelihood in LOGARITHMIC else (low, high if high > low else low + 1)
        return {"pseudo_inputs": given, "bounds": ends if bounded else None}
    count = as_shape(given, "pseudo_inputs, their number,")[0]
    if likelihood in UNIT:
        return {"pseudo_inputs": torch.rand(count, *shape), "bounds": (0.0, 1.0)}
    if bounded:
        raise InputError(f"pseudo-inputs for the likelihood {likelihood} are rows of the data: see recipes.draw_rows")
    start = torch.randn(count, *shape)
    return {"pseudo_inputs": start if spread is None or loc is None else loc + spread * start, "bounds": None}


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
    if network != "mlp":
        bias[: max(1, len(bias) // copies)] = level.mean().to(bias.dtype)
    else:
        bias[: level.numel()] = level.flatten().to(bias.dtype)
