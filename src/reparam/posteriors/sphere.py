"""A posterior of latents that are directions."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam.distributions import VonMisesFisher as VonMisesFisherDistribution
from reparam.distributions import bounded_exp, sphere
from reparam.errors import InputError
from reparam.posteriors.base import Posterior


class VonMisesFisher(Posterior):
    """von Mises-Fisher on the unit sphere in D dimensions (Davidson et al. 2018), for ``priors.SphereUniform``.

    Shapes: net maps x (B, *event) to (B, D + 1): a vector whose direction is mu, then log kappa. kappa is exact between
    1e-2 and 1e4 and bounded by ten times more. The vector of length zero stands for the first axis.

    Raises:
        InputError: if the net gives fewer than 3 numbers (D >= 2).
    """

    support = sphere

    def read(self, out: Tensor) -> VonMisesFisherDistribution:
        """Batch (B,), event (D,), vectors of length one."""
        if out.shape[-1] < 3:
            raise InputError(
                f"VonMisesFisher needs D + 1 outputs with D of at least 2: a direction and log kappa; its net gives "
                f"{out.shape[-1]}"
            )
        vector, log_kappa = out[..., :-1], out[..., -1]
        axis = torch.eye(1, vector.shape[-1], dtype=out.dtype, device=out.device)[0]
        vector = torch.where((vector == 0).all(-1, keepdim=True), axis, vector)
        mean = vector / vector.norm(dim=-1, keepdim=True)
        return VonMisesFisherDistribution(mean, bounded_exp(log_kappa, 1e-2, 1e4, margin=10.0))
