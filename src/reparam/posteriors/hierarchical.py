"""Posteriors of several layers of latents: down, up, and up and down again.

The layers stand in z = (z_L, ..., z_1) from the top. Everything else reads z as one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.conditional import Chain, Conditional
from reparam.distributions import Hierarchical, product_of_gaussians
from reparam.errors import InputError
from reparam.posteriors.gaussian import DiagonalGaussian


class TopDown(Chain):
    """q(z_L | x) Π q(z_l | z_{l+1}, x): each layer given the one above it and the datum.

    ``layers``, from the top, are conditionals such as DiagonalGaussian: the first is called with (x, *c), the others
    with (z_{l+1}, x, *c), where z, x and c have the leading shape (K, B). A net for these reads several inputs, as
    ``networks.mlp`` does by its ``context``. ``sizes`` are the dimensions of the layers, in the same order.

    Raises:
        InputError: unless there are as many sizes as layers; when evaluated, for a layer of another size.
    """

    def forward(self, x: Tensor, *c: Tensor) -> Hierarchical:
        """Batch (B,), event (D,)."""
        return self.chain(self.layers[0](x, *c), x, *c)


class BottomUp(Chain):
    """q(z_1 | x) Π q(z_l | z_{l-1}): each layer given the one below it (Burda et al. 2016).

    ``layers``, from the bottom, are conditionals such as DiagonalGaussian: the first is called with (x, *c), the others
    with (z_{l-1}, *c), of leading shape (K, B). ``sizes`` are the dimensions of the layers, in the same order.
    It runs against the direction of the prior, so that what a layer adds to the KL is a mean of log ratios.

    Raises:
        InputError: unless there are as many sizes as layers; when evaluated, for a layer of another size.
    """

    def forward(self, x: Tensor, *c: Tensor) -> Hierarchical:
        """Batch (B,), event (D,)."""
        return self.chain(self.layers[0](x, *c), *c, upward=True)


class Ladder(Conditional):
    """The posterior of the ladder VAE (Sønderby et al. 2016, eqs. 17 to 19): up without noise, then down as the prior.

    The way up makes features d_1 = ups_1(x), d_2 = ups_2(d_1), ..., and of each a Gaussian message about its layer,
    N(mu(d_l), diag sigma²(d_l)). The way down is ``prior``, the very module that the VAE uses, which is trained by
    both and saved once: q(z_l | z_{l+1}, x) is the normalised product of p(z_l | z_{l+1}) and the message. Precisions
    add, so that a layer whose message says nothing is the prior, at a KL of 0.

    The top layer is combined with the prior like all others; the paper takes the message alone there. No batch
    normalisation: a datum's posterior depends on the datum alone.

    Shapes: ``ups`` and ``heads`` from the bottom; ups_1 maps x (B, *event) and the contexts, the others features and
    the contexts; head l maps features to (B, 2 D_l): means, then log-variances.

    Raises:
        InputError: unless there are as many ups as heads; when called, if the prior has another number of layers, is
            no hierarchy, or its layers are not diagonal Gaussians.
    """

    def __init__(self, prior: nn.Module, ups: Sequence[nn.Module], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.prior = prior
        self.climb, self.say = nn.ModuleList(ups), nn.ModuleList(DiagonalGaussian(head) for head in heads)
        if len(self.ups) != len(self.heads):
            raise InputError(f"a ladder needs a head for each of its ups; got {len(self.heads)} and {len(self.ups)}")

    @property
    def ups(self) -> tuple[nn.Module, ...]:
        """The networks of the way up, from the bottom."""
        return tuple(self.climb)

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """The networks from features to messages, from the bottom."""
        return tuple(m.net for m in self.say if isinstance(m, DiagonalGaussian))

    def forward(self, x: Tensor, *c: Tensor) -> Hierarchical:
        """Batch (B,), event (D,)."""
        p = self.prior(*c)
        if not isinstance(p, Hierarchical) or p.upward or len(p.sizes) != len(self.ups):
            raise InputError(
                f"a ladder of {len(self.ups)} layers needs a prior of as many, priors.TopDown; its prior gives "
                f"{type(p).__name__}" + (f" of {len(p.sizes)}" if isinstance(p, Hierarchical) else "")
            )
        messages: list[Distribution] = []
        d = x
        for up, say in zip(self.climb, self.say, strict=True):
            d = up(d, *c)
            messages.append(say(d))
        top, *below = reversed(messages)
        steps = [partial(_combined, step, message) for step, message in zip(p.steps, below, strict=True)]
        return Hierarchical(product_of_gaussians(p.first, top), steps, p.sizes)


def _combined(step: Callable[[Tensor], Distribution], message: Distribution, z: Tensor) -> Distribution:
    return product_of_gaussians(step(z), message)
