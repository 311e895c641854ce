"""The run folder while its run trains: what is written when."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reparam.data import Schema
from reparam.errors import RunFolderError
from reparam.run import HISTORY, atomic_write
from reparam.run.folder import write_config, write_weights
from reparam.train import checkpoint
from reparam.train.auxiliary import Auxiliary
from reparam.train.checkpoint import Position, Weights
from reparam.vae import VAE

SAVE_SECONDS = 60.0


class RunWriter:
    """Writes configuration at the start, history at each epoch; weights and checkpoint after the first epoch, each
    minute and at the end. ``earlier`` are settings as earlier versions wrote them.

    Raises:
        RunFolderError: for a path that is a file, or a folder that is not empty unless ``resume``.
    """

    def __init__(
        self,
        path: Path,
        vae: VAE,
        optimizer: torch.optim.Optimizer,
        auxiliary: Auxiliary,
        settings: dict[str, Any],
        resume: bool,
        earlier: Mapping[str, Any],
    ) -> None:
        self.path, self.vae, self.optimizer, self.auxiliary = path, vae, optimizer, auxiliary
        self.settings, self.earlier = settings, earlier
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file: choose a folder for the run")
        if not resume and path.exists() and any(path.iterdir()):
            raise RunFolderError(f"{path} is not empty: choose another folder, or resume the run that is in it")
        self.saved = -math.inf  # so that the first epoch is saved, and a run is usable from then on

    def read(self) -> tuple[Position, Weights | None] | None:
        """The state to resume from, or None where no checkpoint was written yet."""
        return checkpoint.read(self.path, self.vae, self.optimizer, self.auxiliary, self.settings, self.earlier)

    def start(self, config: Mapping[str, Any], schema: Schema, position: Position) -> None:
        """What stands from the first moment: the configuration, and the history up to the checkpoint."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_config(self.vae, self.path, {**config, "train": self.settings}, schema)
        atomic_write(self.path / HISTORY, "".join(map(_line, position.records)))

    def end_epoch(self, record: dict[str, Any], best: Weights | None, position: Position) -> None:
        """One line of history; weights and checkpoint if a minute has passed."""
        with (self.path / HISTORY).open("a", encoding="utf-8") as file:
            file.write(_line(record))
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save(best, position)

    def save(self, best: Weights | None, position: Position) -> None:
        """The weights to use (the best, else the present ones), and everything needed to go on."""
        self.save_weights(best)
        checkpoint.write(self.path, self.vae, self.optimizer, self.auxiliary, best, position, self.settings)
        self.saved = time.monotonic()

    def save_weights(self, weights: Weights | None) -> None:
        """The weights that ``reparam.load`` reads."""
        write_weights(self.vae, self.path, weights)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"
