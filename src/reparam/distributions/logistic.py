"""The logistic distribution cut into bins, with all of its mass in them, in log space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reparam.distributions.element import Element, Levels
from reparam.distributions.element_mixture import ElementMixture
from reparam.distributions.quantiles import smallest_count


def log_mass(below: Tensor, above: Tensor, width: Tensor) -> Tensor:
    """log(σ(above) - σ(below)) for above = below + width, width > 0, exact for every place and width.

    σ(b) - σ(a) = σ(b) σ(-a) (1 - exp(a - b)): three factors, none of which cancels.
    """
    return logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(-width))


class DiscretizedLogistic(Element):
    """A logistic rounded to the levels 0, s, 2s, ..., ``maximum``, s = maximum / (levels - 1) (Salimans et al. 2017).

    The first and the last bin hold the tails, so that the levels sum to one.

    Shapes: loc and scale (*batch), in the units of ``maximum``, event ().
    """

    def __init__(self, loc: Tensor, scale: Tensor, *, levels: int, maximum: float) -> None:
        self.levels, self.maximum, self.step = levels, maximum, maximum / (levels - 1)
        super().__init__(loc, scale, levels=levels, maximum=maximum)

    @property
    def support(self) -> Any:
        """The levels."""
        return Levels(self.levels, self.maximum)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of the level nearest to the value, in nats."""
        loc, scale = self.parameters
        k = (value / self.step).round()
        below, above = (((k + half) * self.step - loc) / scale for half in (-0.5, 0.5))
        first, last = k < 0.5, k > self.levels - 1.5
        middle = log_mass(below, above, self.step / scale)
        return torch.where(first, logsigmoid(above), torch.where(last, logsigmoid(-below), middle))

    def moment(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean of a function of the value, as a sum over the levels, one at a time: no tensor grows."""
        total = torch.zeros_like(self.parameters[0])
        for k in range(self.levels):
            value = torch.full_like(total, k * self.step)
            total = total + function(value) * self.log_prob(value).exp()
        return total

    @property
    def mean(self) -> Tensor:
        """The mean of the levels, which is not loc."""
        return self.moment(lambda x: x)

    @property
    def variance(self) -> Tensor:
        """The variance of the levels."""
        mean = self.mean
        return self.moment(lambda x: (x - mean).square())

    @property
    def mode(self) -> Tensor:
        """The level nearest to loc, or an end where the tail holds more."""
        ends = [torch.zeros_like(self.parameters[0]), torch.full_like(self.parameters[0], self.maximum)]
        candidates = torch.stack([self._level(self.parameters[0]), *ends])
        return candidates.gather(0, self.log_prob(candidates).argmax(0, keepdim=True)).squeeze(0)

    def _level(self, value: Tensor) -> Tensor:
        """The smallest level whose bin does not end below the value."""
        return (value / self.step - 0.5).ceil().clamp(0, self.levels - 1) * self.step

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        loc, scale = self.parameters
        k = (value / self.step + 0.01).floor()  # as near to a level as the support lets a value be
        inside = (((k + 0.5) * self.step - loc) / scale).sigmoid()
        return torch.where(k < 0, 0.0, torch.where(k >= self.levels - 1, 1.0, inside))

    def icdf(self, value: Tensor) -> Tensor:
        """The smallest level at which the distribution function reaches the value."""
        loc, scale = self.parameters
        return self._level(loc + scale * torch.logit(value))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        with torch.no_grad():
            return self.icdf(self._uniform(sample_shape))


class LogisticMixture(ElementMixture):
    """A mixture of discretised logistics: see :class:`ElementMixture`."""

    components: DiscretizedLogistic

    def icdf(self, value: Tensor) -> Tensor:
        """The smallest level at which the distribution function reaches the value."""
        step, top = self.components.step, self.components.levels - 1
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        return smallest_count(lambda k: self.cdf(k * step), value, shape, top).to(self.log_weights.dtype) * step

    @property
    def mode(self) -> Tensor:
        """The most probable level, found by looking at each."""
        best = torch.zeros_like(self.log_weights[..., 0])
        highest = self.log_prob(best)
        for k in range(1, self.components.levels):
            level = torch.full_like(best, k * self.components.step)
            log_p = self.log_prob(level)
            best, highest = torch.where(log_p > highest, level, best), torch.maximum(log_p, highest)
        return best
