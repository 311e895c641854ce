"""Rows of the table of laws: every public posterior."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from models import Function
from reparam import posteriors, priors
from reparam.distributions import codes_of
from reparam.networks import mlp
from reparam.schedules import Linear
from rows import LATENT, NODES, WEIGHTS, Row, atom, plane

POSTERIORS = {
    "DiagonalGaussian": Row(posteriors.DiagonalGaussian, posteriors.DiagonalGaussian, 2 * LATENT, plane),
    "FullGaussian": Row(posteriors.FullGaussian, posteriors.FullGaussian, 5, plane),
    "Point": Row(posteriors.Point, posteriors.Point, LATENT, atom),
    "OfFeatures": Row(
        posteriors.OfFeatures,
        lambda net: posteriors.OfFeatures(net, posteriors.DiagonalGaussian(nn.Identity())),
        2 * LATENT,
        plane,
    ),
}


def two_sided(d: Distribution) -> tuple[Tensor, Tensor]:
    """Exponentials from a kink at the mean: 40 scales on each side, beyond which is less than 1e-17 of a Laplace."""
    scale = 40 * d.stddev / math.sqrt(2)
    axes = [torch.cat([m - s * (NODES + 1) / 2, m + s * (NODES + 1) / 2]) for m, s in zip(d.mean, scale, strict=True)]
    weights = torch.cartesian_prod(WEIGHTS.repeat(2), WEIGHTS.repeat(2)).prod(-1) * scale.prod() / 4
    return torch.cartesian_prod(*axes), weights


def low_rank(net: nn.Module) -> nn.Module:
    return posteriors.LowRankGaussian(net, 1)


POSTERIORS |= {
    "LowRankGaussian": Row(posteriors.LowRankGaussian, low_rank, 3 * LATENT, plane),
    "Laplace": Row(posteriors.Laplace, posteriors.Laplace, 2 * LATENT, two_sided),
}

# What follows has no closed-form moments, or lives on a part of the plane: its laws are in test_posteriors.py.

_PANELS = (-120.0, -40.0, -12.0, -6.0, -2.0, 0.0, 2.0, 6.0, 12.0, 40.0)


def _axis(edges: tuple[float, ...] = _PANELS, count: int = 40) -> tuple[Tensor, Tensor]:
    """The real line in panels of Gauss-Legendre points, finest around zero."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(count))
    pairs = list(pairwise(edges))
    points = torch.cat([a + (b - a) * (nodes + 1) / 2 for a, b in pairs])
    return points, torch.cat([weights * (b - a) / 2 for a, b in pairs])


def line_squared(d: Distribution) -> tuple[Tensor, Tensor]:
    points, weights = _axis((-40.0, -12.0, *range(-6, 7), 12.0, 40.0), 12)
    return torch.cartesian_prod(points, points), torch.cartesian_prod(weights, weights).prod(-1)


def quadrant(d: Distribution) -> tuple[Tensor, Tensor]:
    """Two positive numbers, in logarithms; what is below exp(-120) or above exp(6) has no mass here."""
    points, weights = _axis(_PANELS[:-2])
    z = torch.cartesian_prod(points, points).exp()
    return z, torch.cartesian_prod(weights, weights).prod(-1) * z.prod(-1)


def triangle(d: Distribution) -> tuple[Tensor, Tensor]:
    """Three shares, softmax(a, b, 0): the Jacobian to the first two is their product."""
    points, weights = _axis((-50.0, *_PANELS[1:-1], 30.0, 50.0))
    log_z = torch.nn.functional.pad(torch.cartesian_prod(points, points), (0, 1)).log_softmax(-1)
    return log_z.exp(), torch.cartesian_prod(weights, weights).prod(-1) * log_z.sum(-1).exp()


def circle(d: Distribution) -> tuple[Tensor, Tensor]:
    angle = 2 * math.pi * torch.arange(2000) / 2000
    return torch.stack([angle.cos(), angle.sin()], -1), torch.full((2000,), 2 * math.pi / 2000)


def ball(d: Distribution) -> tuple[Tensor, Tensor]:
    """The sphere in three dimensions: the area of a ring is 2π times its height."""
    angle = 2 * math.pi * torch.arange(200) / 200
    height, angle = torch.cartesian_prod(NODES, angle).T
    across = (1 - height**2).sqrt()
    return (
        torch.stack([across * angle.cos(), across * angle.sin(), height], -1),
        WEIGHTS.repeat_interleave(200) * 2 * math.pi / 200,
    )


def flow(kind: str, context: int = 2):
    return lambda net: posteriors.Flow(net, LATENT, context=context, transforms=2, hidden=(4,), kind=kind)


def normal(inputs: int, context: int = 0) -> posteriors.DiagonalGaussian:
    return posteriors.DiagonalGaussian(mlp(inputs, 2, (3,), "tanh", context))


def bottom_up(net: nn.Module) -> nn.Module:
    return posteriors.BottomUp([posteriors.DiagonalGaussian(net), normal(1)], (1, 1))


def top_down(net: nn.Module) -> nn.Module:
    return posteriors.TopDown([posteriors.DiagonalGaussian(net), normal(1, 2)], (1, 1))


def ladder(net: nn.Module) -> nn.Module:
    """Messages of both layers are the halves of the net's output."""
    prior = priors.TopDown([priors.StandardNormal(1), normal(1)], (1, 1))
    heads = [Function(lambda d: d[..., :2]), Function(lambda d: d[..., 2:])]
    return posteriors.Ladder(prior, [net, nn.Identity()], heads)


OTHERS = {
    "BottomUp": Row(posteriors.BottomUp, bottom_up, LATENT, line_squared),
    "TopDown": Row(posteriors.TopDown, top_down, LATENT, line_squared),
    "Ladder": Row(posteriors.Ladder, ladder, 2 * LATENT, line_squared),
    "Gamma": Row(posteriors.Gamma, posteriors.Gamma, 2 * LATENT, quadrant),
    "Dirichlet": Row(posteriors.Dirichlet, posteriors.Dirichlet, 3, triangle),
    "LogisticNormal": Row(posteriors.LogisticNormal, posteriors.LogisticNormal, 4, triangle),
    "VonMisesFisher circle": Row(posteriors.VonMisesFisher, posteriors.VonMisesFisher, 3, circle),
    "VonMisesFisher ball": Row(posteriors.VonMisesFisher, posteriors.VonMisesFisher, 4, ball),
    "Flow affine": Row(posteriors.Flow, flow("affine"), 2 * LATENT + 2, line_squared),
    "Flow spline": Row(posteriors.Flow, flow("spline"), 2 * LATENT + 2, line_squared),
}

# Discrete: their laws are in test_discrete.py, and those of their gradients in test_discrete_gradients.py.


def every_code(d: Distribution) -> tuple[Tensor, Tensor]:
    codes = codes_of(d)
    return codes.values(0, codes.count, torch.empty(0)), torch.ones(codes.count)


def categorical(gradient: str, **options):
    return lambda net: posteriors.Categorical(net, 2, 3, gradient, **options)


def bernoulli(gradient: str, **options):
    return lambda net: posteriors.Bernoulli(net, gradient, **options)


DISCRETE = {
    "Categorical enumerate": Row(posteriors.Categorical, categorical("enumerate"), 6, every_code),
    "Categorical score": Row(posteriors.Categorical, categorical("score"), 6, every_code),
    "Categorical gumbel": Row(posteriors.Categorical, categorical("gumbel"), 6, every_code),
    "Categorical straight-through": Row(
        posteriors.Categorical,
        categorical("gumbel", temperature=Linear(1.0, 0.3), straight_through=True),
        6,
        every_code,
    ),
    "Label": Row(posteriors.Label, lambda net: posteriors.Label(net, 5), 5, every_code),
    "Bernoulli enumerate": Row(posteriors.Bernoulli, bernoulli("enumerate"), 3, every_code),
    "Bernoulli score": Row(posteriors.Bernoulli, bernoulli("score"), 3, every_code),
    "Bernoulli gumbel": Row(posteriors.Bernoulli, bernoulli("gumbel", temperature=0.5), 3, every_code),
    "Bernoulli straight-through": Row(posteriors.Bernoulli, bernoulli("gumbel", straight_through=True), 3, every_code),
}
