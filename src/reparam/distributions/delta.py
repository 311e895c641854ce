"""All mass on one point: the posterior of the conventional autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class Delta(Distribution):
    """A point mass at ``loc``, with event dimension 1.

    It has no density with respect to volume. ``log_prob`` is taken with respect to the counting measure: 0 at the
    point and -inf elsewhere, so bounds that need a density of q (the ELBO, IWAE) do not apply to it, and
    KL(Delta, p) is +inf for every p with a density.

    Shapes: loc (*batch, D).
    """

    arg_constraints = {"loc": constraints.real_vector}  # noqa: RUF012 (torch's own convention)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, validate_args: bool | None = None) -> None:
        self.loc = loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Delta:
        """The same point mass with a larger batch shape."""
        return Delta(self.loc.expand(*batch_shape, *self.event_shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """The point, repeated."""
        return self.loc.expand(self._extended_shape(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """0 at the point, -inf elsewhere."""
        hit = (value == self.loc).all(-1)
        return torch.where(hit, 0.0, -torch.inf).to(self.loc.dtype)
