"""The whole state of a training run, as one file: resumed from it, the run goes on with the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reparam.errors import RunFolderError
from reparam.run import read_tensors, write_tensors

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
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    records: list[dict[str, Any]] = field(default_factory=list)
    compiled: bool | None = None

    def take(self, rows: int) -> None:
        """Count one step on so many rows; ``sums`` follow when they are read from the device."""
        self.step += 1
        self.rows += rows


def snapshot(module: nn.Module) -> Weights:
    """A copy of the weights."""
    return {name: t.detach().clone() for name, t in module.state_dict().items()}


def write(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, best: Weights | None, position: Position,
    settings: dict[str, Any],
) -> None:  # fmt: skip
    """Write the state to ``checkpoints/last.safetensors``, atomically."""
    tensors = {f"weights.{n}": t for n, t in module.state_dict().items()}
    tensors |= {f"best.{n}": t for n, t in (best or {}).items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{n}": t for n, t in state.items()}
    tensors["rng"] = torch.get_rng_state()
    (folder / _FILE).parent.mkdir(exist_ok=True)
    write_tensors(folder / _FILE, tensors, {"position": vars(position), "settings": settings})


def read(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> tuple[Position, Weights | None] | None:
    """Put the state of the folder's checkpoint into the module, the optimiser and torch's generator.

    Returns None where there is no checkpoint yet.

    Raises:
        RunFolderError: for a damaged checkpoint, or one of a run with other settings.
    """
    if not (folder / _FILE).exists():
        return None
    tensors, facts = read_tensors(folder / _FILE)
    written = facts["settings"]
    if not isinstance(written, dict) or not isinstance(facts["position"], dict):
        raise RunFolderError(f"{folder / _FILE} is damaged")
    changed = [k for k in settings if k != "epochs" and written.get(k) != settings[k]]
    if changed:
        was = ", ".join(f"{k} = {written.get(k)!r} (now {settings[k]!r})" for k in changed)
        raise RunFolderError(f"the run in {folder} was started with {was}: resume it with the same settings")
    groups: dict[str, Weights] = {"weights": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        head, _, tail = name.partition(".")
        groups.setdefault(head, {})[tail] = tensor
    module.load_state_dict(groups["weights"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimizer"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["rng"])
    return Position(**facts["position"]), groups["best"] or None
