"""What is seen of a datum: independent elements, of which those that are missing are integrated out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from reparam.distributions.affine import Affine
from reparam.distributions.element import Interval
from reparam.distributions.joined import Joined
from reparam.distributions.noise import element_support
from reparam.errors import InputError


def log_prob_of_each(d: Distribution, value: Tensor) -> Tensor:
    """The log density of each element of a value (..., *event) of a distribution of independent elements, in nats.

    Shapes: (..., *event).

    Raises:
        InputError: where the elements are not known to be independent.
    """
    if isinstance(d, Joined):
        return d.together([log_prob_of_each(p, value[..., c]) for p, c in zip(d.parts, d.columns, strict=True)])
    if isinstance(d, Affine):
        return log_prob_of_each(d.base, (value - d.loc) / d.scale) - d.scale.log()
    if isinstance(d, Independent) and not d.base_dist.event_shape and d.event_shape:
        return d.base_dist.log_prob(value)
    raise InputError(
        f"elements of {type(d).__name__} cannot be taken one by one: missing values go with likelihoods whose elements "
        "are independent given z"
    )


def _any_value(support: constraints.Constraint | None) -> float:
    """A number in the support."""
    if isinstance(support, Interval):
        ends = (support.low, support.high)
        return 1.0 if ends == (0.0, torch.inf) else sum(ends) / 2
    return 0.0


def filled(d: Distribution, value: Tensor) -> Tensor:
    """The value with a number of its support, whatever it is, in place of each NaN."""
    if isinstance(d, Joined):
        return d.together([filled(p, value[..., c]) for p, c in zip(d.parts, d.columns, strict=True)])
    if isinstance(d, Affine):  # a number far from loc, in units of scale, could overflow
        return torch.where(value.isnan(), d.loc, value)
    return value.nan_to_num(_any_value(element_support(d)), torch.inf, -torch.inf)


class _OrMissing(constraints.Constraint):
    """The support of a distribution, and NaN."""

    def __init__(self, d: Distribution) -> None:
        self.d, self.inside = d, element_support(d)
        self.is_discrete = self.inside is not None and self.inside.is_discrete

    def check(self, value: Tensor) -> Tensor:
        """Whether each element is missing, or in the support."""
        known = filled(self.d, value)
        inside = known.isfinite()
        return inside if self.inside is None else inside & self.inside.check(known)


class Observed(Distribution):
    """A distribution of independent elements, of which those that are NaN are integrated out.

    The density of a value is that of its elements that are not NaN; of a value of which nothing is seen it is 1.
    Samples and moments are those of whole values.

    Shapes: batch and event of ``base``.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)

    def __init__(self, base: Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry gradients."""
        return self.base.has_rsample

    @property
    def support(self) -> Any:
        """That of the base, and NaN."""
        return _OrMissing(self.base)

    @property
    def mean(self) -> Tensor:
        """The mean of whole values."""
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        """The variance of whole values."""
        return self.base.variance

    @property
    def mode(self) -> Tensor:
        """The mode of whole values."""
        return self.base.mode

    def expand(self, batch_shape: Any, _instance: Any = None) -> Observed:
        """The same distribution with a larger batch shape."""
        return Observed(self.base.expand(batch_shape))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples of whole values, without gradient."""
        return self.base.sample(sample_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples of whole values, with gradient where the base has one."""
        return self.base.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of what is seen, in nats."""
        each = log_prob_of_each(self.base, filled(self.base, value))  # a NaN would spoil gradients even where unused
        seen = ~value.isnan()
        return torch.where(seen, each, 0.0).flatten(each.dim() - len(self.event_shape)).sum(-1)
