"""The one type of model part: a module that returns a distribution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from reparam.calls import Written
from reparam.distributions import Hierarchical
from reparam.errors import InputError
from reparam.schedules import Schedule


class Conditional(Written, nn.Module, ABC):
    """A conditional distribution: given tensors, it returns a ``torch.distributions.Distribution``.

    Prior, likelihood and posterior are roles that it plays:

    - ``prior(*c)``: batch () or (B,), event (D,)
    - ``posterior(x, *c)``: batch (B,), event (D,), best reparameterized: else its gradients are those of the score
    - ``likelihood(z, *c)``: batch ``z.shape[:-1]``, event ``x.shape[1:]``

    ``*c`` are contexts; "unconditional" means that there are none of them. ``repr`` is the call that makes it.

    Attributes may be schedules, such as a temperature: ``progress`` is the moment of the run (0 to 1) at which
    to read them. Training moves it; at all other times it is the end of the run. ``support`` is a constraint for each
    element of z, or None: by it a model refuses a posterior and a prior of different places when it is built.
    """

    progress: float = 1.0
    # where all draws live, of a posterior that can tell before it has seen a datum
    support: constraints.Constraint | None = None

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Distribution:
        """The distribution, given the tensors of the role: ``(*c)``, ``(z, *c)`` or ``(x, *c)``."""

    def schedules(self) -> dict[str, Schedule]:
        """Everything of this part that changes during the run, by name."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Schedule)}


def scheduled_parts(model: nn.Module) -> list[Conditional]:
    """The parts of a model that change during the run."""
    return [part for part in model.modules() if isinstance(part, Conditional) and part.schedules()]


def schedules(model: nn.Module) -> dict[str, Schedule]:
    """Everything of a model that changes during the run, by name; of a name in several parts the first."""
    found: dict[str, Schedule] = {}
    for part in scheduled_parts(model):
        found = part.schedules() | found
    return found


@contextmanager
def following(model: nn.Module) -> Iterator[Callable[[float], float]]:
    """A function that tells the model's parts how much of the run is done, and gives it back.

    After the block it is all of it.
    """
    parts = scheduled_parts(model)

    def tell(progress: float) -> float:
        for part in parts:
            part.progress = progress
        return progress

    try:
        yield tell
    finally:
        tell(1.0)


class Chain(Conditional):
    """Several layers of latents, each given the one before: priors.TopDown, posteriors.TopDown and BottomUp.

    ``layers`` are conditionals in the order in which they are drawn, ``sizes`` their dimensions in the same order.

    Raises:
        InputError: unless there are as many sizes as layers; when evaluated, for a layer of another size.
    """

    def __init__(self, layers: Sequence[nn.Module], sizes: Sequence[int]) -> None:
        super().__init__()
        self.parts, self.sizes = nn.ModuleList(layers), tuple(sizes)
        if len(self.parts) != len(self.sizes) or not self.sizes:
            raise InputError(
                f"a hierarchy needs a size for each of its layers; got {len(self.sizes)} for {len(self.parts)}"
            )

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The layers, in the order in which they are drawn."""
        return tuple(self.parts)

    def chain(self, first: Distribution, *given: Tensor, upward: bool = False) -> Hierarchical:
        """From the distribution of the first layer on, each layer is called with the one before it and ``given``."""
        steps = [partial(_layer_at, layer, given, len(first.batch_shape)) for layer in self.layers[1:]]
        return Hierarchical(first, steps, self.sizes, upward)


def _layer_at(layer: nn.Module, given: tuple[Tensor, ...], rows: int, z: Tensor) -> Distribution:
    """The layer at z (*lead, D); what is given for a batch of ``rows`` dimensions is repeated to z's lead.

    A layer that reads neither, such as priors.StandardNormal, is repeated likewise.
    """
    d: Distribution = layer(z, *(t.expand(*z.shape[:-1], *t.shape[rows:]) for t in given))
    return d if d.batch_shape else d.expand(z.shape[:-1])


def apply_to_rows(net: nn.Module, z: Tensor, *c: Tensor) -> Tensor:
    """``net`` of the last dimension of z, whatever stands before it.

    The leading dimensions are folded into one, so that a network written for (rows, features), convolutions
    included, serves samples of shape (K, B, D) too. Contexts have the leading shape of z and are folded alike.

    Shapes: z (..., D) and c (..., *) give (..., *event).
    """
    lead = z.shape[:-1]
    rows = [t.reshape(math.prod(lead), *t.shape[len(lead) :]) for t in (z, *c)]
    out: Tensor = net(*rows)
    return out.reshape(*lead, *out.shape[1:])
