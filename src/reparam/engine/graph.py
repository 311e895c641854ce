"""A function of tensors as one graph, compiled by Inductor.

The function is run once on tensors without content, and every operation that it does is recorded, those of its backward
pass included. What it reads besides its arguments, such as attributes of modules, becomes part of the graph: the caller
must trace again when that changes. Random numbers come from torch's own generator, so that a compiled function draws
what the function itself would.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

Compiled = Callable[..., Sequence[Tensor]]
_recordings: list[object] = []


def recording() -> bool:
    """Whether the operations at hand are recorded for a graph: what is fastest there is not what is fastest alone."""
    return bool(_recordings)


class Uncompilable(Exception):
    """Why a function cannot be compiled here, in a few words."""


def compile_graph(
    function: Callable[..., Sequence[Tensor]], example: Sequence[Tensor], freeze: bool = False
) -> Compiled:
    """The function of tensors of exactly these shapes, dtypes, layouts and devices, compiled.

    It may change its arguments in place. Gradients do not pass through it. With ``freeze``, parameters that the
    function reads besides its arguments are kept as they are now, packed for the products.

    Raises:
        Uncompilable: naming what stands in the way. Nothing was computed then.
    """
    device = example[0].device.type
    if device == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        raise Uncompilable("there is no C++ compiler (g++)")
    options = {"fallback_random": True, "cpp_wrapper": device == "cpu", "freezing": freeze}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return _inductor(_recorded(function, example, freeze), example, options)
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise Uncompilable(f"{type(error).__name__}: {reason.strip()[:200]}") from error


def _recorded(
    function: Callable[..., Sequence[Tensor]], example: Sequence[Tensor], freeze: bool
) -> torch.fx.GraphModule:
    _recordings.append(function)
    try:
        return make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=freeze)(*example)
    finally:
        _recordings.pop()


def _inductor(graph: torch.fx.GraphModule, example: Sequence[Tensor], options: dict[str, Any]) -> Compiled:
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx

    with config.patch(options):
        compiled: Any = compile_fx(graph, list(example))
    return cast(Compiled, compiled)
