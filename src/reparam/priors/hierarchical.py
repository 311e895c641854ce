"""The prior of several layers of latents, from the top down."""

from __future__ import annotations

from torch import Tensor

from reparam.conditional import Chain
from reparam.distributions import Hierarchical


class TopDown(Chain):
    """p(z_L) Π p(z_l | z_{l+1}): each layer given the one above it.

    z = (z_L, ..., z_1) is one vector, the top layer first. ``layers``, from the top: a prior such as StandardNormal,
    called with (*c), then conditionals such as posteriors.DiagonalGaussian, called with (z_{l+1}, *c), where z and c
    have the leading shape (K, B). ``sizes`` are the dimensions of the layers, in the same order. All contexts go to
    every layer.

    A likelihood of z_1 alone has a net in :class:`reparam.networks.Lowest`.

    Raises:
        InputError: unless there are as many sizes as layers; when evaluated, for a layer of another size.
    """

    def forward(self, *c: Tensor) -> Hierarchical:
        """Batch () without contexts, else (B,); event (D,)."""
        top = self.layers[0](*c)
        return self.chain(top.expand(c[0].shape[:1]) if c else top, *c)
