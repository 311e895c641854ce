"""A model as plain data, and back: no class is ever named by a file that this module does not list."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam import likelihoods, networks, posteriors, priors
from reparam.errors import RunFolderError
from reparam.vae import VAE

# Every class that can be rebuilt. Its constructor's parameters are kept as attributes of the same names.
_OWN: dict[str, Callable[..., nn.Module]] = {
    "VAE": VAE,
    **{f"priors.{n}": getattr(priors, n) for n in priors.__all__},
    **{f"posteriors.{n}": getattr(posteriors, n) for n in posteriors.__all__},
    **{f"likelihoods.{n}": getattr(likelihoods, n) for n in likelihoods.__all__ if n != "Likelihood"},
    **{f"networks.{n}": getattr(networks, n) for n in ("MLP", "ConvEncoder", "ConvDecoder", "Log1p", "Rescale")},
}
_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_TORCH: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features"),
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.ConvTranspose2d: (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "output_padding",
        "dilation",
        "groups",
    ),
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
_OWN_NAMES = {cls: name for name, cls in _OWN.items()}
_HAS_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm)


def describe(value: Any) -> Any:
    """A module as nested tables of plain data; a class that is not listed is described by its name alone."""
    if isinstance(value, Tensor):
        return {"type": "tensor", "shape": list(value.shape)}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if not isinstance(value, nn.Module):
        return value
    cls = type(value)
    if cls in _OWN_NAMES:
        names = [p for p in inspect.signature(cls).parameters if p != "self"]
        return {"type": _OWN_NAMES[cls], **{n: describe(getattr(value, n)) for n in names}}
    return _describe_torch(value)


def _describe_torch(module: nn.Module) -> dict[str, Any]:
    cls = type(module)
    if cls is nn.Sequential:
        names, layers = list(module._modules), {n: describe(m) for n, m in module._modules.items()}
        counted = names == [str(i) for i in range(len(names))]
        return {"type": "torch.nn.Sequential", **({} if counted else {"names": names}), "layers": layers}
    if cls not in _TORCH:
        return {"type": f"unlisted:{cls.__module__}.{cls.__qualname__}"}
    arguments = {n: describe(getattr(module, n)) for n in _TORCH[cls]}
    if cls in _HAS_BIAS:
        arguments["bias"] = module.bias is not None
    return {"type": f"torch.nn.{cls.__name__}", **arguments}


def rebuild(spec: Any) -> Any:
    """The module that ``describe`` described, with fresh weights.

    Raises:
        RunFolderError: for a class that is not listed, or arguments that it does not take.
    """
    if isinstance(spec, list):
        return tuple(rebuild(v) for v in spec)
    if not isinstance(spec, Mapping):
        return spec
    kind = str(spec.get("type"))
    arguments = {name: value for name, value in spec.items() if name != "type"}
    maker = _MAKERS.get(kind)
    if maker is None:
        raise RunFolderError(
            f"the model has a part of class {kind.removeprefix('unlisted:')!r}, which a file cannot rebuild: "
            "build the model in Python as before and call reparam.load(folder, into=vae)"
        )
    try:
        return maker(**{name: value if name == "layers" else rebuild(value) for name, value in arguments.items()})
    except RunFolderError:
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError, AttributeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunFolderError(f"the configuration of {kind} is damaged: {reason}") from error


def _tensor(shape: Sequence[int]) -> Tensor:
    """Its content comes with the weights."""
    return torch.ones(shape)


def _sequential(layers: Mapping[str, Any], names: Sequence[str] = ()) -> nn.Sequential:
    """In the order of the names, whatever the order in the file."""
    order = list(names) or [str(i) for i in range(len(layers))]
    if sorted(order) != sorted(layers):
        raise ValueError(f"its layers are {', '.join(layers)}, not {', '.join(order)}")
    return nn.Sequential(OrderedDict((name, rebuild(layers[name])) for name in order))


_MAKERS: dict[str, Callable[..., Any]] = {
    "tensor": _tensor,
    "torch.nn.Sequential": _sequential,
    **{f"torch.nn.{c.__name__}": c for c in _TORCH},
    **_OWN,
}
