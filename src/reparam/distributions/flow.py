"""Distributions that a chain of invertible maps makes of a Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints


class Flow(Distribution):
    """A Gaussian seen through maps T: log p(x) = log N(u) + log |det du/dx| (Rezende & Mohamed 2015, eq. 5).

    ``steps`` are zuko's transforms, each quick from its input to its output and slow back. With ``to_noise`` they lead
    from x to u (Papamakarios et al. 2017, MAF): densities are quick and samples slow. Without, from u to x (Kingma et
    al. 2016, IAF): samples are quick, and so is the density of the very tensor that ``rsample`` gave, whose noise is
    known; the density of any other value inverts the maps, exactly, in D passes each.

    Shapes: base has event (D,); steps map (..., *batch, D) to the same.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: Independent, steps: Sequence[Any], to_noise: bool, batch_shape: torch.Size) -> None:
        self.base, self.steps, self.to_noise = base, steps, to_noise
        self._last: tuple[Tensor, int, Tensor] | None = None  # (rsample's tensor, its version, its log density)
        super().__init__(batch_shape, base.event_shape, validate_args=False)

    def _quick(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The direction of the steps, and the log determinant of its Jacobian."""
        log_det = t.new_zeros(())
        for step in self.steps:
            t, each = step.call_and_ladj(t)
            log_det = log_det + each
        return t, log_det

    def _back(self, t: Tensor) -> Tensor:
        for step in reversed(self.steps):
            t = step.inv(t)
        return t

    def _noise(self) -> Normal:
        normal: Normal = self.base.base_dist
        return normal

    def image(self, eps: Tensor) -> Tensor:
        """The draws that standard normal noise decides."""
        u = self._noise().loc + self._noise().scale * eps
        return self._back(u) if self.to_noise else self._quick(u)[0]

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples (*sample, *batch, D), with gradient."""
        shape = self._extended_shape(torch.Size(sample_shape))
        loc, scale = self._noise().loc, self._noise().scale
        u = loc + scale * torch.randn(shape, dtype=loc.dtype, device=loc.device)
        if self.to_noise:
            return self._back(u)
        x, log_det = self._quick(u)
        self._last = (x, x._version, self.base.log_prob(u) - log_det)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self.to_noise:
            u, log_det = self._quick(value)
            return self.base.log_prob(u) + log_det
        if self._last is not None and self._knows(value):
            return self._last[2]
        u = self._back(value)
        return self.base.log_prob(u) - self._quick(u)[1]

    def _knows(self, value: Tensor) -> bool:
        """Whether this is the tensor that rsample gave, unchanged, and its density carries the gradient asked for."""
        assert self._last is not None
        x, version, log_p = self._last
        carries = log_p.requires_grad or not torch.is_grad_enabled()
        return value is x and value._version == version and carries
