"""The run folder while its run trains: what is written when, in the background, and what happens when it cannot be."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from reparam.data import Schema
from reparam.errors import RunFolderError, SaveError
from reparam.run import HISTORY, FolderLock, atomic_write
from reparam.run.folder import write_config, write_weights
from reparam.train import checkpoint
from reparam.train.auxiliary import Auxiliary
from reparam.train.checkpoint import Position, State, Weights
from reparam.vae import VAE


class RunWriter:
    """Writes configuration at the start and history at each epoch; weights and checkpoint after the first epoch, each
    ``seconds``, within epochs too, and at the end.

    Weights and checkpoints are copied at once and written by a thread, one at a time, while training goes on. The
    folder is locked until the writer is left. ``earlier`` are settings as earlier versions wrote them.

    Raises:
        RunFolderError: for a path that is a file, a folder that is not empty unless ``resume``, one in which another
            process trains, or one that cannot be written to.
        SaveError: while training, when the folder can no longer be written to.
    """

    def __init__(
        self, path: Path, vae: VAE, optimizer: torch.optim.Optimizer, auxiliary: Auxiliary, settings: dict[str, Any],
        earlier: Mapping[str, Any], resume: bool, seconds: float = 60.0,
    ) -> None:  # fmt: skip
        self.path, self.vae, self.optimizer, self.auxiliary = path, vae, optimizer, auxiliary
        self.settings, self.earlier, self.seconds = settings, earlier, seconds
        self.lock = FolderLock(path)
        self.saved, self.usable = time.monotonic(), resume
        self.keep = True  # whether the checkpoint that is there is good
        self._beginning: tuple[Mapping[str, Any], Schema] | None = None
        self._thread = ThreadPoolExecutor(1, "reparam-writer")
        self._pending: Future[None] | None = None
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file: choose a folder for the run")
        if not resume and path.exists() and any(path.iterdir()):
            raise RunFolderError(f"{path} is not empty: choose another folder, or resume the run that is in it")
        if path.exists():
            self.lock.take()

    def read(self) -> tuple[Position, checkpoint.Saved] | None:
        """Put model, optimisers and torch's generator into the state to resume from; None where there is none."""
        found = checkpoint.read(self.path, self.settings, self.earlier)
        if found is None:
            return None
        self.keep = found.latest
        return found.saved.state.put(self.vae, self.optimizer, self.auxiliary), found.saved

    def start(self, config: Mapping[str, Any], schema: Schema, position: Position) -> None:
        """What stands from the first moment: the configuration, and the history up to the checkpoint."""
        self._beginning = {**config, "train": self.settings}, schema
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.take()
            self._remove_leftovers()
            self._begin(position.records)
        except OSError as error:
            raise RunFolderError(
                f"cannot write to the folder {self.path}: {error.strerror or error}; choose another, or mend that"
            ) from error

    def end_epoch(self, record: dict[str, Any], best: Weights | None, position: Position) -> None:
        """One line of history; weights and checkpoint when they are due, and after the first epoch. The first ones are
        waited for: the run is usable before its second epoch ends.
        """
        self._begin_again_if_vanished(position.records[:-1])
        with self._reported(), (self.path / HISTORY).open("a", encoding="utf-8") as file:
            file.write(_line(record))
        first = not self.usable
        if first or self.due():
            self.save(best, position)
        if first:
            self.wait()

    def due(self) -> bool:
        """Whether the last save is longer ago than it should be."""
        return time.monotonic() - self.saved > self.seconds

    def save(self, best: Weights | None, position: Position, start: State | None = None) -> None:
        """The weights to use (the best, else the present ones), and everything needed to go on, in the background.

        ``start`` is the state at the epoch's start, where the run may go back to it.
        """
        self.wait()
        self._begin_again_if_vanished(position.records)
        state = State.of(self.vae, self.optimizer, self.auxiliary, position)
        self._pending = self._thread.submit(self._write, checkpoint.Saved(state, best, start))
        self.saved, self.usable = time.monotonic(), True

    def save_weights(self, weights: Weights) -> None:
        """The weights that ``reparam.load`` reads, now."""
        self.wait()
        with self._reported():
            write_weights(self.vae, self.path, weights)

    def wait(self) -> None:
        """Until everything is on disk.

        Raises:
            SaveError: if it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            with self._reported():
                pending.result()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread after what it is at, and let others into the folder."""
        try:
            if error is None:
                self.wait()
        finally:
            self._thread.shutdown()
            self.lock.release()

    def _write(self, saved: checkpoint.Saved) -> None:
        write_weights(self.vae, self.path, saved.state.weights if saved.best is None else saved.best)
        checkpoint.write(self.path, saved, self.settings, self.keep)
        self.keep = True

    def _begin(self, records: Sequence[Mapping[str, Any]]) -> None:
        assert self._beginning is not None
        write_config(self.vae, self.path, *self._beginning)
        atomic_write(self.path / HISTORY, "".join(map(_line, records)))

    def _begin_again_if_vanished(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Somebody removed the folder: all that was in it is still known here, so it is made anew."""
        if self.path.exists():
            return
        with self._reported():
            self.path.mkdir()  # without parents: a disk that is gone is not replaced by a folder of its name
            self.lock.release()
            self.lock.take()
            self._begin(records)
        self.usable = False
        warnings.warn(f"the folder {self.path} was removed while the run trained: it was written anew", stacklevel=2)

    def _remove_leftovers(self) -> None:
        """What a kill in the middle of a write left, now that no other process can be writing."""
        for folder in (self.path, self.path / checkpoint.FOLDER):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Say what cannot be written, what is kept, and how to go on."""
        try:
            yield
        except OSError as error:
            kept = (
                f"its last checkpoint is whole; then go on with: reparam resume {self.path}"
                if checkpoint.exists(self.path)
                else "nothing of the run was saved yet"
            )
            raise SaveError(
                f"training stopped because {self.path} can no longer be written to ({error.strerror or error}): free "
                f"space or restore the folder; {kept}"
            ) from error


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"
