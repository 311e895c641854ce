"""The logistic normal on the simplex: a softmax of a Gaussian."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints
from torch.nn.functional import pad


class LogisticNormal(Distribution):
    """z = softmax(y_1, ..., y_{D-1}, 0) with y ~ N(loc, diag scale²) (Aitchison & Shen 1980).

    log p(z) = log N(log(z_i / z_D)) - Σ_i log z_i, a density with respect to the first D - 1 coordinates, as that of
    torch's Dirichlet is. ``torch.distributions.LogisticNormal`` breaks sticks and clips instead; this one is exact
    while no element of z is below the smallest number of its dtype.

    Shapes: loc and scale (*batch, D-1); event (D,).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    support = constraints.simplex
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape[:-1], torch.Size([loc.shape[-1] + 1]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogisticNormal:
        """The same distribution with a larger batch shape."""
        return LogisticNormal(*(t.expand(*batch_shape, t.shape[-1]) for t in (self.loc, self.scale)))

    def image(self, eps: Tensor) -> Tensor:
        """The draws that the first D - 1 numbers of the noise (..., D) decide."""
        return pad(self.loc + self.scale * eps[..., :-1], (0, 1)).softmax(-1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples (*sample, *batch, D), with gradient."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.image(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats, with respect to the first D - 1 coordinates."""
        log_z = value.log()
        y = log_z[..., :-1] - log_z[..., -1:]
        return Normal(self.loc, self.scale, validate_args=False).log_prob(y).sum(-1) - log_z.sum(-1)
