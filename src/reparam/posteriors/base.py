"""What every posterior has: a net, whose output it reads as the parameters of a distribution."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.conditional import Conditional
from reparam.errors import InputError


class Posterior(Conditional):
    """q(z|x, c) whose parameters ``net(x, *c)`` gives: a subclass reads them.

    Shapes: net maps x (B, *event) to (B, M), with the M that the subclass names; batch (B,), event (D,).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @abstractmethod
    def read(self, out: Tensor) -> Distribution:
        """The distribution, batch (B,), event (D,), given the net's output (B, M)."""

    def forward(self, x: Tensor, *c: Tensor) -> Distribution:
        """Batch (B,), event (D,)."""
        return self.read(self.net(x, *c))


class OfFeatures(Conditional):
    """``posterior`` of what a network makes of the datum: q(z | net(x), c). Layers of it share one pass of the network.

    Shapes: net maps x (B, *event) to features (B, F), and reads no contexts; those go to the posterior.
    """

    def __init__(self, net: nn.Module, posterior: nn.Module) -> None:
        super().__init__()
        self.net, self.posterior = net, posterior

    def forward(self, x: Tensor, *c: Tensor) -> Distribution:
        """Batch (B,), event (D,)."""
        q: Distribution = self.posterior(self.net(x), *c)
        return q


def halves(out: Tensor, name: str, first: str, second: str) -> tuple[Tensor, Tensor]:
    """The two halves of the last dimension: two parameters for each dimension.

    Raises:
        InputError: if it is odd, saying what the posterior ``name`` needs.
    """
    if out.shape[-1] % 2:
        raise InputError(
            f"{name} needs D {first} and D {second}, an even number of outputs; its net gives {out.shape[-1]}"
        )
    a, b = out.chunk(2, -1)
    return a, b
