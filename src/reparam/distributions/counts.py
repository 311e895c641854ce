"""Counts: Poisson, negative binomial, binomial, and zero inflation of any of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from reparam.distributions.element import Counts, counts
from reparam.distributions.quantiles import beta_cdf
from reparam.distributions.saddle import deviance, excess, log_binomial

_LARGEST_RATE = 1e15  # beyond it torch.poisson's own integers end


def _poisson(rate: Tensor) -> Tensor:
    return torch.poisson(rate.clamp(max=_LARGEST_RATE))


class Poisson(Counts):
    """Poisson with this log rate: accurate for counts of a million in float32 too.

    Shapes: log_rate (*batch), any shape, event ().
    """

    support = counts

    @property
    def mean(self) -> Tensor:
        """The rate."""
        return self.parameters[0].exp()

    variance = mean

    @property
    def mode(self) -> Tensor:
        """The largest whole number that is not above the rate."""
        return self.mean.floor()

    def _upto(self, k: Tensor) -> Tensor:
        rate = self.parameters[0].double().exp()
        return torch.where(k < 0, 0.0, torch.special.gammaincc(k.double().clamp_min(0) + 1, rate))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        with torch.no_grad():
            return _poisson(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        return -excess(value) - deviance(value, self.parameters[0])


class NegativeBinomial(Counts):
    """Counts of mean mu and variance mu + mu² / theta; theta is the inverse dispersion, and theta = ∞ is Poisson.

    p(x) = Γ(x + theta) / (Γ(theta) x!) (theta / (theta + mu))^theta (mu / (theta + mu))^x, a Poisson whose rate is
    Gamma with shape theta and mean mu.

    Shapes: log_mu and theta (*batch), event ().
    """

    support = counts

    @property
    def mean(self) -> Tensor:
        """mu."""
        return self.parameters[0].exp()

    @property
    def variance(self) -> Tensor:
        """mu + mu² / theta."""
        return self.mean + self.mean.square() / self.parameters[1]

    @property
    def mode(self) -> Tensor:
        """The largest whole number that is not above mu (theta - 1) / theta, or 0."""
        return (self.mean * (1 - 1 / self.parameters[1])).clamp_min(0).floor()

    def _upto(self, k: Tensor) -> Tensor:
        log_mu, theta = (p.double() for p in self.parameters)
        logit = theta.log() - log_mu
        return torch.where(k < 0, 0.0, beta_cdf(theta, k.clamp_min(0) + 1, logit.sigmoid(), (-logit).sigmoid()))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient: a Poisson of a Gamma."""
        with torch.no_grad():
            theta = self.parameters[1].expand(self._extended_shape(torch.Size(sample_shape)))
            return _poisson(self.mean * (torch._standard_gamma(theta) / theta))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        log_mu, theta = self.parameters
        log_ratio = log_mu - theta.log()
        share = theta / (theta + value)
        return log_binomial(value, theta, logsigmoid(log_ratio), logsigmoid(-log_ratio)) + share.log()


class Binomial(Counts):
    """How many of ``total`` trials succeed, each with this logit.

    Shapes: logits (*batch), event (); ``total``, a whole number, is an option.
    """

    def __init__(self, logits: Tensor, *, total: int) -> None:
        self.total = self.top = total
        super().__init__(logits, total=total)

    @property
    def support(self) -> Any:
        """0, 1, ..., total."""
        return constraints.integer_interval(0, self.total)

    @property
    def mean(self) -> Tensor:
        """Total times the probability."""
        return self.total * self.parameters[0].sigmoid()

    @property
    def variance(self) -> Tensor:
        """Total times the variance of one trial."""
        return self.mean * (-self.parameters[0]).sigmoid()

    @property
    def mode(self) -> Tensor:
        """The largest whole number that is not above (total + 1) p, and at most total."""
        return ((self.total + 1) * self.parameters[0].sigmoid()).floor().clamp_max(self.total)

    def _upto(self, k: Tensor) -> Tensor:
        logits = self.parameters[0].double()
        inside = k.double().clamp(0, self.total - 1)
        p = beta_cdf(self.total - inside, inside + 1, (-logits).sigmoid(), logits.sigmoid())
        return torch.where(k < 0, 0.0, torch.where(k >= self.total, 1.0, p))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        with torch.no_grad():
            p = self.parameters[0].sigmoid().expand(self._extended_shape(torch.Size(sample_shape)))
            return torch.binomial(torch.full_like(p, self.total), p)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        (logits,) = self.parameters
        return log_binomial(value, self.total - value, logsigmoid(logits), logsigmoid(-logits))


class ZeroInflated(Distribution):
    """Zero with the probability of this logit, else a count of ``base`` (Lambert 1992).

    Shapes: base and gate (*batch), event ().
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    support = counts

    def __init__(self, base: Distribution, gate: Tensor) -> None:
        self.base, self.gate = base, gate
        super().__init__(base.batch_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZeroInflated:
        """The same distribution with a larger batch shape."""
        return ZeroInflated(self.base.expand(batch_shape), self.gate.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        """The mean of the base times the probability of its use."""
        return (-self.gate).sigmoid() * self.base.mean

    @property
    def variance(self) -> Tensor:
        """Within the two parts, and between them."""
        used = (-self.gate).sigmoid()
        return used * (self.base.variance + self.gate.sigmoid() * self.base.mean.square())

    @property
    def mode(self) -> Tensor:
        """0, or the mode of the base where that is more probable."""
        other = self.base.mode
        return torch.where(self.log_prob(other) > self.log_prob(torch.zeros_like(other)), other, 0.0)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        zero = self.gate.sigmoid() * (value >= 0)
        return zero + (-self.gate).sigmoid() * self.base.cdf(value)

    def icdf(self, value: Tensor) -> Tensor:
        """The smallest count at which the distribution function reaches the value."""
        gate = self.gate.double()
        return self.base.icdf(((value.double() - gate.sigmoid()) / (-gate).sigmoid()).clamp(0, 1))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        with torch.no_grad():
            x = self.base.sample(sample_shape)
            return torch.where(torch.rand_like(x) < self.gate.sigmoid(), 0.0, x)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        inside = logsigmoid(-self.gate) + self.base.log_prob(value)
        return torch.where(value == 0, torch.logaddexp(logsigmoid(self.gate).expand_as(inside), inside), inside)
