"""The whole state of a training run, as one file: resumed from it, the run goes on with the same bits."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from reparam.errors import RunFolderError
from reparam.run import read_tensors, write_tensors
from reparam.train.auxiliary import Auxiliary, load_optimizer, optimizer_tensors

FOLDER = Path("checkpoints")
LAST, PREVIOUS = FOLDER / "last.safetensors", FOLDER / "previous.safetensors"
Weights = dict[str, Tensor]


@dataclass
class Position:
    """Where a run stands: whole epochs done, rows done of the next one, and what has been seen so far.

    ``lr_factor`` multiplies the learning rate: 1, and half of that after each of the ``retries``.
    """

    epoch: int = 0
    rows: int = 0
    step: int = 0
    best_value: float | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    sums: list[float] = field(default_factory=list)
    squares: float = 0.0  # the sum over rows of the gradient's squared norm
    records: list[dict[str, Any]] = field(default_factory=list)
    lr_factor: float = 1.0
    retries: int = 0
    notes: list[str] = field(default_factory=list)
    compiled: bool | None = None

    def __post_init__(self) -> None:
        if len(self.sums) == 3:  # checkpoints of reparam 0.1 did not count the penalty
            self.sums.append(0.0)

    def take(self, rows: int) -> None:
        """Count one step on so many rows; ``sums`` follow when they are read from the device."""
        self.step += 1
        self.rows += rows

    def go_back(self, to: Position, step: int, culprit: str, lr: float) -> None:
        """To a good state from before ``step``, at half the learning rate; the person is told."""
        note = (
            f"step {step} (epoch {self.epoch + 1}) was not finite: {culprit}; the run went back to step "
            f"{to.step + 1} and on at half the learning rate, {lr / 2:g}"
        )
        warnings.warn(note, UserWarning, stacklevel=4)
        self.rows, self.step, self.sums, self.squares = to.rows, to.step, to.sums, to.squares
        self.lr_factor, self.retries = self.lr_factor / 2, self.retries + 1
        self.notes.append(note)

    def copy(self) -> dict[str, Any]:
        """What it holds, as plain data that further steps do not change."""
        return {name: list(v) if isinstance(v, list) else v for name, v in vars(self).items()}


def snapshot(module: nn.Module) -> Weights:
    """A copy of the weights."""
    return {name: t.detach().clone() for name, t in module.state_dict().items()}


class State(NamedTuple):
    """A copy of everything that a step changes, to go back to or to be written while training goes on."""

    weights: Weights
    optimizer: Weights
    auxiliary: Weights
    rng: Tensor
    position: dict[str, Any]

    @staticmethod
    def of(module: nn.Module, optimizer: torch.optim.Optimizer, auxiliary: Auxiliary, position: Position) -> State:
        """The present state."""
        moments, beside = ({n: t.detach().clone() for n, t in state.items()} for state in (
            optimizer_tensors(optimizer), auxiliary.state()
        ))  # fmt: skip
        return State(snapshot(module), moments, beside, torch.get_rng_state(), position.copy())

    def put(self, module: nn.Module, optimizer: torch.optim.Optimizer, auxiliary: Auxiliary) -> Position:
        """Make it the state of the module, the optimisers and torch's generator; the position comes back."""
        module.load_state_dict(self.weights)
        load_optimizer(optimizer, {n: t.clone() for n, t in self.optimizer.items()})
        auxiliary.load({n: t.clone() for n, t in self.auxiliary.items()})
        torch.set_rng_state(self.rng)
        return Position(**Position(**self.position).copy())

    def tensors(self) -> Weights:
        """All tensors under the names that they have in the file."""
        named = {f"weights.{n}": t for n, t in self.weights.items()} | {"rng": self.rng}
        named |= {f"auxiliary.{n}": t for n, t in self.auxiliary.items()}
        return named | {f"optimizer.{n}": t for n, t in self.optimizer.items()}

    @staticmethod
    def read(tensors: Mapping[str, Tensor], position: Mapping[str, Any]) -> State:
        """The reverse of ``tensors``; others among them are left alone."""
        groups: dict[str, Weights] = {"weights": {}, "optimizer": {}, "auxiliary": {}}
        for name, tensor in tensors.items():
            head, _, tail = name.partition(".")
            groups.setdefault(head, {})[tail] = tensor
        known = Position(**position).copy()
        return State(groups["weights"], groups["optimizer"], groups["auxiliary"], tensors["rng"], known)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> Weights:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


class Saved(NamedTuple):
    """What a checkpoint holds: the state, the best weights so far, and the epoch's start, for runs that may go back."""

    state: State
    best: Weights | None = None
    start: State | None = None

    def tensors(self) -> Weights:
        """All tensors under the names that they have in the file."""
        named = self.state.tensors() | {f"best.{n}": t for n, t in (self.best or {}).items()}
        return named | {f"start.{n}": t for n, t in (self.start.tensors() if self.start else {}).items()}

    def facts(self) -> dict[str, Any]:
        """The rest. The epoch's start has the records of the state."""
        start = {} if self.start is None else {"start": {**self.start.position, "records": []}}
        return {"position": self.state.position, **start}

    def to_bytes(self) -> bytes:
        """All of it, for another process."""
        return save({n: t.contiguous() for n, t in self.tensors().items()}, {"facts": json.dumps(self.facts())})

    @staticmethod
    def of_bytes(content: bytes) -> Saved:
        """The reverse of ``to_bytes``."""
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["facts"])
        return Saved.read(load(content), facts)

    @staticmethod
    def read(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Saved:
        """The reverse of both."""
        state, start = State.read(tensors, facts["position"]), None
        if "start" in facts:
            position = {**facts["start"], "records": facts["position"]["records"]}
            start = State.read(_under(tensors, "start."), position)
        return Saved(state, _under(tensors, "best.") or None, start)


def write(folder: Path, saved: Saved, settings: Mapping[str, Any], keep: bool = True) -> None:
    """Write it to ``checkpoints/last.safetensors``; what was there becomes ``previous.safetensors``.

    A reader, or a crash at any moment, finds at least one of the two whole. Without ``keep`` the file that is there is
    replaced: it is known to be damaged, and may not drive out a good one.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    if keep and (folder / LAST).exists():
        os.replace(folder / LAST, folder / PREVIOUS)
    write_tensors(folder / LAST, saved.tensors(), {**saved.facts(), "settings": dict(settings)})


def exists(folder: Path) -> bool:
    """Whether a checkpoint has been written."""
    return (folder / LAST).exists() or (folder / PREVIOUS).exists()


class Found(NamedTuple):
    """A checkpoint that could be read, and whether it is the latest."""

    saved: Saved
    latest: bool


def read(folder: Path, settings: Mapping[str, Any], earlier: Mapping[str, Any]) -> Found | None:
    """The latest checkpoint that is whole, or None where none was written yet.

    Where the latest is damaged, a warning says so and the one before is used. ``earlier`` are settings as earlier
    versions wrote them.

    Raises:
        RunFolderError: where no checkpoint is whole, or it is of a run with other settings.
    """
    damage: list[RunFolderError] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            tensors, facts = read_tensors(path)
            saved, written = _parsed(path, tensors, facts)
        except RunFolderError as error:
            damage.append(error)
            continue
        _refuse_other(folder, written, settings, earlier)
        if damage:
            warnings.warn(
                f"{damage[0]}; going on from the checkpoint before it, after epoch {saved.state.position['epoch']}",
                UserWarning,
                stacklevel=2,
            )
        return Found(saved, latest=path == folder / LAST)
    if damage:
        raise RunFolderError(f"no checkpoint of {folder} can be read, the weights may still load: {damage[0]}")
    return None


def _parsed(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> tuple[Saved, dict[str, Any]]:
    try:
        return Saved.read(tensors, facts), dict(facts["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path} is damaged, or was written by another version") from error


def _refuse_other(
    folder: Path, written: Mapping[str, Any], settings: Mapping[str, Any], earlier: Mapping[str, Any]
) -> None:
    changed = [k for k, v in settings.items() if k != "epochs" and written.get(k) not in (v, earlier.get(k, v))]
    if changed:
        was = ", ".join(f"{k} = {written.get(k)!r} (now {settings[k]!r})" for k in changed)
        raise RunFolderError(f"the run in {folder} was started with {was}: resume it with the same settings")
