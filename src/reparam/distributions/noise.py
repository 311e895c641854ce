"""Reparameterization with the noise as an input: z = mu + L eps, for eps that the caller has drawn."""

from __future__ import annotations

import math
import sys
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    constraints,
)

from reparam.distributions.delta import Delta


@runtime_checkable
class NoiseDriven(Protocol):
    """A distribution whose draws are a function of as many standard normal numbers as a value has elements."""

    def image(self, eps: Tensor) -> Tensor | None:
        """The draws (..., *batch, D) that the noise eps (..., *batch, D) decides; None where a part of it has none."""


def unwrap(d: Distribution) -> Distribution:
    """The distribution inside any nesting of ``Independent``."""
    while isinstance(d, Independent):
        d = d.base_dist
    return d


def element_support(d: Distribution) -> constraints.Constraint | None:
    """What holds for each element of a value of ``d``, or None where the distribution does not tell."""
    try:
        support = unwrap(d).support
    except NotImplementedError:
        return None
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def from_standard_normal(d: Distribution, eps: Tensor) -> Tensor | None:
    """The image of standard normal noise under a map that gives ``d`` its law, or None where none is known.

    The noise decides the draw: equal noise gives equal draws, whatever stands beside a datum in its batch. The map need
    not be the one of ``rsample``: that of a low-rank Gaussian spends D numbers where ``rsample`` spends D + rank.

    Shapes: eps (..., *batch, D) gives (..., *batch, D); of a simplex, the last of the D numbers is not used.
    """
    base = unwrap(d)
    if isinstance(base, NoiseDriven):
        return base.image(eps)
    if isinstance(base, Normal):
        return base.loc + base.scale * eps
    if isinstance(base, MultivariateNormal | LowRankMultivariateNormal):
        return base.loc + (base.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)
    if isinstance(base, Laplace):
        return base.loc - base.scale * eps.sign() * (math.log(2) + torch.special.log_ndtr(-eps.abs()))
    if isinstance(base, TransformedDistribution):
        return _transformed(base, eps)
    if isinstance(base, Delta):
        return base.loc.expand(eps.shape)
    return _zuko_flow(base, eps)


def _transformed(d: TransformedDistribution, eps: Tensor) -> Tensor | None:
    """The transforms of a base that noise decides; a simplex has one number more than its base."""
    size = (unwrap(d.base_dist).batch_shape + d.base_dist.event_shape)[-1:]
    x = from_standard_normal(d.base_dist, eps[..., : size[0]] if size else eps)
    for transform in d.transforms if x is not None else ():
        x = transform(x)
    return x


def _zuko_flow(d: Any, eps: Tensor) -> Tensor | None:
    """A flow that the caller has built with zuko, which maps values to noise."""
    zuko = sys.modules.get("zuko.distributions")
    if zuko is None or not isinstance(d, zuko.NormalizingFlow):
        return None
    u = from_standard_normal(d.base, eps)
    return None if u is None else d.transform.inv(u)


def centre(d: Distribution) -> Tensor:
    """One value that stands for ``d``: its mean, or a value of its own where its mean is none or has no closed form.

    That value is ``d.centre`` (the mean direction on a sphere, the means of a hierarchy layer by
    layer), else an average over 256 draws from fixed noise.

    Shapes: (*batch, *event).

    Raises:
        NotImplementedError: if ``d`` knows neither its mean nor a map from standard normal noise.
    """
    own = getattr(d, "centre", None)
    if isinstance(own, Tensor):
        return own
    try:
        return d.mean
    except NotImplementedError:
        generator = torch.Generator().manual_seed(0)
        half = torch.randn(128, *([1] * len(d.batch_shape)), *d.event_shape, generator=generator)
        like = _tensor_of(d)
        if like is None:
            raise
        eps = torch.cat([half, -half]).to(like).expand(256, *d.batch_shape, *d.event_shape)
        draws = from_standard_normal(d, eps)
        if draws is None:
            raise
        return draws.mean(0)


def _tensor_of(d: Distribution) -> Tensor | None:
    """A parameter of ``d``, for dtype and device."""
    found = [
        v if isinstance(v, Tensor) else _tensor_of(v) for v in vars(d).values() if isinstance(v, Tensor | Distribution)
    ]
    return next((t for t in found if t is not None), None)
