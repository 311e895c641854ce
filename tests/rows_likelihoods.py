"""Rows of the table of laws: every public likelihood and choice of its options."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reparam import likelihoods
from rows import EVENT, Row, bits, plane, square


def gaussian(scale: Any, init_scale: float = 1.0) -> Callable[[nn.Module], nn.Module]:
    shape = EVENT if isinstance(scale, str) and scale == "elementwise" else None
    return lambda net: likelihoods.Gaussian(net, scale, event_shape=shape, init_scale=init_scale)


def standardized(net: nn.Module) -> nn.Module:
    inner = likelihoods.Gaussian(net, "predicted")
    return likelihoods.Standardized(inner, torch.tensor([100.0, -3.0]), torch.tensor([20.0, 0.01]))


def standardized_by_one_number(net: nn.Module) -> nn.Module:
    return likelihoods.Standardized(likelihoods.Gaussian(net, 0.5), torch.tensor(3.0), torch.tensor(20.0))


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
}
