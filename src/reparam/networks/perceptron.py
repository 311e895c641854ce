"""Multilayer perceptrons between arrays of any shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from reparam.calls import Written
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


def flattened(x: Tensor, lead: Sequence[int], c: Sequence[Tensor], context: int) -> Tensor:
    """x (..., *) and its contexts as vectors, one behind the other: (..., n + context), in the dtype of x.

    Raises:
        InputError: for contexts of another total size than ``context``.
    """
    flat = x.reshape(*lead, -1)
    if not c and not context:
        return flat
    for t in c:
        if t.shape[: len(lead)] != tuple(lead):
            raise InputError(f"data of leading shape {tuple(lead)}, but a context {tuple(t.shape)}: each needs its own")
    given = [t.reshape(*lead, -1).to(flat.dtype) for t in c]
    if sum(t.shape[-1] for t in given) != context:
        raise InputError(
            f"this network takes contexts of {context} numbers in all, not {sum(t.shape[-1] for t in given)}"
        )
    return torch.cat([flat, *given], -1)


class MLP(Written, nn.Module):
    """Fully connected layers from arrays of shape ``inputs`` to arrays of shape ``outputs``.

    Contexts, given behind the input, are flattened and appended to it; ``context`` is their total size.

    Options of each hidden layer: ``gated``, h * sigmoid(g) with two linear maps h and g in place of the activation
    (Dauphin et al. 2017; Tomczak & Welling 2018); ``norm="layer"`` before the activation or gate (Ba et al. 2016), over
    the elements of one datum; ``residual``, the layer's input is added to its output (He et al. 2016), through a linear
    map where their sizes differ.

    Shapes: x (..., *inputs) and contexts (..., c) give (..., *outputs).

    Raises:
        InputError: for sizes, an activation or a norm that make no network; when called, for other shapes than these.
    """

    written_as = "networks.mlp"

    def __init__(
        self,
        inputs: int | Sequence[int],
        outputs: int | Sequence[int],
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
        context: int = 0,
        residual: bool = False,
        gated: bool = False,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = as_shape(inputs, "input sizes"), as_shape(outputs, "output sizes")
        self.hidden = as_shape(hidden, "hidden sizes") if hidden else ()
        self.activation, self.context = activation, context
        self.residual, self.gated, self.norm = residual, gated, check_norm(norm, "layer")
        before = math.prod(self.inputs) + context
        layers: list[nn.Module] = []
        for after in self.hidden:
            layers += self._layer(before, after)
            before = after
        make_activation(activation)  # its name is checked also where there is no hidden layer
        self.layers = nn.Sequential(*layers, nn.Linear(before, math.prod(self.outputs)))

    def _layer(self, before: int, after: int) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Linear(before, 2 * after if self.gated else after)]
        if self.norm:
            if after < 2:
                raise InputError("a layer of 1 number has nothing to be normalised by: leave norm out, or widen it")
            layers.append(nn.LayerNorm(layers[0].out_features))
        layers.append(Gate(-1) if self.gated else make_activation(self.activation))
        if not self.residual:
            return layers
        skip = nn.Identity() if before == after else nn.Linear(before, after, bias=False)
        return [Residual(nn.Sequential(*layers), skip)]

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
        flat = flattened(x if x.is_floating_point() else x.to(self.last.weight.dtype), lead, c, self.context)
        out: Tensor = self.layers(flat)
        return out if len(self.outputs) == 1 else out.reshape(*lead, *self.outputs)


make_activation = activation  # inside MLP the name is a parameter


def check_norm(norm: str | None, known: str) -> str | None:
    """The kind of normalisation, if it is ``known`` or None.

    Raises:
        InputError: for another.
    """
    if norm not in (None, known):
        raise InputError(f"this network has no norm {norm!r}: it takes {known!r}, or none")
    return norm


class Gate(nn.Module):
    """h * sigmoid(g), for an input that is h and g one behind the other along ``dim``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Half as many numbers along ``dim``."""
        h, g = x.chunk(2, self.dim)
        return h * g.sigmoid()


class Residual(nn.Module):
    """The sum of two networks: ``inner``, and ``skip``, which is the identity or a linear map to the same size."""

    def __init__(self, inner: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.inner, self.skip = inner, skip

    def forward(self, x: Tensor) -> Tensor:
        """inner(x) + skip(x)."""
        out: Tensor = self.inner(x) + self.skip(x)
        return out


def mlp(
    inputs: int | Sequence[int],
    outputs: int | Sequence[int],
    hidden: Sequence[int] = (400,),
    activation: str = "relu",
    context: int = 0,
    residual: bool = False,
    gated: bool = False,
    norm: str | None = None,
) -> MLP:
    """A multilayer perceptron from arrays of shape ``inputs`` to arrays of shape ``outputs``: see :class:`MLP`."""
    return MLP(inputs, outputs, hidden, activation, context, residual, gated, norm)


class Lowest(Written, nn.Module):
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


class Rescale(Written, nn.Module):
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


class Log1p(Written, nn.Module):
    """log(1 + x) before another network: counts and positive numbers of many sizes become numbers of order one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The output of the network for log(1 + x)."""
        out: Tensor = self.net(x.log1p(), *c)
        return out


class WithoutLast(Written, nn.Module):
    """Another network without the last context, which is for other parts: an exposure, a label."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The output of the network for x and the contexts before the last."""
        out: Tensor = self.net(x, *c[:-1])
        return out
