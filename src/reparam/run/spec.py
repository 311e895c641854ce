"""A model as plain data, and back: no class is ever named by a file that this module does not list."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam import likelihoods, networks, posteriors, priors, schedules
from reparam.calls import TORCH, arguments
from reparam.errors import RunFolderError
from reparam.schedules import Schedule
from reparam.vae import VAE

_NETWORKS = (
    "MLP", "Cells", "ConvEncoder", "ConvDecoder", "Floored", "Log1p", "Lowest", "Rescale", "SetEncoder", "WithoutLast",
)  # fmt: skip
# Every class that can be rebuilt. Its constructor's parameters are kept as attributes of the same names.
_OWN: dict[str, Callable[..., nn.Module]] = {
    "VAE": VAE,
    **{f"priors.{n}": getattr(priors, n) for n in priors.__all__},
    **{f"posteriors.{n}": getattr(posteriors, n) for n in posteriors.__all__ if n != "Posterior"},
    **{f"likelihoods.{n}": getattr(likelihoods, n) for n in likelihoods.__all__ if n != "Likelihood"},
    **{f"networks.{n}": getattr(networks, n) for n in _NETWORKS},
}
_SCHEDULES = {f"schedules.{n}": getattr(schedules, n) for n in schedules.__all__ if n != "Schedule"}
_OWN_NAMES = {cls: name for name, cls in _OWN.items()}


_Path = tuple[str, ...]


def describe(value: Any) -> Any:
    """A module as nested tables of plain data; a class that is not listed is described by its name alone.

    A module that stands in it more than once is described where it stands highest, and elsewhere by a reference to that
    place, so that it is one module again when rebuilt.
    """
    homes: dict[nn.Module, _Path] = {}
    waiting: list[tuple[_Path, Any]] = [((), value)]
    for path, each in waiting:  # breadth first: what it meets is appended while it runs
        if not (isinstance(each, nn.Module) and each in homes):
            waiting.extend(((*path, name), inner) for name, inner in _inside(each).items())
        if isinstance(each, nn.Module):
            homes.setdefault(each, path)
    return _describe(value, (), homes)


def _describe(value: Any, path: _Path, homes: Mapping[nn.Module, _Path]) -> Any:
    if isinstance(value, Tensor):
        return {"type": "tensor", "shape": list(value.shape)}
    if isinstance(value, nn.Module) and homes[value] != path:
        return {"type": "shared", "at": ".".join(homes[value])}
    inside = {name: _describe(inner, (*path, name), homes) for name, inner in _inside(value).items()}
    if isinstance(value, list | tuple):
        return list(inside.values())
    return inside if isinstance(value, nn.Module | Mapping | Schedule) else value


def _inside(value: Any) -> dict[str, Any]:
    """What a module, table or list consists of, by name."""
    if isinstance(value, list | tuple):
        return {str(i): v for i, v in enumerate(value)}
    if isinstance(value, Mapping):
        return dict(value)
    cls = type(value)
    if isinstance(value, Schedule):
        name = f"schedules.{cls.__name__}"
        return {"type": name, **vars(value)} if _SCHEDULES.get(name) is cls else {"type": _unlisted(cls)}
    if not isinstance(value, nn.Module):
        return {}
    if cls in _OWN_NAMES:
        return {"type": _OWN_NAMES[cls], **arguments(value)}
    return _inside_torch(value)


def _unlisted(cls: type) -> str:
    return f"unlisted:{cls.__module__}.{cls.__qualname__}"


def _inside_torch(module: nn.Module) -> dict[str, Any]:
    cls = type(module)
    if cls is nn.Sequential:
        names, layers = list(module._modules), dict(module._modules)
        counted = names == [str(i) for i in range(len(names))]
        return {"type": "torch.nn.Sequential", **({} if counted else {"names": names}), "layers": layers}
    if cls not in TORCH:
        return {"type": _unlisted(cls)}
    return {"type": f"torch.nn.{cls.__name__}", **arguments(module)}


def rebuild(spec: Any) -> Any:
    """The module that ``describe`` described, with fresh weights.

    Raises:
        RunFolderError: for a class that is not listed, or arguments that it does not take.
    """
    return _Rebuilding(spec).part((), spec)


class _Rebuilding:
    """One description on its way to modules; each place in it becomes one module, however often it is referred to."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.built: dict[_Path, Any] = {}
        self.begun: set[_Path] = set()

    def part(self, path: _Path, spec: Any) -> Any:
        if isinstance(spec, list):
            return tuple(self.part((*path, str(i)), v) for i, v in enumerate(spec))
        if not isinstance(spec, Mapping):
            return spec
        if spec.get("type") == "shared":
            return self.shared(str(spec.get("at")))
        if path not in self.built:
            if path in self.begun:
                raise RunFolderError(f"the configuration is damaged: {'.'.join(path)!r} is a part of itself")
            self.begun.add(path)
            self.built[path] = self.module(path, spec)
        return self.built[path]

    def shared(self, place: str) -> Any:
        spec, path = self.root, tuple(place.split("."))
        for name in path:
            if isinstance(spec, list):
                spec = dict(zip(map(str, range(len(spec))), spec, strict=True))
            if not isinstance(spec, Mapping) or name not in spec:
                raise RunFolderError(f"the configuration is damaged: it refers to {place!r}, which it does not have")
            spec = spec[name]
        if not isinstance(spec, Mapping) or spec.get("type") == "shared":
            raise RunFolderError(f"the configuration is damaged: it refers to {place!r}, which is no part")
        return self.part(path, spec)

    def module(self, path: _Path, spec: Mapping[str, Any]) -> Any:
        kind = str(spec.get("type"))
        maker = _MAKERS.get(kind)
        if maker is None:
            raise RunFolderError(
                f"the model has a part of class {kind.removeprefix('unlisted:')!r}, which a file cannot rebuild: "
                "build the model in Python as before and call reparam.load(folder, into=vae)"
            )
        arguments = {name: self.argument((*path, name), v) for name, v in spec.items() if name != "type"}
        try:
            return maker(**arguments)
        except RunFolderError:
            raise
        except (
            TypeError, ValueError, RuntimeError, LookupError, ArithmeticError, AttributeError, AssertionError,
        ) as error:  # fmt: skip
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunFolderError(f"the configuration of {kind} is damaged: {reason}") from error

    def argument(self, path: _Path, value: Any) -> Any:
        if path[-1] == "layers" and isinstance(value, Mapping):
            return {name: self.part((*path, name), layer) for name, layer in value.items()}
        return self.part(path, value)


def _tensor(shape: Sequence[int]) -> Tensor:
    """Its content comes with the weights."""
    return torch.ones(shape)


def _sequential(layers: Mapping[str, nn.Module], names: Sequence[str] = ()) -> nn.Sequential:
    """In the order of the names, whatever the order in the file."""
    order = list(names) or [str(i) for i in range(len(layers))]
    if sorted(order) != sorted(layers):
        raise ValueError(f"its layers are {', '.join(layers)}, not {', '.join(order)}")
    return nn.Sequential(OrderedDict((name, layers[name]) for name in order))


_MAKERS: dict[str, Callable[..., Any]] = {
    "tensor": _tensor,
    "torch.nn.Sequential": _sequential,
    **{f"torch.nn.{c.__name__}": c for c in TORCH},
    **_OWN,
    **_SCHEDULES,
}
