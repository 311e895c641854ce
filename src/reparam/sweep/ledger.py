"""What was tried and what came of it, kept by Optuna in a file that a killed sweep goes on from."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reparam.errors import require
from reparam.run import atomic_write
from reparam.sweep.space import Axis, combinations

_FILE = "trials.log"
_AS_MANY = 20  # trials where there are endlessly many combinations
_ALL = 64  # combinations, up to which all are tried


@dataclass
class Trial:
    """One training: its place among all, its values of the axes, and what came of it.

    ``value`` is the mean held-out log p(x) in nats, with its standard error over rows; None before it has one.
    ``failed`` is why there is none.
    """

    number: int
    values: dict[str, Any]
    value: float | None = None
    stderr: float = math.nan
    failed: str | None = None


class Ledger:
    """The trials of a sweep, in the folder of their runs. One process writes it.

    Their number, values and states are Optuna's, which suggests the next by what came of the last (the tree-structured
    Parzen estimator, Bergstra et al. 2011); finitely many combinations, if no more than are planned, are all tried.
    """

    def __init__(self, folder: Path, axes: Sequence[Axis], seed: int, trials: int | None) -> None:
        self.folder, self.axes = folder, list(axes)
        self.optuna = require("optuna", "sweep", "a sweep")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        every = combinations(self.axes)
        few = every is not None and len(every) <= (_ALL if trials is None else trials)
        self.planned = len(every or ()) if few else _AS_MANY if trials is None else trials
        storages = self.optuna.storages
        storage = storages.JournalStorage(storages.journal.JournalFileBackend(str(folder / _FILE)))
        self.study = self.optuna.create_study(
            study_name="sweep", storage=storage, direction="maximize", load_if_exists=True
        )
        known = len(self.study.trials)
        # another seed where it goes on, or it would suggest again what it suggested at first
        self.study.sampler = self.optuna.samplers.TPESampler(seed=(seed + known) % 2**32, constant_liar=True)
        if every is not None and few:
            for values in every:
                self.study.enqueue_trial(values, skip_if_exists=True)

    def begun(self) -> list[Trial]:
        """Trials that were running when the sweep ended."""
        return [self._read(t) for t in self.study.trials if t.state.name == "RUNNING"]

    def ended(self) -> list[Trial]:
        """Trials with a value, the best first, and those that failed behind them."""
        found = [self._read(t) for t in self.study.trials if t.state.is_finished()]
        return sorted(found, key=lambda t: (t.value is None, -(t.value or 0.0), t.number))

    def ask(self) -> Trial | None:
        """The next to be tried; None where enough were. Values that were tried before get what came of them then."""
        for _ in range(10 * self.planned):
            if sum(t.state.name != "WAITING" for t in self.study.trials) >= self.planned:
                return None
            asked = self.study.ask()
            trial = Trial(asked.number, {axis.name: axis.suggest(asked) for axis in self.axes})
            twin = next((t for t in self.ended() if t.values == trial.values and t.value is not None), None)
            if twin is None:
                return trial
            shutil.copy(self.result(twin.number), self.result(trial.number))
            self.tell(replace(twin, number=trial.number))
        return None

    def tell(self, trial: Trial) -> None:
        """Write down how it ended."""
        if trial.failed is not None:
            atomic_write(self.result(trial.number), json.dumps({"failed": trial.failed}))
            self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(trial.number, trial.value)

    def result(self, number: int) -> Path:
        """The file of what came of a trial, which its process writes, or for one that failed ``tell``."""
        return self.folder / f"{number:04d}.result.json"

    def _read(self, frozen: Any) -> Trial:
        file = self.result(frozen.number)
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return Trial(
            frozen.number, dict(frozen.params), frozen.value, found.get("stderr", math.nan), found.get("failed")
        )


def compare(trials: Sequence[Trial], rows: dict[int, np.ndarray]) -> dict[int, tuple[float, float]]:
    """By how much each is below the best, in nats, with the standard error of the difference over the same rows.

    ``rows`` has log p(x) of each held-out row, by the number of the trial. The error is that of paired rows, which is
    far smaller than those of the two means.
    """
    best = rows[trials[0].number]
    found = {}
    for trial in trials:
        gap = best - rows[trial.number]
        error = float(gap.std(ddof=1)) / math.sqrt(len(gap)) if len(gap) > 1 else math.nan
        found[trial.number] = (float(gap.mean()), error)
    return found


def written(trials: Sequence[Trial], gaps: dict[int, tuple[float, float]], axes: Sequence[Axis]) -> str:
    """The trials as CSV, the best first."""
    text = io.StringIO()
    table = csv.writer(text)
    names = [axis.name for axis in axes]
    table.writerow(["trial", "log_likelihood", "stderr", "below_best", "below_best_stderr", *names, "failed"])
    for trial in trials:
        gap = gaps.get(trial.number, ("", ""))
        value = ("", "") if trial.value is None else (trial.value, trial.stderr)
        table.writerow([trial.number, *value, *gap, *(trial.values.get(n, "") for n in names), trial.failed or ""])
    return text.getvalue()
