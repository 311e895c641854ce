"""A distribution in other units: x = loc + scale * y, elementwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution


class Affine(Distribution):
    """The distribution of ``loc + scale * y`` for y of ``base``, with its mean and variance.

    The density accounts for the change of units: log p(x) = log p_base((x - loc) / scale) - Σ log scale, so numbers
    of models that standardised their data in different ways can be compared.

    Shapes: loc and scale broadcast to the event shape of ``base``; scale is positive.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)

    def __init__(self, base: Distribution, loc: Tensor, scale: Tensor) -> None:
        self.base, self.loc, self.scale = base, loc.expand(base.event_shape), scale.expand(base.event_shape)
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry gradients."""
        return self.base.has_rsample

    @property
    def support(self) -> Any:
        """The support of the base, which is used with real-valued families only."""
        return self.base.support

    @property
    def mean(self) -> Tensor:
        """Mean in the units of x."""
        return self.loc + self.scale * self.base.mean

    @property
    def mode(self) -> Tensor:
        """Mode in the units of x: an affine map moves no mode."""
        return self.loc + self.scale * self.base.mode

    @property
    def variance(self) -> Tensor:
        """Variance in the units of x, squared."""
        return self.scale.square() * self.base.variance

    def expand(self, batch_shape: Any, _instance: Any = None) -> Affine:
        """The same distribution with a larger batch shape."""
        return Affine(self.base.expand(batch_shape), self.loc, self.scale)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples in the units of x, without gradient."""
        return self.loc + self.scale * self.base.sample(sample_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples in the units of x, with gradient where the base has one."""
        return self.loc + self.scale * self.base.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the value, in nats, per unit of x."""
        return self.base.log_prob((value - self.loc) / self.scale) - self.scale.log().sum()
