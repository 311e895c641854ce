"""A model as plain data, and back: no class is ever named by a file that this module does not list."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
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
    **{f"networks.{n}": getattr(networks, n) for n in ("MLP", "ConvEncoder", "ConvDecoder", "Rescale")},
}
_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
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
        "groups",
    ),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Unflatten: ("dim", "unflattened_size"),
    nn.LayerNorm: ("normalized_shape", "eps"),
    nn.GroupNorm: ("num_groups", "num_channels", "eps"),
    nn.Dropout: ("p",),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.Softplus: ("beta", "threshold"),
    nn.GELU: ("approximate",),
    **{c: () for c in (nn.ReLU, nn.Tanh, nn.SiLU, nn.Sigmoid, nn.Identity, nn.Softsign, nn.Mish)},
}
_TORCH_NAMES = {f"torch.nn.{c.__name__}": c for c in (*_TORCH, nn.Sequential)}
_OWN_NAMES = {cls: name for name, cls in _OWN.items()}
_HAS_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


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
    if cls is nn.Sequential:
        return {"type": "torch.nn.Sequential", "layers": {str(i): describe(m) for i, m in enumerate(value)}}
    if cls in _TORCH:
        arguments = {n: describe(getattr(value, n)) for n in _TORCH[cls]}
        if isinstance(value, _HAS_BIAS):
            arguments["bias"] = value.bias is not None
        return {"type": f"torch.nn.{cls.__name__}", **arguments}
    return {"type": f"unlisted:{cls.__module__}.{cls.__qualname__}"}


def rebuild(spec: Any) -> Any:
    """The module that ``describe`` described, with fresh weights.

    Raises:
        RunFolderError: for a class that is not listed, or arguments that it does not take.
    """
    if isinstance(spec, list):
        return tuple(rebuild(v) for v in spec)
    if not isinstance(spec, Mapping):
        return spec
    kind = spec.get("type")
    arguments = {name: value for name, value in spec.items() if name != "type"}
    if kind == "tensor":
        return torch.ones(arguments["shape"])
    if kind == "torch.nn.Sequential":
        return nn.Sequential(*(rebuild(layer) for layer in arguments["layers"].values()))
    maker = _OWN.get(str(kind)) or _TORCH_NAMES.get(str(kind))
    if maker is None:
        raise RunFolderError(
            f"the model has a part of class {str(kind).removeprefix('unlisted:')!r}, which a file cannot rebuild: "
            "build the model in Python as before and call reparam.load(folder, into=vae)"
        )
    try:
        return maker(**{name: rebuild(value) for name, value in arguments.items()})
    except (TypeError, ValueError, RuntimeError) as error:
        raise RunFolderError(f"the configuration of {kind} is damaged: {error}") from error
