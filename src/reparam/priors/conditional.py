"""A prior that the contexts decide."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from reparam.conditional import Conditional
from reparam.errors import InputError
from reparam.numerics import scale_from_log


class ConditionalGaussian(Conditional):
    """p(z|c) = N(mu(c), diag sigma²(c)): the prior network of conditional models (Sohn et al. 2015, section 4.1).

    Shapes: net maps the context (B, ...) to (B, 2D): D means, then D log-variances. Several contexts are flattened and
    joined for it, (B, sum of sizes). The scale exp(log-variance / 2) is exact between 1e-6 and 1e6 and bounded beyond.

    Raises:
        InputError: when called without contexts, or if the last dimension of the net's output is odd.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *given: Tensor) -> Independent:
        """Batch (B,), event (D,)."""
        if not given:
            raise InputError("this prior is p(z|c), and there are no contexts: give them, or choose StandardNormal")
        c = given[0] if len(given) == 1 else torch.cat([t.flatten(1) for t in given], 1)
        out: Tensor = self.net(c)
        if out.shape[-1] % 2:
            raise InputError(
                f"ConditionalGaussian needs D means and D log-variances, an even number; its net gives {out.shape[-1]}"
            )
        mean, log_variance = out.chunk(2, -1)
        return Independent(Normal(mean, scale_from_log(log_variance / 2), validate_args=False), 1, validate_args=False)
