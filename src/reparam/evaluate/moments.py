"""Mean, standard deviations and covariance of latents, for every distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reparam import seeding

_DRAWS = 4000  # by which a distribution without moments is known


def moments(d: Any, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (N, D), standard deviations (N, D) and covariance (N, D, D) of a batch; of draws where there are none."""
    try:
        mean, variance = d.mean.reshape(-1, dim), d.variance.reshape(-1, dim)
        if not bool(mean.isfinite().all() and variance.isfinite().all()):
            raise NotImplementedError
        covariance = getattr(d, "covariance_matrix", None)
    except (NotImplementedError, AttributeError):
        with seeding.seeded(0):
            z = d.sample((_DRAWS,)).reshape(_DRAWS, -1, dim)
        mean, variance = z.mean(0), z.var(0)
        far = (z - mean).transpose(0, 1)
        covariance = far.transpose(1, 2) @ far / (_DRAWS - 1)
    covariance = torch.diag_embed(variance) if covariance is None else covariance.reshape(-1, dim, dim)
    return mean, variance.sqrt(), covariance
