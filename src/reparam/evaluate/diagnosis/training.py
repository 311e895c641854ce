"""What the run itself tells: the weights that its objective ended with, its epochs, and units that never fire."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reparam import schedules
from reparam.data import Dataset
from reparam.evaluate.draws import batches, evaluating, rows_per_call
from reparam.objectives import IWAE, Objective
from reparam.vae import VAE, reference

_SCHEDULE = re.compile(r"\b(\w+)(?:': |=)(Constant|Linear|Cosine|Cyclical)\(([^()]*)\)")
_BETA = re.compile(r"\bbeta(?:': |=)([-+.\de]+)")
_IWAE = re.compile(r"IWAE(?:\(|\{)(?:'?k'?(?:: |=))?(\d+)")
_FIELD = re.compile(r"(\w+)=([-+.\de]+)")


@dataclass(frozen=True)
class Run:
    """How the model came to be, as far as it is known.

    ``records`` are those of a ``History``; ``objective`` is the objective, or its ``repr`` as a run's configuration
    holds it; ``epochs`` how many were planned.
    """

    records: Sequence[Mapping[str, Any]] = ()
    objective: Objective | str | None = None
    epochs: int | None = None

    @property
    def kept(self) -> int | None:
        """The epoch whose weights were kept: that of the best validation objective, else the last."""
        held = [r for r in self.records if math.isfinite(float(r.get("validation_objective", math.nan)))]
        if held:
            return int(max(held, key=lambda r: float(r["validation_objective"]))["epoch"])
        return int(self.records[-1]["epoch"]) if self.records else None

    @property
    def k(self) -> int:
        """Samples of the importance-weighted bound that was trained for: 1 for the ELBO and for what is not known."""
        if isinstance(self.objective, IWAE):
            return self.objective.k
        named = _IWAE.match(self.objective) if isinstance(self.objective, str) else None
        return int(named[1]) if named else 1

    @property
    def done(self) -> float | None:
        """The share of the planned run after which the weights were kept."""
        return min(1.0, self.kept / self.epochs) if self.kept is not None and self.epochs else None

    def moving(self) -> dict[str, schedules.Schedule]:
        """The scheduled weights of the objective, by name."""
        if isinstance(self.objective, Objective):
            return self.objective.schedules()
        found = {}
        for name, kind, inside in _SCHEDULE.findall(self.objective or ""):
            values = {k: float(v) if k != "cycles" else int(v) for k, v in _FIELD.findall(inside)}
            found[name] = getattr(schedules, kind)(**values)
        return found

    @property
    def beta(self) -> float | None:
        """The final weight of the KL, where the objective has one."""
        if self.objective is None:
            return None
        scheduled = self.moving().get("beta")
        if scheduled is not None:
            return scheduled(1.0)
        if isinstance(self.objective, Objective):
            given = getattr(self.objective, "beta", None)
            return None if given is None else float(given)
        found = _BETA.search(self.objective)
        return float(found[1]) if found else None

    def unfinished(self) -> dict[str, tuple[float, float]]:
        """Weights that were not at their final value when the kept ones were found: name -> (then, at the end)."""
        if self.done is None:
            return {}
        ends = {name: (s(self.done), s(1.0)) for name, s in self.moving().items()}
        return {name: (now, end) for name, (now, end) in ends.items() if abs(now - end) > 0.01 * max(abs(end), 1e-12)}

    def falls(self) -> tuple[float, int] | None:
        """(by how many of its typical changes the training objective fell most, the epoch), after the first quarter.

        The typical change is the median size of the change between epochs. None for fewer than 8 epochs.
        """
        values = torch.tensor([float(r.get("train_objective", math.nan)) for r in self.records], dtype=torch.float64)
        if len(values) < 8 or not bool(values.isfinite().all()):
            return None
        change = values.diff()
        late = change[len(change) // 4 :]
        typical = float(change.abs().median())
        where = int(late.argmin())
        return -float(late[where]) / max(typical, 1e-12), where + len(change) // 4 + 2


def gradient_norms(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """The norms of the gradient by epoch (root mean squares over its steps), where the history holds them."""
    return [float(r["grad_norm"]) for r in records if "grad_norm" in r]


def dead_units(vae: VAE, data: Dataset, seed: int = 0) -> dict[str, float]:
    """The share of units that are zero for every row of the data, for each ReLU of encoder and decoder.

    The decoder reads the means of q(z|x).
    """
    alive: dict[str, Tensor] = {}
    hooks = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, given: Any, out: Tensor) -> None:
            fired = (out > 0).flatten(0, 0).any(0)
            alive[name] = alive[name] | fired if name in alive and alive[name].shape == fired.shape else fired

        return look

    for role in ("posterior", "likelihood"):
        for name, module in getattr(vae, role).named_modules():
            if isinstance(module, nn.ReLU):
                hooks.append(module.register_forward_hook(watch(f"{role}.{name}")))
    try:
        if hooks:
            with evaluating(vae):
                for _, x, c in batches(data, reference(vae), rows_per_call(vae, data), seed):
                    vae.likelihood(vae.encode(x, *c), *c)
    finally:
        for hook in hooks:
            hook.remove()
    # of a convolution, a channel is a unit: it is dead where it is so at every place
    return {
        name: 1 - float((fired.flatten(1).any(1) if fired.dim() > 1 else fired).double().mean())
        for name, fired in alive.items()
    }
