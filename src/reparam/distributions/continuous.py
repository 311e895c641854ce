"""Real, positive and unit-interval families where torch's lose digits or overflow: Student's t, log-normal, beta."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta as TorchBeta
from torch.distributions import constraints

from reparam.distributions.element import Element, inside_unit, positive
from reparam.distributions.quantiles import beta_cdf, root
from reparam.distributions.saddle import log_binomial, log_gamma_half_step


def _student(df: Tensor, t: Tensor) -> Tensor:
    """The distribution function of Student's t at t, in float64: small tails keep their digits."""
    square = t.square()
    tail = beta_cdf(df / 2, torch.full_like(df, 0.5), df / (df + square), square / (df + square)) / 2
    return torch.where(t < 0, tail, 1 - tail)


class StudentT(Element):
    """Student's t: its density is accurate for every number of degrees of freedom, to the Gaussian limit.

    The mean exists for df > 1, the variance is finite for df > 2.

    Shapes: df, loc and scale (*batch), event ().
    """

    support = constraints.real
    has_rsample = True

    @property
    def mean(self) -> Tensor:
        """The location, or NaN where df <= 1."""
        df, loc, _ = self.parameters
        return torch.where(df > 1, loc, torch.nan)

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.parameters[1]

    @property
    def variance(self) -> Tensor:
        """scale² df / (df - 2), infinite for 1 < df <= 2 and NaN for df <= 1."""
        df, _, scale = self.parameters
        finite = scale.square() * df / torch.where(df > 2, df - 2, 1.0)
        return torch.where(df > 2, finite, torch.where(df > 1, torch.inf, torch.nan))

    def cdf(self, value: Tensor) -> Tensor:
        """The distribution function."""
        df, loc, scale = (p.double() for p in self.parameters)
        return _student(df, (value.double() - loc) / scale).to(self.parameters[1].dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the distribution function, by bisection in asinh t."""
        df, loc, scale = (p.double() for p in self.parameters)
        u, df = torch.broadcast_tensors(value.double(), df)
        tail = torch.minimum(u, 1 - u)  # the lower half, where no digits are lost; the upper is its mirror
        t = root(lambda s: _student(df, s.sinh()), tail, reach=700.0).sinh()
        t = torch.where(tail > 0, torch.where(u < 0.5, t, -t), torch.where(u < 0.5, -torch.inf, torch.inf))
        return (loc + scale * torch.where(u == 0.5, 0.0, t)).to(self.parameters[1].dtype)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples with gradient: a Gaussian whose precision is Gamma."""
        df, loc, scale = (p.expand(self._extended_shape(torch.Size(sample_shape))) for p in self.parameters)
        precision = torch._standard_gamma(df / 2) / (df / 2)
        return loc + scale * torch.randn_like(loc) * precision.clamp_min(torch.finfo(loc.dtype).tiny).rsqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        df, loc, scale = self.parameters
        norm = log_gamma_half_step(df / 2) - (math.pi * df).log() / 2 - scale.log()
        return norm - (df + 1) / 2 * torch.log1p(((value - loc) / scale).square() / df)


class LogNormal(Element):
    """Positive numbers whose logarithm is Gaussian; samples stay within nine tenths of the dtype's exponents.

    Shapes: loc and scale of the logarithm (*batch), event ().
    """

    support = positive
    has_rsample = True

    @property
    def mean(self) -> Tensor:
        """exp(loc + scale² / 2)."""
        loc, scale = self.parameters
        return (loc + scale.square() / 2).exp()

    @property
    def mode(self) -> Tensor:
        """exp(loc - scale²)."""
        loc, scale = self.parameters
        return (loc - scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """The mean squared, times exp(scale²) - 1."""
        return self.mean.square() * torch.expm1(self.parameters[1].square())

    def _exp(self, logarithm: Tensor) -> Tensor:
        limit = 0.9 * math.log(torch.finfo(logarithm.dtype).max)
        return logarithm.clamp(-limit, limit).exp()

    def cdf(self, value: Tensor) -> Tensor:
        """The distribution function."""
        loc, scale = self.parameters
        return torch.special.ndtr((value.log() - loc) / scale)

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the distribution function."""
        loc, scale = self.parameters
        return self._exp(loc + scale * torch.special.ndtri(value))

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples with gradient."""
        loc, scale = (p.expand(self._extended_shape(torch.Size(sample_shape))) for p in self.parameters)
        return self._exp(loc + scale * torch.randn_like(loc))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        loc, scale = self.parameters
        log_value = value.log()
        z = (log_value - loc) / scale
        return -z.square() / 2 - scale.log() - math.log(2 * math.pi) / 2 - log_value


class Beta(Element):
    """Beta with the concentrations a and b: mean a / (a + b), and the larger a + b, the narrower.

    Shapes: a and b (*batch), event (). Samples stay strictly between 0 and 1.
    """

    support = inside_unit
    has_rsample = True

    @property
    def mean(self) -> Tensor:
        """a / (a + b)."""
        a, b = self.parameters
        return a / (a + b)

    @property
    def mode(self) -> Tensor:
        """(a - 1) / (a + b - 2) where a, b > 1; else the end of larger density."""
        a, b = self.parameters
        inside = (a > 1) & (b > 1)
        between = torch.where(inside, (a - 1) / torch.where(inside, a + b - 2, 1.0), 0.0)
        return torch.where(inside, between, (a > b).to(a.dtype))

    @property
    def variance(self) -> Tensor:
        """ab / ((a + b)² (a + b + 1))."""
        a, b = self.parameters
        return a / (a + b) * (b / (a + b)) / (a + b + 1)

    def cdf(self, value: Tensor) -> Tensor:
        """The distribution function."""
        a, b = self.parameters
        x = value.double().clamp(0, 1)
        return beta_cdf(a, b, x, 1 - x).to(a.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the distribution function, by bisection in logit x."""
        a, b = self.parameters
        u = value.double().expand(torch.broadcast_shapes(value.shape, a.shape))
        x = root(lambda s: beta_cdf(a, b, s.sigmoid(), (-s).sigmoid()), u, reach=740.0).sigmoid()
        return torch.where(u > 0, torch.where(u < 1, x, 1.0), 0.0).to(a.dtype)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples with gradient."""
        a, b = self.parameters
        x = TorchBeta(a, b, validate_args=False).rsample(sample_shape)
        return x.clamp(torch.finfo(x.dtype).tiny, 1 - torch.finfo(x.dtype).eps / 2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        a, b = self.parameters
        log_x, log_y = value.log(), torch.log1p(-value)
        return log_binomial(a, b, log_x, log_y) + (a.log() + b.log() - (a + b).log()) - log_x - log_y
