"""Priors p(z): conditionals with batch () or (B,) and event (D,)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from reparam.conditional import Conditional
from reparam.errors import InputError

__all__ = ["StandardNormal"]


class StandardNormal(Conditional):
    """N(0, I) in ``dim`` dimensions, whatever the contexts.

    Raises:
        InputError: if ``dim`` is not a positive whole number.
    """

    zero: Tensor
    one: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise InputError(f"a latent space needs at least 1 dimension, not {dim!r}")
        self.dim = dim
        self.register_buffer("zero", torch.zeros(dim), persistent=False)
        self.register_buffer("one", torch.ones(dim), persistent=False)

    def forward(self, *given: Tensor) -> Independent:
        """Batch (), event (D,)."""
        return Independent(Normal(self.zero, self.one, validate_args=False), 1, validate_args=False)
