"""Discrete vectors whose parts depend on those before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.distributions.codes import Codes
from reparam.distributions.discrete import Discrete


class Ordered(Distribution):
    """Π_g p(z_g | z_1 ... z_{g-1}): densities in one call of ``parts``, samples in as many as there are parts.

    ``parts`` maps values (..., *batch, D) to the Discrete distribution of their parts given those before, of batch
    (..., *batch): its part g must not depend on parts g and later. ``codes`` are the values, ``zero`` (*batch, D) a
    vector of zeros.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    has_rsample = False

    def __init__(self, parts: Callable[[Tensor], Discrete], zero: Tensor, codes: Codes) -> None:
        self.parts, self.zero, self.codes = parts, zero, codes
        super().__init__(zero.shape[:-1], zero.shape[-1:], validate_args=False)

    @property
    def support(self) -> Any:
        """That of the parts."""
        return self.codes

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        value = value.expand(torch.broadcast_shapes(value.shape, self.zero.shape))
        return self.parts(value).log_prob(value)

    def image(self, eps: Tensor) -> Tensor:
        """The draws that standard normal noise (..., *batch, D) decides."""
        width = self.codes.classes or 1
        z = self.zero.expand(eps.shape)
        for g in range(self.codes.groups):
            drawn, own = self.parts(z).image(eps), slice(g * width, (g + 1) * width)
            z = torch.cat([z[..., : own.start], drawn[..., own], z[..., own.stop :]], -1)
        return z

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            return self.image(torch.randn(shape, dtype=self.zero.dtype, device=self.zero.device))
