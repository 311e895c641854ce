"""An object as the call that makes it: its arguments by name, and the Python expression.

One mechanism behind two faces: ``run.spec`` writes arguments to files, and ``repr`` prints them as an expression.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
TORCH: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features"),
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.ConvTranspose2d: (*_CONV[:5], "output_padding", "dilation", "groups"),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Unflatten: ("dim", "unflattened_size"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
    nn.Dropout: ("p",),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.Softplus: ("beta", "threshold"),
    nn.GELU: ("approximate",),
    **dict.fromkeys((nn.ReLU, nn.Tanh, nn.SiLU, nn.Sigmoid, nn.Identity, nn.Softsign, nn.Mish), ()),
}
_HAS_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm)
_SHOWN = 16  # numbers of a tensor that an expression shows


def arguments(value: Any) -> dict[str, Any]:
    """The arguments of the constructor, by name: attributes of the same names, or of those that ``kept_as`` gives.

    Raises:
        AttributeError: if a parameter is not kept as an attribute.
    """
    if type(value) in TORCH:
        found = {name: getattr(value, name) for name in TORCH[type(value)]}
        return found | ({"bias": value.bias is not None} if type(value) in _HAS_BIAS else {})
    kept_as = getattr(value, "kept_as", {})
    return {name: getattr(value, kept_as.get(name, name)) for name in inspect.signature(type(value)).parameters}


class Written:
    """Objects whose ``repr`` is the call that makes them: see :func:`expression`.

    ``kept_as`` names the attribute that keeps a parameter where it has another name, ``written_as`` the function that
    is called where it is not the class.
    """

    kept_as: ClassVar[Mapping[str, str]] = {}
    written_as: ClassVar[str] = ""

    def __repr__(self) -> str:
        try:
            return call(self)
        except (AttributeError, ValueError):  # a class of one's own, whose arguments are not kept
            return super().__repr__()


def expression(value: Any) -> str:
    """``value`` as a Python expression that makes it anew, with fresh weights.

    Names are those of ``import torch`` and ``from reparam import likelihoods, posteriors, priors, networks``;
    objectives, penalties and schedules stand by their own. Arguments at their defaults are left out. Of a tensor with
    more than 16 numbers only the shape is told, as ``torch.ones(shape)``.
    """
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, list | tuple):
        inner = ", ".join(map(expression, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if type(value) is nn.Sequential:
        return _sequential(value)
    return call(value) if type(value) in TORCH else repr(value)


def call(value: Any) -> str:
    """The call of the constructor: required arguments by place, others by name where they differ from their default."""
    parameters = inspect.signature(type(value)).parameters
    words = []
    for name, given in arguments(value).items():
        default = parameters[name].default if name in parameters else True  # bias of torch's layers
        if default is inspect.Parameter.empty:
            words.append(expression(given))
        elif not _same(given, default):
            words.append(f"{name}={expression(given)}")
    return f"{_name(value)}({', '.join(words)})"


def _name(value: Any) -> str:
    cls = type(value)
    if cls in TORCH:
        return f"torch.nn.{cls.__name__}"
    if value.written_as:
        return str(value.written_as)
    package, room, *_ = (*cls.__module__.split("."), "")
    return f"{room}.{cls.__name__}" if package == "reparam" and isinstance(value, nn.Module) else cls.__name__


def _same(given: Any, default: Any) -> bool:
    if isinstance(given, list | tuple) and isinstance(default, list | tuple):
        return list(given) == list(default)
    return type(given) is type(default) and bool(given == default)


def _tensor(value: Tensor) -> str:
    if value.numel() > _SHOWN:
        return f"torch.ones({tuple(value.shape)})"
    kind = "" if value.dtype == torch.get_default_dtype() else f", dtype={value.dtype}"
    array = value.detach().cpu()
    return f"torch.tensor({_numbers((array if array.dtype == torch.float64 else array.float()).numpy())}{kind})"


def _numbers(array: np.ndarray | np.generic) -> str:
    return f"[{', '.join(map(_numbers, array))}]" if isinstance(array, np.ndarray) and array.ndim else str(array)


def _sequential(value: nn.Sequential) -> str:
    layers: Mapping[str, nn.Module] = dict(value.named_children())
    if list(layers) == [str(i) for i in range(len(layers))]:
        return f"torch.nn.Sequential({', '.join(map(expression, layers.values()))})"
    pairs = ", ".join(f"({name!r}, {expression(layer)})" for name, layer in layers.items())
    return f"torch.nn.Sequential(collections.OrderedDict([{pairs}]))"
