"""The whole state of a training run, as one file: resumed from it, the run goes on with the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reparam.errors import RunFolderError
from reparam.run import read_tensors, write_tensors
from reparam.train.auxiliary import Auxiliary, load_optimizer, optimizer_tensors

_FILE = Path("checkpoints") / "last.safetensors"
Weights = dict[str, Tensor]


@dataclass
class Position:
    """Where a run stands: whole epochs done, rows done of the next one, and what has been seen so far."""

    epoch: int = 0
    rows: int = 0
    step: int = 0
    best_value: float | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    records: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sums += [0.0] * (4 - len(self.sums))  # checkpoints of reparam 0.1 did not count the penalty

    def take(self, rows: int, terms: list[float]) -> None:
        """Count one step on so many rows, whose mean terms are given."""
        self.step += 1
        self.rows += rows
        self.sums = [total + rows * term for total, term in zip(self.sums, terms, strict=True)]


def snapshot(module: nn.Module) -> Weights:
    """A copy of the weights."""
    return {name: t.detach().clone() for name, t in module.state_dict().items()}


def write(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, auxiliary: Auxiliary, best: Weights | None,
    position: Position, settings: dict[str, Any],
) -> None:  # fmt: skip
    """Write the state to ``checkpoints/last.safetensors``, atomically."""
    tensors = {f"weights.{n}": t for n, t in module.state_dict().items()}
    tensors |= {f"best.{n}": t for n, t in (best or {}).items()}
    tensors |= {f"optimizer.{n}": t for n, t in optimizer_tensors(optimizer).items()}
    tensors |= {f"auxiliary.{n}": t for n, t in auxiliary.state().items()}
    tensors["rng"] = torch.get_rng_state()
    (folder / _FILE).parent.mkdir(exist_ok=True)
    write_tensors(folder / _FILE, tensors, {"position": vars(position), "settings": settings})


def read(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    auxiliary: Auxiliary,
    settings: dict[str, Any],
    earlier: Mapping[str, Any],
) -> tuple[Position, Weights | None] | None:
    """Put the state of the folder's checkpoint into the module, the optimisers and torch's generator.

    Returns None where there is no checkpoint yet. ``earlier`` are settings as earlier versions wrote them.

    Raises:
        RunFolderError: for a damaged checkpoint, or one of a run with other settings.
    """
    if not (folder / _FILE).exists():
        return None
    tensors, facts = read_tensors(folder / _FILE)
    written = facts["settings"]
    if not isinstance(written, dict) or not isinstance(facts["position"], dict):
        raise RunFolderError(f"{folder / _FILE} is damaged")
    changed = [k for k, v in settings.items() if k != "epochs" and written.get(k) not in (v, earlier.get(k, v))]
    if changed:
        was = ", ".join(f"{k} = {written.get(k)!r} (now {settings[k]!r})" for k in changed)
        raise RunFolderError(f"the run in {folder} was started with {was}: resume it with the same settings")
    groups: dict[str, Weights] = {"weights": {}, "best": {}, "optimizer": {}, "auxiliary": {}}
    for name, tensor in tensors.items():
        head, _, tail = name.partition(".")
        groups.setdefault(head, {})[tail] = tensor
    module.load_state_dict(groups["weights"])
    load_optimizer(optimizer, groups["optimizer"])
    auxiliary.load(groups["auxiliary"])
    torch.set_rng_state(tensors["rng"])
    return Position(**facts["position"]), groups["best"] or None
