"""All mass on one point."""

from __future__ import annotations

from torch import Tensor, nn

from reparam.conditional import Conditional
from reparam.distributions import Delta


class Point(Conditional):
    """The conventional autoencoder's encoder: all mass on ``net(x)``.

    It has no density, so the ELBO does not exist for it; train it with ``objectives.Reconstruction``.

    Shapes: net maps x (B, *event) to (B, D).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *c: Tensor) -> Delta:
        """Batch (B,), event (D,)."""
        return Delta(self.net(x, *c), validate_args=False)
