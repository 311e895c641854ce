"""A network as a short list of operations on the numbers of one row, which a browser can carry out.

Every operation is a table with its name under "op" and static sizes; weights are places in one buffer of float32. The
other half is ``page/net.js``, which runs them: an operation is added in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from reparam.errors import InputError
from reparam.networks import MLP, Cells, ConvDecoder, ConvEncoder, Floored, Log1p, Lowest, Rescale, WithoutLast
from reparam.networks.cells import FAR
from reparam.networks.perceptron import Gate, Residual

Op = dict[str, Any]
SERVED = "walk in this model with the served page instead: reparam explore RUN DATA, without --html"


class NotInThePageError(InputError):
    """A part of a model that the page cannot compute; the message names the part and the served page."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the page cannot compute {what}: {SERVED}")


class Weights:
    """Numbers in one buffer: each array is known by where it begins."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self.size = 0

    def add(self, values: Tensor | np.ndarray | Sequence[float]) -> int:
        """The place of these numbers in the buffer."""
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        place, flat = self.size, array.astype("<f4").reshape(-1)
        self._parts.append(flat)
        self.size += len(flat)
        return place

    def buffer(self) -> np.ndarray:
        """All of them, float32."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, "<f4")


class Tracer:
    """The operations so far, and the shape of what they have made of one row."""

    def __init__(self, weights: Weights, shape: Sequence[int], contexts: Sequence[int], row: int) -> None:
        self.weights, self.shape = weights, tuple(shape)
        self.contexts, self.row = list(contexts), row  # the widths of those that are read, and of all of them
        self.ops: list[Op] = []

    @property
    def size(self) -> int:
        """How many numbers there are now."""
        return math.prod(self.shape)

    def emit(self, op: str, to: Sequence[int], **table: Any) -> None:
        """Append an operation that leads to this shape."""
        self.ops.append({"op": op, "n": self.size, "m": math.prod(to), **table})
        self.shape = tuple(to)

    def keep(self, values: Tensor | None) -> int | None:
        """The place of these weights, None for none."""
        return None if values is None else self.weights.add(values)

    def run(self, module: nn.Module) -> None:
        """Append what this module does.

        Raises:
            NotInThePageError: for a module that is not in the list.
        """
        rule = _RULES.get(type(module))
        if rule is None:
            raise NotInThePageError(f"a layer {type(module).__name__}")
        rule(self, module)

    def apart(self, module: nn.Module) -> tuple[list[Op], tuple[int, ...]]:
        """The operations of a module that starts from here, and its shape, beside this list."""
        inner = Tracer(self.weights, self.shape, self.contexts, self.row)
        inner.run(module)
        return inner.ops, inner.shape

    def give(self, context: int, each: int = 1) -> None:
        """Append the numbers of the context, each repeated so often."""
        if context == 0:
            return
        known = sum(self.contexts)
        if context != known:
            raise NotInThePageError(f"a network that reads {context} of the {known} numbers of the contexts")
        self.emit("context", (self.size + context * each,), size=context, each=each, at=0, row=self.row)


def program(
    net: nn.Module, shape: Sequence[int], weights: Weights, *contexts: int, own: int = 0
) -> tuple[list[Op], int]:
    """The operations of ``net`` for rows of this shape with contexts of these widths, and the size of the output.

    Rows of contexts end with ``own`` further numbers, which the net does not read, and the output then too.

    Raises:
        NotInThePageError: for a layer that the page cannot compute.
    """
    known = sum(contexts)
    tracer = Tracer(weights, shape, contexts, known + own)
    tracer.run(net)
    if own:
        tracer.emit("context", (tracer.size + own,), size=own, each=1, at=known, row=known + own)
    return tracer.ops, tracer.size


def _linear(t: Tracer, m: Any) -> None:
    t.emit("linear", (*t.shape[:-1], m.out_features), i=m.in_features, o=m.out_features,
           w=t.keep(m.weight), b=t.keep(m.bias))  # fmt: skip


def _activation(name: str, *options: str) -> Callable[[Tracer, Any], None]:
    def rule(t: Tracer, m: Any) -> None:
        t.emit("act", t.shape, f=name, a=[getattr(m, o) for o in options])

    return rule


def _sequence(t: Tracer, m: Any) -> None:
    for layer in m:
        t.run(layer)


def _nothing(t: Tracer, m: Any) -> None:
    """The identity, and dropout, which is that in evaluation."""


def _gate(t: Tracer, m: Any) -> None:
    axis = m.dim - 1 if m.dim >= 0 else len(t.shape) + m.dim  # a positive one counts the rows
    before, half, after = math.prod(t.shape[:axis]), t.shape[axis] // 2, math.prod(t.shape[axis + 1 :])
    t.emit("gate", (*t.shape[:axis], half, *t.shape[axis + 1 :]), before=before, half=half * after)


def _residual(t: Tracer, m: Any) -> None:
    inner, shape = t.apart(m.inner)
    skip, _ = t.apart(m.skip)
    t.emit("residual", shape, inner=inner, skip=skip)


def _layer_norm(t: Tracer, m: Any) -> None:
    size = math.prod(m.normalized_shape)
    t.emit("norm", t.shape, size=size, each=1, eps=m.eps, w=t.keep(m.weight), b=t.keep(m.bias), channels=size)


def _group_norm(t: Tracer, m: Any) -> None:
    pixels = math.prod(t.shape[1:])
    t.emit("norm", t.shape, size=m.num_channels // m.num_groups * pixels, each=pixels, eps=m.eps,
           w=t.keep(m.weight), b=t.keep(m.bias), channels=m.num_channels)  # fmt: skip


def _convolution(t: Tracer, m: Any) -> None:
    flat = isinstance(m, nn.Conv1d)
    transposed = isinstance(m, nn.ConvTranspose2d)
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise NotInThePageError(f"a convolution with padding {m.padding_mode} {m.padding}")
    kernel, stride, dilation = (
        [1, *map(int, v)] if flat else list(map(int, v)) for v in (m.kernel_size, m.stride, m.dilation)
    )
    padding = [0, *m.padding] if flat else list(m.padding)
    c, h, w = (t.shape[0], 1, t.shape[1]) if flat else t.shape
    if transposed:
        out = [(s - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + m.output_padding[i] + 1
               for i, s in enumerate((h, w))]  # fmt: skip
    else:
        out = [(s + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i, s in enumerate((h, w))]
    shape = (m.out_channels, out[1]) if flat else (m.out_channels, *out)
    t.emit("transposed" if transposed else "conv", shape, i=[c, h, w], o=[m.out_channels, *out], k=kernel, s=stride,
           p=padding, d=dilation, g=m.groups, w=t.keep(m.weight), b=t.keep(m.bias))  # fmt: skip


def _flatten(t: Tracer, m: Any) -> None:
    start, end = (d - 1 if d > 0 else len(t.shape) + d for d in (m.start_dim, m.end_dim))
    t.shape = (*t.shape[:start], math.prod(t.shape[start : end + 1]), *t.shape[end + 1 :])


def _unflatten(t: Tracer, m: Any) -> None:
    at = m.dim - 1 if m.dim >= 0 else len(t.shape) + m.dim
    like = torch.empty(t.shape).unflatten(at, tuple(m.unflattened_size))
    t.shape = tuple(like.shape)


def _mlp(t: Tracer, m: Any) -> None:
    t.shape = (t.size,)
    t.give(m.context)
    t.run(m.layers)
    t.shape = m.outputs


def _permute(t: Tracer, order: Sequence[int]) -> None:
    if list(order) != sorted(order):
        t.emit("permute", [t.shape[i] for i in order], shape=list(t.shape), order=list(order))


def _conv_encoder(t: Tracer, m: Any) -> None:
    t.shape = m.shape
    _permute(t, (2, 0, 1) if m.channels_last else range(len(t.shape)))
    height, width = m.heights[0], m.widths[0]
    t.shape = (m.colours, height, width)
    t.give(m.context, height * width)
    t.shape = (m.colours + m.context, height, width)
    t.run(m.layers)
    if m.dense:
        t.shape = (t.size,)
        t.run(m.last)
    else:
        t.run(m.last)
        _permute(t, (1, 2, 0))
    t.shape = (t.size,)


def _conv_decoder(t: Tracer, m: Any) -> None:
    if m.dense:
        t.give(m.context)
        t.shape = (t.size,)
    else:
        t.shape = (*m.inner[1:], t.size // math.prod(m.inner[1:]))
        _permute(t, (2, 0, 1))
        channels = t.shape[0]
        t.give(m.context, math.prod(m.inner[1:]))
        t.shape = (channels + m.context, *m.inner[1:])
    t.run(m.first)
    t.shape = (t.size // math.prod(m.inner[1:]), *m.inner[1:])
    t.run(m.layers)
    if m.channels_last:
        t.shape = (math.prod(m.prefix), m.colours, m.heights[0], m.widths[0])
        _permute(t, (0, 2, 3, 1))
    t.shape = (*m.prefix, *m.shape)


def _rescale(t: Tracer, m: Any) -> None:
    wide = [v.expand(t.shape) for v in (m.loc, m.spread)]
    t.emit("rescale", t.shape, loc=t.keep(wide[0]), spread=t.keep(wide[1]))
    t.run(m.net)


def _log1p(t: Tracer, m: Any) -> None:
    t.emit("act", t.shape, f="log1p", a=[])
    t.run(m.net)


def _without_last(t: Tracer, m: Any) -> None:
    last = t.contexts.pop()
    t.run(m.net)
    t.contexts.append(last)


def _lowest(t: Tracer, m: Any) -> None:
    t.emit("last", (m.size,))
    t.run(m.net)


def _cells(t: Tracer, m: Any) -> None:
    t.emit("cells", (m.features(m.classes, m.mask),), classes=list(m.classes), mask=m.mask, far=FAR,
           loc=t.keep(m.loc), spread=t.keep(m.spread))  # fmt: skip
    t.run(m.net)


def _floored(t: Tracer, m: Any) -> None:
    t.run(m.net)
    columns = t.shape[-1]
    t.emit("floor", t.shape, free=m.first * columns, columns=columns, least=t.keep(m.least.expand(columns)))


class _Rule(Protocol):
    def __call__(self, t: Tracer, m: Any, /) -> None: ...


_RULES: dict[type[nn.Module], _Rule] = {
    nn.Linear: _linear,
    nn.Sequential: _sequence,
    nn.Identity: _nothing,
    nn.Dropout: _nothing,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.ReLU: _activation("relu"),
    nn.Tanh: _activation("tanh"),
    nn.SiLU: _activation("silu"),
    nn.Sigmoid: _activation("sigmoid"),
    nn.Softsign: _activation("softsign"),
    nn.Mish: _activation("mish"),
    nn.GELU: _activation("gelu", "approximate"),
    nn.ELU: _activation("elu", "alpha"),
    nn.LeakyReLU: _activation("leaky", "negative_slope"),
    nn.Softplus: _activation("softplus", "beta", "threshold"),
    Gate: _gate,
    Residual: _residual,
    MLP: _mlp,
    Cells: _cells,
    Floored: _floored,
    ConvEncoder: _conv_encoder,
    ConvDecoder: _conv_decoder,
    Rescale: _rescale,
    Log1p: _log1p,
    Lowest: _lowest,
    WithoutLast: _without_last,
}
