"""All mass on one point."""

from __future__ import annotations

from torch import Tensor

from reparam.distributions import Delta
from reparam.posteriors.base import Posterior


class Point(Posterior):
    """The conventional autoencoder's encoder: all mass on ``net(x)``.

    It has no density, so the ELBO does not exist for it; train it with ``objectives.Reconstruction``.

    Shapes: net maps x (B, *event) to (B, D).
    """

    def read(self, out: Tensor) -> Delta:
        """Batch (B,), event (D,)."""
        return Delta(out, validate_args=False)
