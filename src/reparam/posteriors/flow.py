"""A posterior of any shape: a Gaussian, bent by autoregressive maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, constraints

from reparam.distributions import Flow as FlowDistribution
from reparam.distributions import autoregressive
from reparam.errors import InputError
from reparam.numerics import scale_from_log, soft_clip
from reparam.posteriors.base import Posterior


class Flow(Posterior):
    """Inverse autoregressive flow (Kingma et al. 2016, algorithm 1): u ~ N(mu(x), diag s²(x)), z = T(u; h(x)).

    Draws and their density cost one pass through each of the ``transforms`` maps; the density of a z that was not just
    drawn costs D passes each. ``hidden`` and ``kind`` ("affine" or "spline") are those of
    ``reparam.distributions.autoregressive``. It has no closed-form mean: ``VAE.encode`` averages over fixed noise.

    Shapes: net maps x (B, *event) to (B, 2D + context): D means, D log-variances, then the context h of the maps, which
    passes through a soft limit at 30.

    Raises:
        InputError: for numbers below 1, an unknown kind; at the first call, if the net gives another number of outputs.
        MissingExtraError: if zuko (the extra ``flows``) is not installed.
    """

    support = constraints.real

    def __init__(
        self,
        net: nn.Module,
        dim: int,
        context: int = 0,
        transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        kind: str = "affine",
    ) -> None:
        super().__init__(net)
        self.maps = autoregressive(dim, context, transforms, hidden, kind)
        del self.net
        self.net, self.dim, self.context = (
            net,
            dim,
            context,
        )  # behind the maps: optimisers of saved runs have that order
        self.transforms, self.hidden, self.kind = transforms, tuple(hidden), kind

    def read(self, out: Tensor) -> FlowDistribution:
        """Batch (B,), event (D,)."""
        if out.shape[-1] != 2 * self.dim + self.context:
            raise InputError(
                f"this Flow needs {2 * self.dim + self.context} outputs, D means, D log-variances and its context; its "
                f"net gives {out.shape[-1]}"
            )
        mean, log_variance, h = out.split([self.dim, self.dim, self.context], -1)
        base = Independent(Normal(mean, scale_from_log(log_variance / 2), validate_args=False), 1, validate_args=False)
        given = soft_clip(h, 20, 10) if self.context else None
        steps = [step(given) for step in self.maps]
        return FlowDistribution(base, steps, to_noise=False, batch_shape=torch.Size(mean.shape[:-1]))
