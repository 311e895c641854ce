"""The training loop, for every model and objective, to be read from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset, Schema, as_dataset
from reparam.engine import dtype_of, resolve
from reparam.errors import InputError, NonFiniteError
from reparam.evaluate import objective_value
from reparam.objectives import ELBO, Objective
from reparam.run import model_digest
from reparam.schedules import Schedule, Weight, value
from reparam.train import checkpoint, optimisers
from reparam.train.checkpoint import Position, Weights
from reparam.train.checks import check_data, check_options, diagnose, split, warn_of_shortfalls
from reparam.train.form import Compile, Form
from reparam.train.history import History
from reparam.train.optimisers import Factory
from reparam.train.process import flushed_denormals, stop_request
from reparam.train.progress import Progress
from reparam.train.step import Options, Step, require_options
from reparam.train.writer import RunWriter
from reparam.vae import VAE, reference

_TERMS = ("objective", "reconstruction", "kl")
_GATHERED_ROWS = 8192
AUTO_PRECISION = "float32"


def fit(
    vae: VAE,
    x: Any,
    *,
    objective: Objective | None = None,
    epochs: int = 50,
    batch_size: int = 128,
    lr: Weight = 1e-3,
    seed: int = 0,
    validation: float | Any | None = None,
    patience: int | None = None,
    out: str | Path | None = None,
    contexts: Sequence[Tensor] = (),
    compile: Compile | str = "auto",
    precision: Literal["auto", "float32", "bfloat16", "float64"] | str = "auto",
    optimizer: str | Factory = "adam",
    clip: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    resume: bool = False,
    config: dict[str, Any] | None = None,
    schema: Schema | None = None,
    progress: bool | None = None,
    on_start: Callable[[], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], bool | None] | None = None,
) -> History:
    """Train the model in place on minibatches in random order, and return what happened.

    ``x`` is an array or tensor (N, *event), or a Dataset (uint8 stays uint8 and is converted per batch).
    ``objective`` is the ELBO unless given. ``validation`` is a share of the rows to hold out (0 < share < 1, chosen by
    the seed), or further data; with it, the weights of the epoch with the best validation objective are kept, and
    with ``patience`` training stops after so many epochs without a better one. Validation uses the objective at its
    final weights and the same noise each epoch.

    ``lr`` and weights of the objective may be :mod:`reparam.schedules`, in fractions of the run: the step that ends at
    a share t of all rows of all epochs uses their values at t, so that the last step uses the final ones. A run that
    ends before its objective has come to its final weights says so by a warning, and in ``History.notes``.

    ``compile`` makes one graph of forward, backward and optimiser: "auto" where the run is long enough for it to pay,
    by an estimate that counts arithmetic and measures no time; True always, or an error that says why not. Both forms
    have the same loss to rounding. A last batch of fewer rows is done without it.
    ``precision`` "bfloat16" rounds the operands of matrix products, where the hardware has such products; weights,
    likelihoods, KL and the optimiser stay in float32. "float32" and "float64" convert the model; "auto" leaves it.

    ``optimizer`` is Adam unless given: a name of ``reparam.train.OPTIMIZERS``, or a factory ``f(parameters, lr=lr)``
    such as a class of torch.optim. ``clip`` is the largest norm of the gradient. ``accumulate`` takes so many batches
    for one step, one after the other, as if they were one. With ``ema``, such as 0.999, the weights that are validated
    and kept are exponential averages of those that are trained.

    ``out`` is a run folder that :func:`reparam.load` opens; after the first epoch, every minute and at the end it gets
    a checkpoint, from which ``resume=True`` goes on with the same bits as an uninterrupted run. ``config`` and
    ``schema`` are kept in it. The first Ctrl-C or SIGTERM ends training after the step at hand, with the run saved.

    ``seed`` decides the order of rows and all noise; the caller's generators are left as they were.
    ``progress`` None shows progress on terminals; ``on_start`` is called when data and model have been accepted and
    nothing is written yet, ``on_epoch`` with each epoch's record; if it returns True, training ends there.

    Raises:
        InputError: for data or options that cannot be used, before anything is written.
        NonFiniteError: at the first step whose loss is not finite; the weights are those of the last epoch's start.
        RunFolderError: if ``out`` holds a run already and ``resume`` is not asked for, or holds another run.
    """
    objective = _objective(objective)
    check_options(epochs=epochs, batch_size=batch_size, lr=lr, patience=patience, seed=seed)
    options = _options(vae, optimizer, clip, accumulate, ema, precision, compile)
    data, held = split(as_dataset(x, contexts), validation, seed)
    check_data(vae, objective, data, held)
    if on_start is not None:
        on_start()
    ascent = optimisers.make(optimizer, vae, value(lr))
    settings = _settings(vae, objective, data, epochs, batch_size, lr, seed, options)
    folder = None if out is None else RunWriter(Path(out), vae, ascent, settings, resume)
    with seeding.seeded(seed), flushed_denormals(), stop_request() as stop:
        position, best = _begin(folder, resume, epochs, config or {}, schema or Schema.of(data))
        history = History(position.records)
        started = time.monotonic() - position.seconds
        good = checkpoint.snapshot(vae)
        vae.train()
        step = Step(vae, objective, data, ascent, options, position.step, position.sums)
        size = min(batch_size * accumulate, len(data))
        with Progress(epochs * len(data), "rows", progress) as bar:
            form = Form(compile, step, position, size, bar.line)
            while position.epoch < epochs and not _exhausted(position, patience) and not stop.asked():
                for batch in _batches(data, size, seed, position):
                    form(batch, epochs * len(data) // size)
                    now = _share(position, len(batch[0]), len(data), epochs)
                    step(batch, now, value(lr, now))
                    position.take(len(batch[0]))
                    if step.due():
                        _settle(step, position, lr, good, folder)
                    bar.update(position.epoch * len(data) + position.rows, history.summary(position.epoch, epochs))
                    if stop.asked():
                        break
                _settle(step, position, lr, good, folder)
                position.seconds = time.monotonic() - started
                if position.rows < len(data):
                    break
                with step.averaged():
                    record = _end_epoch(vae, objective, data, held, position, seed)
                    good = checkpoint.snapshot(vae)
                best = good if position.best_epoch == position.epoch else best
                if folder:
                    folder.end_epoch(record, best, position)
                if on_epoch is not None and on_epoch(record) is True:
                    break
                step.start_epoch()
            bar.update(position.epoch * len(data) + position.rows, history.summary(position.epoch, epochs), force=True)
        if folder:
            folder.save(best, position)
    _close(vae, best, history, position, objective, len(data), epochs, stop.asked(), form.notes)
    return history


def _objective(given: Any) -> Objective:
    objective = ELBO() if given is None else given
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be one of reparam.objectives, not {type(objective).__name__}")
    return objective


def _options(
    vae: VAE, optimizer: str | Factory, clip: float | None, accumulate: int, ema: float | None, precision: str,
    compile: Compile | str,
) -> Options:  # fmt: skip
    """How steps are done, checked, with the model in their precision."""
    options = Options(optimizer, clip, accumulate, ema, resolve(precision, reference(vae), AUTO_PRECISION))
    require_options(options)
    if compile not in ("auto", True, False):
        raise InputError(f"compile is 'auto', True or False, not {compile!r}")
    if precision != "auto":
        vae.to(dtype_of(options.precision))
    return options


def _begin(
    folder: RunWriter | None, resume: bool, epochs: int, config: dict[str, Any], schema: Schema
) -> tuple[Position, Weights | None]:
    """Where the run starts, and its best weights so far: those of the folder's checkpoint, if it is resumed."""
    if folder is None:
        return Position(), None
    position, best = (folder.read() if resume else None) or (Position(), None)
    if position.epoch > epochs:
        raise InputError(
            f"the run in {folder.path} has {position.epoch} epochs already: give more than that, not {epochs}"
        )
    folder.start(config, schema, position)
    return position, best


def _settings(
    vae: VAE, objective: Objective, data: Dataset, epochs: int, batch_size: int, lr: Weight, seed: int,
    options: Options,
) -> dict[str, Any]:  # fmt: skip
    """What a resumed run must have in common with the run that was begun."""
    settings = {
        "epochs": epochs, "batch_size": batch_size, "lr": str(lr) if isinstance(lr, Schedule) else lr, "seed": seed,
        "rows": len(data), "data": data.fingerprint(), "objective": repr(objective),
        "model": model_digest(vae),
    }  # fmt: skip
    plain = Options()
    changed = {**vars(options), "optimizer": optimisers.describe(options.optimizer)}
    settings |= {name: v for name, v in changed.items() if v != getattr(plain, name)}
    if isinstance(lr, Schedule) or objective.schedules():
        settings["scheduled_epochs"] = epochs  # with more of them, the steps done would have been others
    return settings


def _settle(step: Step, position: Position, lr: Weight, good: Weights, folder: RunWriter | None) -> None:
    """Bring the sums of the epoch to the position, and stop the run if a loss since the last time was not finite.

    Raises:
        NonFiniteError: saying what happened and what to try. The last good weights are put back, and in the folder.
    """
    position.sums, undone = step.settle()
    if not undone:
        return
    failed = undone[0]
    rows = position.rows - sum(len(held.batch[0]) for held in undone)
    culprit = diagnose(step.vae, step.objective, step.again(failed))
    step.vae.load_state_dict(good)
    step.vae.eval()
    if folder:
        folder.save_weights(good)
    raise NonFiniteError(
        f"training stopped at step {position.step - len(undone) + 1} (epoch {position.epoch + 1}, rows {rows} to "
        f"{rows + len(failed.batch[0]) - 1} of its order): not finite: {culprit}. The weights of the epoch's start "
        f"are kept. Try lr={value(lr, failed.now) / 10:g}, look for extreme values in the data, or standardise them"
    )


def _batches(data: Dataset, size: int, seed: int, position: Position) -> Iterator[tuple[Tensor, ...]]:
    """The batches (x, *contexts) of this epoch from the run's position on, in an order that seed and epoch decide.

    They are rows as the data hold them, gathered for many batches at once, which costs a fraction of gathering each.
    """
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed * 1_000_003 + position.epoch))
    block = size * max(1, _GATHERED_ROWS // size)
    begun = position.rows
    for start in range(begun // block * block, len(data), block):
        rows = data[order[start : start + block]]
        for at in range(max(0, begun - start), len(rows), size):
            yield tuple(t[at : at + size] for t in (rows.x, *rows.contexts))


def _end_epoch(
    vae: VAE, objective: Objective, data: Dataset, held: Dataset | None, position: Position, seed: int
) -> dict[str, Any]:
    """Close the epoch: its means, its validation, and whether it is the best so far."""
    position.epoch += 1
    record: dict[str, Any] = {"epoch": position.epoch, "step": position.step}
    record |= {f"train_{n}": s / len(data) for n, s in zip(_TERMS, position.sums, strict=True)}
    if held is not None:
        values = objective_value(vae, held, objective, seed)
        record |= {f"validation_{n}": v for n, v in values.items()}
        if not math.isfinite(values["objective"]):
            raise NonFiniteError(
                f"the validation objective after epoch {position.epoch} is {values['objective']}: lower lr"
            )
        score = objective.sign * values["objective"]
        if position.best_value is None or score > position.best_value:
            position.best_value, position.best_epoch = score, position.epoch
    else:
        position.best_epoch = position.epoch
    record["seconds"] = round(position.seconds, 3)
    record["rows_per_second"] = round(position.epoch * len(data) / max(position.seconds, 1e-9))
    position.rows, position.sums = 0, [0.0, 0.0, 0.0]
    position.records.append(record)
    return record


def _close(
    vae: VAE, best: Weights | None, history: History, position: Position, objective: Objective, rows: int,
    epochs: int, interrupted: bool, notes: list[str],
) -> None:  # fmt: skip
    """Leave the best weights in the model, ready for use, and say how training ended."""
    if best is not None:
        vae.load_state_dict(best)
    vae.eval()
    history.best_epoch = position.best_epoch
    if interrupted:
        history.stopped = "interrupted"
    elif position.epoch < epochs:
        history.stopped = "early"
    history.notes = warn_of_shortfalls(objective, _share(position, 0, rows, epochs)) + notes


def _share(position: Position, more: int, rows: int, epochs: int) -> float:
    """How much of the run is done, from 0 to 1, with so many more rows."""
    return (position.epoch * rows + position.rows + more) / (epochs * rows)


def _exhausted(position: Position, patience: int | None) -> bool:
    return patience is not None and position.epoch - (position.best_epoch or 0) >= patience
