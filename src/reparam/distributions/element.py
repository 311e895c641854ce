"""What families of one number have in common: their parameters in order, and supports that exclude infinities."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam.distributions.quantiles import smallest_count


class Element(Distribution):
    """A distribution of one number, event (), whose parameters are tensors in the order of the constructor.

    ``trailing`` is how many dimensions a parameter has behind the batch shape, such as the axis of classes.
    What is no tensor is given by keyword and kept in ``options``.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    trailing: ClassVar[int] = 0

    def __init__(self, *parameters: Tensor, **options: Any) -> None:
        self.parameters = tuple(torch.broadcast_tensors(*parameters))
        self.options = options
        shape = self.parameters[0].shape
        super().__init__(shape[: len(shape) - self.trailing], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Element:
        """The same distribution with a larger batch shape."""
        tail = self.parameters[0].shape[len(self.batch_shape) :]
        return type(self)(*(p.expand(*batch_shape, *tail) for p in self.parameters), **self.options)

    def _uniform(self, sample_shape: Any) -> Tensor:
        """Numbers strictly between 0 and 1 for ``sample_shape`` samples: no quantile of them is infinite."""
        like = self.parameters[0]
        u = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=like.dtype, device=like.device)
        return u.clamp(torch.finfo(like.dtype).tiny, 1 - torch.finfo(like.dtype).eps / 2)


class Counts(Element):
    """A family of counts, 0 to ``top``, whose quantiles are found from its distribution function."""

    top: float = torch.inf

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value), of the dtype of the parameters."""
        return self._upto(value.floor()).to(self.parameters[0].dtype)

    def _upto(self, k: Tensor) -> Tensor:
        """P(X <= k) for whole k, in float64."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The smallest count at which the distribution function reaches the value."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        return smallest_count(self._upto, value, shape, self.top).to(self.parameters[0].dtype)


class Interval(constraints.Constraint):
    """Numbers strictly between two ends: unlike torch's ``positive``, infinity is outside."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def check(self, value: Tensor) -> Tensor:
        """Whether each number is inside."""
        return (value > self.low) & (value < self.high)


class Levels(constraints.Constraint):
    """The multiples 0, 1, ..., levels - 1 of ``maximum / (levels - 1)``, to a hundredth of that step."""

    is_discrete = True

    def __init__(self, levels: int, maximum: float) -> None:
        self.levels, self.maximum = levels, maximum

    def check(self, value: Tensor) -> Tensor:
        """Whether each number is a level."""
        k = value * ((self.levels - 1) / self.maximum)
        return ((k - k.round()).abs() < 0.01) & (k > -0.5) & (k < self.levels - 0.5)


positive = Interval(0.0, torch.inf)
inside_unit = Interval(0.0, 1.0)
counts = constraints.nonnegative_integer
