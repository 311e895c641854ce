"""Optimisers by name or factory, and what a step does with gradients: clipping, Adam in one call, a mean of weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from reparam.engine import recording
from reparam.errors import InputError, nearest
from reparam.train.auxiliary import load_optimizer, optimizer_tensors

Factory = Callable[..., torch.optim.Optimizer]


class _Undecorated(torch.optim.Optimizer):
    """torch's own, called past a decorator that imports torch's compiler: longer than a short run itself takes."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """That of torch."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def state_dict(self) -> dict[str, Any]:
        """That of torch."""
        state: dict[str, Any] = inspect.unwrap(torch.optim.Optimizer.state_dict)(self)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """That of torch."""
        inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, state_dict)


class _Adam(_Undecorated, torch.optim.Adam): ...


class _AdamW(_Undecorated, torch.optim.AdamW): ...


_ADAMS = (_Adam, _AdamW, torch.optim.Adam, torch.optim.AdamW)
OPTIMIZERS: dict[str, Factory] = {
    "adam": _Adam,
    "adamw": _AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
}


def make(optimizer: str | Factory | torch.optim.Optimizer, module: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimiser of the module's parameters: itself, a name of :data:`OPTIMIZERS`, or what a factory makes.

    A factory is called as ``f(parameters, lr=lr)``: a class of torch.optim is one, as is
    ``functools.partial(torch.optim.SGD, momentum=0.9)``.

    Raises:
        InputError: for an unknown name, or a factory that makes something else.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {optimizer!r}: {nearest(optimizer, OPTIMIZERS)}")
    factory = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    more = {"fused": True} if factory in _ADAMS else {}
    made = factory(module.parameters(), lr=lr, **more)
    if not isinstance(made, torch.optim.Optimizer):
        raise InputError(f"optimizer makes a {type(made).__name__}, not a torch.optim.Optimizer")
    return made


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """A copy of what the optimiser has learned of each weight, under flat names."""
    return {name: t.detach().clone() for name, t in optimizer_tensors(optimizer).items()}


def put_moments(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Give the optimiser a copy of what :func:`moments` gave."""
    load_optimizer(optimizer, {name: t.clone() for name, t in flat.items()})


def describe(optimizer: str | Factory | torch.optim.Optimizer) -> str:
    """A short text for the settings of a run."""
    if isinstance(optimizer, torch.optim.Optimizer):
        return type(optimizer).__name__
    if isinstance(optimizer, str):
        return optimizer
    inner, more = getattr(optimizer, "func", optimizer), getattr(optimizer, "keywords", {})
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{name}{dict(sorted(more.items())) or ''}"


class Adam:
    """What torch.optim.Adam and AdamW do with one group of parameters, on the optimiser's own state.

    ``step`` is one fused call of torch, without the bookkeeping that costs a small model a tenth of its step;
    ``traced`` is the same in plain operations, for a compiled graph.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.group = optimizer, optimizer.param_groups[0]
        self.cache: tuple[list[Tensor], ...] = ()

    @staticmethod
    def serves(optimizer: torch.optim.Optimizer) -> bool:
        """Whether this optimiser is one that it can stand for."""
        if type(optimizer) not in _ADAMS or len(optimizer.param_groups) != 1:
            return False
        group = optimizer.param_groups[0]
        return bool(group["fused"]) and not group["amsgrad"] and not group["maximize"]

    def state(self, parameters: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Both moments and the step counts of these parameters, made where they are missing."""
        if not self.cache or len(self.cache[0]) != len(parameters):
            of = self.optimizer.state
            for p in parameters:
                if "step" not in of[p]:
                    of[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
                    of[p]["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                    of[p]["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            self.cache = tuple([of[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq", "step"))
        return self.cache[0], self.cache[1], self.cache[2]

    def step(self, parameters: list[Tensor], gradients: list[Tensor], lr: float, halt: Tensor) -> None:
        """One step, which changes nothing where ``halt`` is 1."""
        first, second, counts = self.state(parameters)
        torch._foreach_add_(counts, 1)
        fused = torch._fused_adamw_ if self.group.get("decoupled_weight_decay") else torch._fused_adam_
        fused(
            parameters, gradients, first, second, [], counts, lr=lr, beta1=self.group["betas"][0],
            beta2=self.group["betas"][1], weight_decay=self.group["weight_decay"], eps=self.group["eps"],
            amsgrad=False, maximize=False, grad_scale=None, found_inf=halt,
        )  # fmt: skip

    def knobs(self, lr: float, count: int) -> list[float]:
        """The numbers of step ``count`` that :meth:`traced` takes."""
        (b1, b2), decay = self.group["betas"], self.group["weight_decay"]
        return [lr / (1 - b1**count), 1 / math.sqrt(1 - b2**count), 1 - lr * decay]

    def traced(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], state: Sequence[Sequence[Tensor]],
        knobs: Tensor, halt: Tensor,
    ) -> None:  # fmt: skip
        """One step in place, which changes nothing where ``halt`` is true."""
        (b1, b2), eps, decay = self.group["betas"], self.group["eps"], self.group["weight_decay"]
        decoupled = self.group.get("decoupled_weight_decay", False)
        rate, unbias, keep = knobs[0], knobs[1], knobs[2]
        for p, g, m, v in zip(parameters, gradients, state[0], state[1], strict=True):
            grad = g + decay * p if decay and not decoupled else g
            first, second = m.lerp(grad, 1 - b1), v * b2 + grad * grad * (1 - b2)
            start = p * keep if decay and decoupled else p
            new = start - rate * first / (second.sqrt() * unbias + eps)
            for old, changed in ((p, new), (m, first), (v, second)):
                old.copy_(torch.where(halt, old, changed))


def common_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together."""
    if recording():
        return torch.stack([g.norm() for g in gradients]).norm()
    return torch.stack([torch.dot(g, g) for g in (g.flatten() for g in gradients)]).sum().sqrt()


def clip_by_norm(gradients: Sequence[Tensor], norm: Tensor, most: float) -> list[Tensor]:
    """The gradients, scaled so that their common ``norm`` becomes at most ``most`` (Pascanu et al. 2013)."""
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    return [g * factor for g in gradients]


class Average:
    """The exponential moving average of weights, kept in the optimiser's state.

    After step t it moves by 1 - min(decay, (1 + t) / (10 + t)) towards the weights: the first ones are forgotten.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float) -> None:
        self.optimizer, self.decay = optimizer, decay

    def rate(self, count: int) -> float:
        """How far the average moves at step ``count``."""
        return 1 - min(self.decay, (1 + count) / (10 + count))

    def state(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """The averages; they start at the weights after the first step, when the optimiser has made its own state."""
        of = self.optimizer.state
        for p in parameters:
            if "ema" not in of[p]:
                of[p]["ema"] = p.detach().clone()
        return [of[p]["ema"] for p in parameters]

    def step(self, parameters: Sequence[Tensor], count: int) -> None:
        """Move the averages."""
        with torch.no_grad():
            torch._foreach_lerp_(self.state(parameters), list(parameters), self.rate(count))

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The averages are the model's weights inside the block."""
        pairs = [(p, s["ema"]) for p, s in self.optimizer.state.items() if "ema" in s]
        self._swap(pairs)
        try:
            yield
        finally:
            self._swap(pairs)

    @staticmethod
    @torch.no_grad()
    def _swap(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        for p, average in pairs:
            kept = p.clone()
            p.copy_(average)
            average.copy_(kept)
