"""The continuous Bernoulli on [0, 1], exact for every logit and smooth through zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

# Below this |logit| the closed forms cancel, and their power series (error under 1e-15 here) take over.
_SERIES = 0.5
# log(sinh u / u) in powers of u², from u²; its first and second derivative follow from the same row.
_COEFFICIENTS = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250, 2 / 127702575)


def _split(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(is small, logits where small, logits where large): harmless values elsewhere keep both gradients finite."""
    small = logits.abs() < _SERIES
    return small, torch.where(small, logits, 0.0), torch.where(small, 1.0, logits)


def _polynomial(coefficients: list[float], v: Tensor) -> Tensor:
    total = torch.zeros_like(v)
    for c in reversed(coefficients):
        total = total * v + c
    return total


def log_sinhc(logits: Tensor) -> Tensor:
    """log(sinh(l/2) / (l/2)), which is even in l: the log of the integral of exp(l (t - 1/2)) over [0, 1]."""
    small, near, far = _split(logits)
    v = (near / 2).square()
    series = v * _polynomial(list(_COEFFICIENTS), v)
    a = far.abs()
    closed = a / 2 + torch.log(-torch.expm1(-a) / a)
    return torch.where(small, series, closed)


class ContinuousBernoulli(Distribution):
    """Density on [0, 1] proportional to λ^x (1 - λ)^(1-x), with its normaliser (Loaiza-Ganem & Cunningham 2019).

    In logits l = log λ/(1-λ) the density is exp(l (x - 1/2)) / (sinh(l/2) / (l/2)), which has no exceptional
    point: it is evaluated by this form far from l = 0 and by its power series near it, to rounding in both. The mean
    is not λ; it is the derivative of the log normaliser.

    Shapes: logits (*batch), any shape, event ().
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 (torch's own convention)
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:
        """The same distribution with a larger batch shape."""
        return ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * (value - 0.5) - log_sinhc(self.logits)

    @property
    def mean(self) -> Tensor:
        """1 / (1 - exp(-l)) - 1 / l, the first derivative of the log normaliser."""
        small, near, far = _split(self.logits)
        u = near / 2
        first = [2 * (i + 1) * c for i, c in enumerate(_COEFFICIENTS)]
        series = 0.5 + u * _polynomial(first, u.square()) / 2
        a = far.abs()
        upper = -1 / torch.expm1(-a) - 1 / a
        return torch.where(small, series, torch.where(far > 0, upper, 1 - upper))

    @property
    def variance(self) -> Tensor:
        """1/l² - 1/(4 sinh²(l/2)), the second derivative of the log normaliser."""
        small, near, far = _split(self.logits)
        second = [(2 * i + 2) * (2 * i + 1) * c for i, c in enumerate(_COEFFICIENTS)]
        series = _polynomial(second, (near / 2).square()) / 4
        a = far.abs()
        closed = 1 / a.square() - torch.exp(-a) / torch.expm1(-a).square()
        return torch.where(small, series, closed)

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the distribution function: log(1 + u (exp(l) - 1)) / l."""
        flip = self.logits > 0  # with l < 0 nothing overflows; x(l, u) = 1 - x(-l, 1 - u)
        u = torch.where(flip, 1 - value, value)
        a = torch.where(flip, self.logits, -self.logits)  # |l|, with a slope at l = 0 too
        tiny, large = a < 1e-6, a > 1
        middle, far = torch.where(tiny | large, 1.0, a), torch.where(large, a, 1.0)
        x = torch.where(tiny, u * (1 - a * (1 - u) / 2), -torch.log1p(u * torch.expm1(-middle)) / middle)
        # 1 - u and u exp(-a) are added in log space: no cancellation near u = 1, and no infinity at it
        x = torch.where(large, -torch.logaddexp(torch.log1p(-u), u.log() - far) / far, x)
        return torch.where(flip, 1 - x, x).clamp(0, 1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples through the inverse distribution function, with gradient to the logits."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.icdf(torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device))
