"""Mixtures of families of one number, along the last dimension of their batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from reparam.distributions.quantiles import between


class ElementMixture(Distribution):
    """A mixture along the last batch dimension of its components, with log-weights that need no normalisation.

    Shapes: log_weights (*batch, n); components with batch (*batch, n) and event (); event ().
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)

    def __init__(self, log_weights: Tensor, components: Distribution) -> None:
        self.log_weights, self.components = log_weights.log_softmax(-1), components
        super().__init__(log_weights.shape[:-1], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ElementMixture:
        """The same distribution with a larger batch shape."""
        shape = torch.Size((*batch_shape, self.log_weights.shape[-1]))
        return type(self)(self.log_weights.expand(shape), self.components.expand(shape))

    @property
    def support(self) -> Any:
        """That of the components."""
        return self.components.support

    @property
    def mean(self) -> Tensor:
        """The weighted mean of the means."""
        return (self.log_weights.exp() * self.components.mean).sum(-1)

    @property
    def variance(self) -> Tensor:
        """Within the components, and between them."""
        means, weights = self.components.mean, self.log_weights.exp()
        apart = (means - (weights * means).sum(-1, keepdim=True)).square()
        return (weights * (self.components.variance + apart)).sum(-1)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return (self.log_weights.exp() * self.components.cdf(value.unsqueeze(-1))).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient: of a component drawn by its weight."""
        with torch.no_grad():
            x = self.components.sample(sample_shape)
            noise = -torch.empty_like(x).exponential_().log()  # Gumbel: the largest is a draw by weight
            return x.gather(-1, (self.log_weights + noise).argmax(-1, keepdim=True)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability or density, in nats."""
        return torch.logsumexp(self.log_weights + self.components.log_prob(value.unsqueeze(-1)), -1)


class GaussianMixture(ElementMixture):
    """A mixture of Gaussians for each element: several likely values at once.

    Shapes: log_weights, loc and scale (*batch, n), event ().
    """

    components: Normal

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats.

        By (x - loc) / scale: torch's gradient divides by scale⁴, which overflows in components of no weight.
        """
        t = (value.unsqueeze(-1) - self.components.loc) / self.components.scale
        each = -t.square() / 2 - self.components.scale.log() - math.log(2 * math.pi) / 2
        return torch.logsumexp(self.log_weights + each, -1)

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the distribution function: it lies between the least and the greatest of the components' own."""
        each = self.components.icdf(value.unsqueeze(-1))
        return between(self.cdf, value.expand(each.shape[:-1]), each.amin(-1), each.amax(-1))
