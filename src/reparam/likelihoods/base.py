"""What every likelihood has: a network, a family of elements, words for its support; and second parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from reparam.conditional import Conditional, apply_to_rows
from reparam.distributions import vector
from reparam.errors import InputError, nearest
from reparam.networks import Floored
from reparam.numerics import scale_from_log


class Likelihood(Conditional):
    """A likelihood whose elements are independent given z: a subclass names the family of one element.

    ``allowed`` and ``remedy`` are the words of the error for data outside the support. ``own_contexts`` is how many
    of the contexts, the last ones, are the family's own and do not enter the net.
    """

    allowed: str
    remedy: str
    own_contexts: int = 0

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @abstractmethod
    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """The distribution of the elements, (*batch, *event), given the net's output; batch has ``lead`` dimensions."""

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that the net must give for a datum of this shape."""
        return tuple(event_shape)

    def forward(self, z: Tensor, *c: Tensor) -> Independent:
        """Batch ``z.shape[:-1]``, event: one datum."""
        return read(self, self.net, z, c)


def read(likelihood: Likelihood | Any, net: nn.Module, z: Tensor, c: Sequence[Tensor]) -> Independent:
    """The distribution of one datum, with the likelihood's family of elements and the parameters of the net.

    Raises:
        InputError: if the family needs a context of its own and there is none.
    """
    lead, split = z.dim() - 1, len(c) - likelihood.own_contexts
    if split < 0:
        raise InputError(f"{type(likelihood).__name__} needs a context of its own, behind those of the net; got none")
    elements = likelihood.elements(apply_to_rows(net, z, *c[:split]), lead, *c[split:])
    return vector(elements, len(elements.batch_shape) - lead)


def channels(parameters: Tensor, lead: int, count: int, what: str) -> tuple[Tensor, ...]:
    """The ``count`` parts of a net's output (..., count, *event), each (..., *event).

    Raises:
        InputError: for an output of another shape.
    """
    if parameters.dim() <= lead or parameters.shape[lead] != count:
        raise InputError(
            f"{what} needs a net with output (..., {count}, *event); "
            f"this one gives (..., {', '.join(map(str, parameters.shape[lead:]))})"
        )
    return parameters.unbind(lead)


def positive(value: Tensor, what: str = "a scale") -> None:
    """Refuse values that are not positive and finite.

    Raises:
        InputError: if there is one.
    """
    if not bool(((value > 0) & value.isfinite()).all()):
        raise InputError(f"{what} must be positive and finite")


class SecondParameter(Likelihood):
    """A likelihood with a positive second parameter, its scale or its like, of one of four kinds.

    It is

    - a number, or a tensor that broadcasts to the event: fixed;
    - ``"shared"``: learned, one for all elements;
    - ``"elementwise"``: learned, one for each element, whose ``event_shape`` must be given;
    - ``"predicted"``: for each datum and element by the net, whose output is then (..., 2, *event): first
      parameters, then logarithms of the second.

    What is learned starts at ``start``. Values are exact between 1e-6 and 1e6 and bounded beyond.
    """

    KINDS = ("shared", "elementwise", "predicted")
    second: ClassVar[str] = "scale"
    discrete: ClassVar[bool] = False
    channel_words: ClassVar[str] = "locations, then log-scales"

    def __init__(
        self, net: nn.Module, value: float | str | Tensor, event_shape: Sequence[int] | None, start: float
    ) -> None:
        super().__init__(net)
        self.event_shape = None if event_shape is None else tuple(event_shape)
        positive(torch.tensor(float(start)), f"a {self.second}")
        setattr(self, f"init_{self.second}", start)
        if isinstance(value, str):
            self._learn(value, torch.tensor(float(start)).log())
        elif isinstance(value, Tensor):
            positive(value, f"a {self.second}")
            self.register_buffer(self.second, value.detach().clone())
        else:
            positive(torch.tensor(float(value)), f"a {self.second}")
            setattr(self, self.second, float(value))

    def _learn(self, kind: str, start: Tensor) -> None:
        if kind not in self.KINDS:
            raise InputError(f"unknown kind of {self.second} {kind!r}: {nearest(kind, self.KINDS)}, or a number")
        if kind == "elementwise" and self.event_shape is None:
            raise InputError(f"a {self.second} for each element needs event_shape, the shape of one datum")
        setattr(self, self.second, kind)
        if kind != "predicted":
            shape = self.event_shape if kind == "elementwise" and self.event_shape else ()
            setattr(self, f"log_{self.second}", nn.Parameter(start.expand(shape).clone()))

    @property
    def kind(self) -> float | str | Tensor:
        """The number, the tensor or the name of the kind."""
        kind: float | str | Tensor = getattr(self, self.second)
        return kind

    @property
    def predicts(self) -> bool:
        """Whether the net gives the second parameter."""
        return isinstance(self.kind, str) and self.kind == "predicted"

    @property
    def learns_scale(self) -> bool:
        """Whether a density can grow without bound as the second parameter is learned."""
        held = any(isinstance(m, Floored) for m in self.net.modules())
        return isinstance(self.kind, str) and not self.discrete and not held

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """(2, *event) where the second parameter is predicted, else the event."""
        return (2, *event_shape) if self.predicts else tuple(event_shape)

    def from_channel(self, channel: Tensor) -> Tensor:
        """The second parameter from the net's second output: its logarithm, bounded."""
        return scale_from_log(channel)

    def both(self, parameters: Tensor, lead: int) -> tuple[Tensor, Tensor]:
        """The first and the second parameter, of equal shape, given the net's output."""
        kind = self.kind
        if not isinstance(kind, str):
            return parameters, torch.as_tensor(kind, dtype=parameters.dtype, device=parameters.device).expand_as(
                parameters
            )
        if not self.predicts:
            return parameters, scale_from_log(getattr(self, f"log_{self.second}")).expand_as(parameters)
        first, second = channels(parameters, lead, 2, f"a predicted {self.second} ({self.channel_words})")
        return first, self.from_channel(second)
