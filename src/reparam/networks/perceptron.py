"""Multilayer perceptrons between arrays of any shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from reparam.errors import InputError, nearest

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
}


def activation(name: str) -> nn.Module:
    """The activation of this name.

    Raises:
        InputError: for an unknown name.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"unknown activation {name!r}: {nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def as_shape(size: int | Sequence[int], what: str) -> tuple[int, ...]:
    """A shape, from a number or a sequence of numbers.

    Raises:
        InputError: unless all are whole numbers of at least 1.
    """
    shape = (size,) if isinstance(size, int) else tuple(size)
    if not shape or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in shape):
        raise InputError(f"the {what} must be whole numbers of at least 1, not {size!r}")
    return shape


class MLP(nn.Module):
    """Fully connected layers from arrays of shape ``inputs`` to arrays of shape ``outputs``.

    Contexts, given behind the input, are flattened and appended to it; ``context`` is their total size.

    Shapes: x (..., *inputs) and contexts (..., c) give (..., *outputs).
    """

    def __init__(
        self,
        inputs: int | Sequence[int],
        outputs: int | Sequence[int],
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
        context: int = 0,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = as_shape(inputs, "input sizes"), as_shape(outputs, "output sizes")
        self.hidden = as_shape(hidden, "hidden sizes") if hidden else ()
        self.activation, self.context = activation, context
        sizes = [math.prod(self.inputs) + context, *self.hidden, math.prod(self.outputs)]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), make_activation(activation)]
        self.layers = nn.Sequential(*layers[:-1])

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the output."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The output for each array."""
        lead = x.shape[: x.dim() - len(self.inputs)]
        if x.shape[len(lead) :] != self.inputs:
            raise InputError(f"this network takes arrays of shape {self.inputs}; got {tuple(x.shape[1:])}")
        flat = x.reshape(*lead, -1)
        if c:
            flat = torch.cat([flat, *(t.reshape(*lead, -1).to(flat.dtype) for t in c)], -1)
        out: Tensor = self.layers(flat)
        return out if len(self.outputs) == 1 else out.reshape(*lead, *self.outputs)


make_activation = activation  # inside MLP the name is a parameter


def mlp(
    inputs: int | Sequence[int],
    outputs: int | Sequence[int],
    hidden: Sequence[int] = (400,),
    activation: str = "relu",
    context: int = 0,
) -> MLP:
    """A multilayer perceptron from arrays of shape ``inputs`` to arrays of shape ``outputs``: see :class:`MLP`."""
    return MLP(inputs, outputs, hidden, activation, context)


class Lowest(nn.Module):
    """A network of the last ``size`` numbers of its input: of z_1 alone, where z = (z_L, ..., z_1) is a hierarchy.

    Shapes: z (..., D) with D >= size.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, z: Tensor, *c: Tensor) -> Tensor:
        """The network's output for the end of z."""
        out: Tensor = self.net(z[..., -self.size :], *c)
        return out


class Rescale(nn.Module):
    """(x - loc) / spread before another network: its inputs are numbers of order one."""

    loc: Tensor
    spread: Tensor

    def __init__(self, net: nn.Module, loc: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("spread", spread.detach().clone())

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The network's output for the rescaled input."""
        out: Tensor = self.net((x - self.loc) / self.spread, *c)
        return out


class Log1p(nn.Module):
    """log(1 + x) before another network: counts and positive numbers of many sizes become numbers of order one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The output of the network for log(1 + x)."""
        out: Tensor = self.net(x.log1p(), *c)
        return out
