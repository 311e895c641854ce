"""Rows of the table of laws: every public likelihood and choice of its options."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reparam import likelihoods
from rows import (
    EVENT,
    Row,
    bits,
    cells,
    counted,
    heavy,
    kinked,
    open_square,
    plane,
    quadrant,
    real_and,
    square,
)


def gaussian(scale: Any, init_scale: float = 1.0) -> Callable[[nn.Module], nn.Module]:
    shape = EVENT if isinstance(scale, str) and scale == "elementwise" else None
    return lambda net: likelihoods.Gaussian(net, scale, event_shape=shape, init_scale=init_scale)


def standardized(net: nn.Module) -> nn.Module:
    inner = likelihoods.Gaussian(net, "predicted")
    return likelihoods.Standardized(inner, torch.tensor([100.0, -3.0]), torch.tensor([20.0, 0.01]))


def standardized_by_one_number(net: nn.Module) -> nn.Module:
    return likelihoods.Standardized(likelihoods.Gaussian(net, 0.5), torch.tensor(3.0), torch.tensor(20.0))


def made(cls: type, *arguments: Any, **options: Any) -> Callable[[nn.Module], nn.Module]:
    """The class with these options; "elementwise" gets the shape of a datum."""
    if "elementwise" in (*arguments, *options.values()):
        options["event_shape"] = EVENT
    return lambda net: cls(net, *arguments, **options)


def student(df: float | str, scale: Any = 0.5) -> Row:
    outputs = (2, *EVENT) if scale == "predicted" else EVENT
    return Row(likelihoods.StudentT, made(likelihoods.StudentT, scale, df), outputs, heavy, REAL)


def logistic(scale: Any, levels: int = 5, maximum: float = 1.0) -> Row:
    values = [maximum * k / (levels - 1) for k in range(levels)]
    return Row(
        likelihoods.DiscretizedLogistic,
        made(likelihoods.DiscretizedLogistic, scale, levels, maximum),
        (2, *EVENT) if scale == "predicted" else EVENT,
        cells(values, values),
        (-maximum / (levels - 1), 0.1 * maximum, 1.5 * maximum, math.nan, math.inf),
        ((0.0, maximum), (maximum, 0.0)),
    )


def counts(kind: str, wrap: Callable[[nn.Module], nn.Module], channels: int = 1, n: int = 250) -> Row:
    outputs = EVENT if channels == 1 else (channels, *EVENT)
    return Row(getattr(likelihoods, kind), wrap, outputs, counted(n), (0.5, -1.0, math.nan, math.inf))


def inflated(inner: type, *arguments: Any) -> Callable[[nn.Module], nn.Module]:
    return lambda net: likelihoods.ZeroInflated(made(inner, *arguments)(net))


def several(net: nn.Module) -> nn.Module:
    inside = lambda n: likelihoods.Standardized(  # noqa: E731
        likelihoods.Gaussian(n, "predicted"), torch.tensor([4.0]), torch.tensor([3.0])
    )
    return likelihoods.Mixed(net, [(made(likelihoods.Categorical, 3), [1]), (inside, [0])])


def mixed(net: nn.Module) -> nn.Module:
    return likelihoods.Mixed(net, [(likelihoods.Bernoulli, [1]), (made(likelihoods.Gaussian, "shared"), [0])])


def observed(net: nn.Module) -> nn.Module:
    return likelihoods.Observed(several(net))


REAL = (math.nan, math.inf, -math.inf)
LIKELIHOODS = {
    "Bernoulli": Row(likelihoods.Bernoulli, likelihoods.Bernoulli, EVENT, bits, (0.5, -1.0, 2.0, math.nan)),
    "ContinuousBernoulli": Row(
        likelihoods.ContinuousBernoulli,
        likelihoods.ContinuousBernoulli,
        EVENT,
        square,
        (-1e-6, 1.0001, 255.0, math.nan),
    ),
    "Gaussian number": Row(likelihoods.Gaussian, gaussian(0.3), EVENT, plane, REAL),
    "Gaussian tensor": Row(likelihoods.Gaussian, gaussian(torch.tensor([0.3, 40.0])), EVENT, plane, REAL),
    "Gaussian shared": Row(likelihoods.Gaussian, gaussian("shared", 0.3), EVENT, plane, REAL),
    "Gaussian elementwise": Row(likelihoods.Gaussian, gaussian("elementwise", 0.3), EVENT, plane, REAL),
    "Gaussian predicted": Row(likelihoods.Gaussian, gaussian("predicted"), (2, *EVENT), plane, REAL),
    "Gaussian small": Row(likelihoods.Gaussian, gaussian(1e-6), EVENT, plane, REAL),
    "Gaussian large": Row(likelihoods.Gaussian, gaussian(1e6), EVENT, plane, REAL),
    "Gaussian shared small": Row(likelihoods.Gaussian, gaussian("shared", 1e-6), EVENT, plane, REAL),
    "Gaussian shared large": Row(likelihoods.Gaussian, gaussian("shared", 1e6), EVENT, plane, REAL),
    "Standardized": Row(likelihoods.Standardized, standardized, (2, *EVENT), plane, REAL),
    "Standardized by a number": Row(likelihoods.Standardized, standardized_by_one_number, EVENT, plane, REAL),
    "Laplace": Row(likelihoods.Laplace, made(likelihoods.Laplace, 0.3), EVENT, kinked, REAL),
    "Laplace predicted": Row(likelihoods.Laplace, made(likelihoods.Laplace, "predicted"), (2, *EVENT), kinked, REAL),
    "StudentT": student(5.0),
    "StudentT without variance": student(1.5),
    "StudentT learned": student("shared", "predicted"),
    "StudentT elementwise": student("elementwise", "elementwise"),
    "StudentT nearly Gaussian": student(1e6),
    "LogNormal": Row(
        likelihoods.LogNormal,
        made(likelihoods.LogNormal, 0.4),
        EVENT,
        quadrant,
        (0.0, -1.0, math.inf, math.nan),
        ((1e-9, 1.0), (1e9, 2.0)),
    ),
    "Beta": Row(
        likelihoods.Beta,
        made(likelihoods.Beta, 12.0),
        EVENT,
        open_square,
        (0.0, 1.0, -0.5, 2.0, math.nan),
        ((0.1, 1e-6), (0.999, 0.5)),
    ),
    "Poisson": counts("Poisson", likelihoods.Poisson, n=60),
    "NegativeBinomial": counts("NegativeBinomial", made(likelihoods.NegativeBinomial)),
    "NegativeBinomial number": counts("NegativeBinomial", made(likelihoods.NegativeBinomial, 1e6), n=60),
    "NegativeBinomial elementwise": counts("NegativeBinomial", made(likelihoods.NegativeBinomial, "elementwise")),
    "NegativeBinomial predicted": counts("NegativeBinomial", made(likelihoods.NegativeBinomial, "predicted"), 2, 400),
    "ZeroInflated Poisson": counts("ZeroInflated", inflated(likelihoods.Poisson), 2, 60),
    "ZeroInflated NegativeBinomial": counts("ZeroInflated", inflated(likelihoods.NegativeBinomial, 2.0), 2),
    "ZeroInflated predicted": counts("ZeroInflated", inflated(likelihoods.NegativeBinomial, "predicted"), 3, 400),
    "Binomial": Row(
        likelihoods.Binomial, made(likelihoods.Binomial, 7), EVENT, counted(8), (0.5, -1.0, 8.0, math.nan, math.inf)
    ),
    "Categorical": Row(
        likelihoods.Categorical, made(likelihoods.Categorical, 3), (*EVENT, 3), counted(3), (0.5, -1.0, 3.0, math.nan)
    ),
    "Ordinal": Row(likelihoods.Ordinal, made(likelihoods.Ordinal, 4), EVENT, counted(4), (0.5, -1.0, 4.0, math.nan)),
    "Ordinal of two": Row(likelihoods.Ordinal, made(likelihoods.Ordinal, 2), EVENT, bits, (0.5, -1.0, 2.0, math.nan)),
    "Ordinal elementwise": Row(
        likelihoods.Ordinal,
        made(likelihoods.Ordinal, 4, event_shape=EVENT),
        EVENT,
        counted(4),
        (0.5, -1.0, 4.0, math.nan),
    ),
    "Multinomial": Row(
        likelihoods.Multinomial,
        made(likelihoods.Multinomial, 3),
        EVENT,
        counted(4, 3),
        (0.5, -1.0, math.nan),
        ((0.0, 3.0), (3.0, 0.0)),
    ),
    "Multinomial of any sum": Row(
        likelihoods.Multinomial, likelihoods.Multinomial, EVENT, counted(2, 1), (0.5, -1.0, math.nan)
    ),
    "DiscretizedLogistic": logistic("shared"),
    "DiscretizedLogistic predicted": logistic("predicted", 6, 255.0),
    "DiscretizedLogistic elementwise": logistic("elementwise", 2),
    "DiscretizedLogistic narrow": logistic(1e-6),
    "DiscretizedLogistic wide": logistic(100.0),
    "MixtureOfDiscretizedLogistics": Row(
        likelihoods.MixtureOfDiscretizedLogistics,
        made(likelihoods.MixtureOfDiscretizedLogistics, 2, 4, 3.0),
        (6, *EVENT),
        counted(4),
        (-1.0, 0.5, 4.0, math.nan),
        ((0.0, 3.0), (3.0, 0.0)),
    ),
    "Mixed": Row(likelihoods.Mixed, mixed, (2,), real_and([0.0, 1.0]), (0.5, -1.0, 2.0, math.nan)),
    "Mixed of three kinds": Row(
        likelihoods.Mixed, several, (5,), real_and([0.0, 1.0, 2.0]), (0.5, -1.0, 3.0, math.nan)
    ),
    "MixtureOfGaussians": Row(
        likelihoods.MixtureOfGaussians, made(likelihoods.MixtureOfGaussians, 3), (9, *EVENT), plane, REAL
    ),
    "Observed": Row(likelihoods.Observed, observed, (5,), real_and([0.0, 1.0, 2.0]), (0.5, -1.0, 3.0)),
}
