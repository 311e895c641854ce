"""sweep: train with many values of the options, and choose by held-out likelihood."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any, get_args, get_type_hints

import numpy as np
import torch

from reparam.cli.common import check_seed, say
from reparam.cli.options import ResumeOptions, SweepOptions, TrainOptions
from reparam.cli.parser import sizes
from reparam.cli.train import SWEEP as SETTINGS
from reparam.cli.train import check_readable
from reparam.data.readers import bundled
from reparam.errors import InputError, RunFolderError, require
from reparam.run import FolderLock, atomic_write
from reparam.sweep import Axis, Ledger, Processes, Trial, compare, parse, written

_TABLE = "sweep.csv"
_FORMAT = 1
_VALIDATION = 0.1  # of the rows: they choose among many, so more than a run holds out for itself
_DATA = "trials would see other data, and their likelihoods could not be compared"
_REFUSED = {
    **dict.fromkeys(("labels", "context", "batch", "layer", "size_factor", "binarize", "pixel_max"), _DATA),
    **dict.fromkeys(("data", "table", "schema", "informative", "validation"), _DATA),
    **dict.fromkeys(("stream", "buffer", "threads", "device", "out", "overwrite"), "it makes no other model"),
    "seed": "the best of many seeds is luck; it also decides which rows are held out",
}
_ENOUGH = 3  # failures before anything succeeded


def sweep(options: SweepOptions) -> int:
    """``reparam sweep``."""
    axes = _axes(options.over)
    folder = Path(options.out)
    if options.trials is not None and options.trials < 1:
        raise InputError(f"--trials must be at least 1, not {options.trials}")
    if options.jobs < 1 or options.samples < 1:
        raise InputError("--jobs and --samples must be at least 1")
    if (folder / SETTINGS).exists():
        raise InputError(f"{folder} holds a sweep already: go on with reparam resume {folder}, or choose another --out")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: --out is a folder")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds other files: choose a new folder for --out")
    own = {f.name for f in fields(SweepOptions)} - {f.name for f in fields(TrainOptions)}
    plan = TrainOptions(**{name: value for name, value in asdict(options).items() if name not in own})
    plan = replace(plan, validation=_VALIDATION if plan.validation is None else plan.validation, overwrite=False)
    if not plan.validation or not 0 < plan.validation < 1:
        raise InputError("a sweep chooses by held-out rows: --validation is a share of the rows above 0 and below 1")
    check_seed(plan.seed)
    if Path(plan.data).exists() and not bundled(plan.data):
        plan = replace(plan, data=str(Path(plan.data).resolve()))
    settings = {
        "format": _FORMAT, "over": options.over, "trials": options.trials, "jobs": options.jobs,
        "samples": options.samples, "options": asdict(plan),
    }  # fmt: skip
    require("optuna", "sweep", "a sweep")  # before anything is written
    check_readable(plan)
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    atomic_write(folder / SETTINGS, json.dumps(settings, indent=1))
    return _go_on(folder, settings, axes)


def resume(options: ResumeOptions) -> int:
    """``reparam resume`` of a sweep."""
    folder = Path(options.run)
    if options.epochs is not None:
        raise InputError("--epochs is of a run; a sweep goes on with those that it was given")
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        settings = {**settings, "trials": options.trials or settings["trials"]}
        axes = _axes(settings["over"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{folder / SETTINGS} is damaged: {error}") from error
    return _go_on(folder, settings, axes)


def _axes(text: str) -> list[Axis]:
    hints = get_type_hints(TrainOptions)
    kinds = {name: _number(hint) for name, hint in hints.items()}
    return parse(text, kinds, _REFUSED)


def _number(hint: Any) -> type:
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    return kinds[0] if kinds[0] in (int, float) else str


def _go_on(folder: Path, settings: dict[str, Any], axes: list[Axis]) -> int:
    def ended(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, ended)
    with FolderLock(folder):
        work = _Sweep(folder, settings, axes)
        try:
            work.run()
        except KeyboardInterrupt:
            say("interrupted: trials are saved")
            work.processes.stop()
            say(f"go on with: reparam resume {folder}")
            return 130
        finally:
            signal.signal(signal.SIGTERM, before)
        return work.report()


class _Sweep:
    """A sweep while it runs."""

    def __init__(self, folder: Path, settings: dict[str, Any], axes: list[Axis]) -> None:
        self.folder, self.settings, self.axes = folder, settings, axes
        self.trials = folder / "trials"
        self.ledger = Ledger(self.trials, axes, settings["options"]["seed"], settings["trials"])
        self.jobs: int = settings["jobs"]
        self.processes = Processes(max(1, torch.get_num_threads() // self.jobs))
        self.open: dict[int, Trial] = {}

    def run(self) -> None:
        """Try until as many have ended as are planned."""
        left = self.ledger.begun()
        say(f"{self.ledger.planned} trials, {self.jobs} at a time; their runs are in {self.folder / 'trials'}")
        while True:
            while len(self.open) < self.jobs and (trial := left.pop(0) if left else self.ledger.ask()):
                self._start(trial)
            if not self.open:
                return
            self._took(*self.processes.wait())

    def _file(self, trial: Trial, ending: str) -> Path:
        return self.trials / f"{trial.number:04d}{ending}"

    def _start(self, trial: Trial) -> None:
        values = {name: _value(name, value) for name, value in trial.values.items()}
        options = {**self.settings["options"], **values, "out": str(self._file(trial, ""))}
        options["threads"] = options["threads"] or (self.processes.threads if self.jobs > 1 else None)
        file = self._file(trial, ".json")
        if not file.exists():
            atomic_write(file, json.dumps({"options": options, "samples": self.settings["samples"]}, indent=1))
        self.open[trial.number] = trial
        self.processes.start(trial.number, ["-m", "reparam.cli.trial", str(file)], self._file(trial, ".log"))

    def _took(self, number: int, status: int, last: str) -> None:
        trial = self.open.pop(number)
        if status == 130:  # a signal from the terminal reaches the trials too
            raise KeyboardInterrupt
        if status:
            trial.failed = last.removeprefix("reparam: ") or f"exit status {status}"
            say(f"trial {number} failed ({_words(trial)}): {trial.failed}")
        else:
            found = self._result(trial)
            trial.value, trial.stderr = found["value"], found["stderr"]
            self._same_kind(trial, found["kind"])
        self.ledger.tell(trial)
        ended = self.ledger.ended()
        if trial.value is not None:
            best = ", the best so far" if ended[0].number == number else ""
            say(f"trial {number} ({_words(trial)}): {trial.value:.2f} ± {trial.stderr:.2f} nats{best}")
        elif len(ended) >= _ENOUGH and ended[0].value is None:
            self.processes.stop()
            raise InputError(f"no trial succeeded; the last said: {trial.failed}")

    def _same_kind(self, trial: Trial, kind: str) -> None:
        """A probability and a density are no numbers of one kind."""
        others = [t for t in self.ledger.ended() if t.value is not None]
        if not others:
            return
        first = self._result(others[0])["kind"]
        if first != kind:
            trial.value, trial.failed = None, f"log p(x) of {kind} data cannot be compared with that of {first} data"
            say(f"trial {trial.number} failed ({_words(trial)}): {trial.failed}")

    def _result(self, trial: Trial) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ledger.result(trial.number).read_text(encoding="utf-8"))
        return found

    def report(self) -> int:
        """Say what is best, how sure that is, and write the table."""
        ended = self.ledger.ended()
        good = [t for t in ended if t.value is not None]
        if not good:
            raise InputError("no trial succeeded: see the .log files of the trials")
        unique = list({json.dumps(t.values, sort_keys=True): t for t in reversed(good)}.values())[::-1]
        rows = {t.number: np.load(self._file(t, ".npy")) for t in unique if self._file(t, ".npy").exists()}
        unique = [t for t in unique if t.number in rows]
        gaps = compare(unique, rows)
        failed = [t for t in ended if t.value is None]
        atomic_write(self.folder / _TABLE, written([*unique, *failed], gaps, self.axes))
        print(table(unique, gaps, self.axes))
        best, run = unique[0], self._file(unique[0], "")
        near = sum(gap <= 2 * error for gap, error in gaps.values() if math.isfinite(error)) - 1
        if near > 0:
            say(f"{near} more within two standard errors of the best: the data do not tell them apart")
        say(f"the best run: {run} ({_words(best)}); all: {self.folder / _TABLE}")
        say(f"being chosen flatters it on these rows; next: reparam evaluate {run} TEST_DATA")
        return 0


def table(trials: Sequence[Trial], gaps: dict[int, tuple[float, float]], axes: Sequence[Axis]) -> str:
    """The trials for a person, the best first."""
    heads = ["trial", "log-likelihood", "below the best", *(axis.name.replace("_", "-") for axis in axes)]
    lines = [
        [
            str(t.number),
            f"{t.value:.2f} ± {t.stderr:.2f}",
            "" if not i else f"{gaps[t.number][0]:.2f} ± {gaps[t.number][1]:.2f}",
            *(_shown(t.values[axis.name]) for axis in axes),
        ]
        for i, t in enumerate(trials)
    ]
    widths = [max(len(row[i]) for row in [heads, *lines]) for i in range(len(heads))]
    shown = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in [heads, *lines]]
    return "\n".join(
        ["held-out log p(x) in nats per datum; ± is one standard error, of differences that of pairs", *shown]
    )


def _words(trial: Trial) -> str:
    return ", ".join(f"{name.replace('_', '-')} {_shown(value)}" for name, value in trial.values.items())


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(name: str, value: Any) -> Any:
    """A word of an axis as the option takes it.

    Raises:
        InputError: where it is of another kind.
    """
    hint = get_type_hints(TrainOptions)[name]
    kinds = [kind for kind in (get_args(hint) if type(None) in get_args(hint) else (hint,)) if kind is not type(None)]
    if not isinstance(value, str) or kinds[0] is str:
        return value
    try:
        if kinds[0] is bool:
            return {"true": True, "false": False}[value.lower()]
        return sizes(value) if kinds[0] == list[int] else kinds[0](value)
    except (KeyError, ValueError):
        raise InputError(f"--over: {value!r} is no value of --{name.replace('_', '-')}") from None
