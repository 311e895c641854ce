"""What happened during training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from reparam.conditional import schedules
from reparam.objectives import Objective
from reparam.schedules import Schedule, Weight
from reparam.vae import VAE


@dataclass(repr=False)
class History:
    """One record for each epoch, and how training ended.

    A record has ``epoch``, ``step`` (optimiser steps so far), ``train_objective``, ``train_reconstruction`` and
    ``train_kl`` (means over the epoch's rows, nats), the same three as ``validation_...`` where there is validation,
    ``train_penalty`` (the mean of what the steps subtracted beside, by the weights of their moments; 0 without
    penalties), for a hierarchy ``train_kl_layers`` (what each layer adds to the KL, the top layer first),
    ``grad_norm`` (the root mean square over the epoch's steps of the gradient's norm, before clipping),
    ``scheduled_...`` (each weight, and ``lr``, that a schedule changes, at the epoch's end), ``best_epoch`` (so far),
    ``seconds`` and ``rows_per_second``. ``history["train_objective"]`` is the list over epochs. ``notes`` are sentences
    about how it ended that a person should read. ``sign`` is -1 where the least objective is the best, as of upper
    bounds.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: Literal["finished", "early", "interrupted"] = "finished"
    notes: list[str] = field(default_factory=list)
    sign: Literal[1, -1] = 1

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)

    def __getitem__(self, key: str) -> list[Any]:
        return [record[key] for record in self.records]

    def __repr__(self) -> str:
        best = self.best
        if best is None:
            return f"History({len(self)} epochs)"
        kind = "validation" if "validation_objective" in best else "train"
        kept = f"best {self.best_epoch}: {kind} objective {best[f'{kind}_objective']:.2f} nats"
        return f"History({len(self)} epochs, {kept}, {self.stopped})"

    @property
    def best(self) -> dict[str, Any] | None:
        """The record of the epoch whose weights were kept."""
        return next((r for r in self.records if r["epoch"] == self.best_epoch), None)

    def summary(self, epoch: int, epochs: int) -> str:
        """Where training stands, in a few words."""
        where = f"epoch {min(epoch + 1, epochs)}/{epochs}"
        if not self.records:
            return where
        last = self.records[-1]
        kind = "validation" if "validation_objective" in last else "train"
        return f"{where}  {kind} {last[f'{kind}_objective']:.2f} nats"


def scheduled(vae: VAE, objective: Objective, lr: Weight, progress: float) -> dict[str, float]:
    """What a record says of schedules, of the objective and of the model: their values at this moment of the run."""
    moving = schedules(vae) | objective.schedules() | ({"lr": lr} if isinstance(lr, Schedule) else {})
    return {f"scheduled_{name}": schedule(progress) for name, schedule in moving.items()}
