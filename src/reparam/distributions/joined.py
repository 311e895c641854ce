"""Distributions of parts of a vector, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam.distributions.noise import element_support


class _Each(constraints.Constraint):
    """The constraint of each part on its columns."""

    def __init__(self, parts: Sequence[tuple[constraints.Constraint | None, Tensor]]) -> None:
        self.parts = parts
        self.is_discrete = all(support is not None and support.is_discrete for support, _ in parts)

    def check(self, value: Tensor) -> Tensor:
        """Whether each column is in the support of its part."""
        inside = value.isfinite()
        for support, columns in self.parts:
            if support is not None:
                inside[..., columns] &= support.check(value[..., columns])
        return inside


class Joined(Distribution):
    """Independent parts, each the distribution of the columns named beside it: the densities multiply.

    Shapes: the parts have one batch shape (*batch) and events (columns,); the event is (D,), every column named once.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)

    def __init__(self, parts: Sequence[Distribution], columns: Sequence[Tensor]) -> None:
        self.parts, self.columns = tuple(parts), tuple(columns)
        self.back = torch.cat(self.columns).argsort()  # from side by side to the columns' own places
        super().__init__(parts[0].batch_shape, self.back.shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry gradients: of all parts, or of none."""
        return all(p.has_rsample for p in self.parts)

    @property
    def support(self) -> Any:
        """That of each part on its columns."""
        return _Each([(element_support(p), c) for p, c in zip(self.parts, self.columns, strict=True)])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Joined:
        """The same distribution with a larger batch shape."""
        return Joined([p.expand(batch_shape) for p in self.parts], self.columns)

    def together(self, values: Sequence[Tensor]) -> Tensor:
        """Values of the parts, (..., columns) each, as one (..., D) with every column in its place."""
        return torch.cat(list(values), -1)[..., self.back]

    @property
    def mean(self) -> Tensor:
        """The means of the parts, each in its columns."""
        return self.together([p.mean for p in self.parts])

    @property
    def variance(self) -> Tensor:
        """The variances of the parts, each in its columns."""
        return self.together([p.variance for p in self.parts])

    @property
    def mode(self) -> Tensor:
        """The modes of the parts, each in its columns."""
        return self.together([p.mode for p in self.parts])

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        return self.together([p.sample(sample_shape) for p in self.parts])

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples with gradient, if all parts have them."""
        return self.together([p.rsample(sample_shape) for p in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density with respect to the product of the parts' own measures, in nats."""
        terms = [p.log_prob(value[..., c]) for p, c in zip(self.parts, self.columns, strict=True)]
        return torch.stack(terms).sum(0)
