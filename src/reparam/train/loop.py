"""The training loop, for every model and objective, to be read from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor

from reparam import seeding
from reparam.conditional import following, scheduled_parts
from reparam.data import Dataset, Schema
from reparam.engine import dtype_of, resolve
from reparam.errors import InputError, NonFiniteError
from reparam.evaluate import objective_value
from reparam.evaluate.draws import rows_of
from reparam.objectives import ELBO, Objective, penalties
from reparam.run import model_digest
from reparam.schedules import Schedule, Weight, value
from reparam.train import checkpoint, optimisers
from reparam.train.auxiliary import Auxiliary
from reparam.train.batches import batches, order_of
from reparam.train.checkpoint import Position, Saved, State, Weights
from reparam.train.checks import (
    UNKNOWN,
    check_crew,
    check_data,
    check_options,
    diagnose,
    split,
    warn_of_shortfalls,
)
from reparam.train.crew import Crew
from reparam.train.form import Compile, Form
from reparam.train.history import History, scheduled
from reparam.train.optimisers import Factory
from reparam.train.process import flushed_denormals, stop_request
from reparam.train.progress import Progress
from reparam.train.roof import Roof
from reparam.train.step import Options, Step, require_options
from reparam.train.writer import RunWriter
from reparam.vae import VAE, reference

_TERMS = ("objective", "reconstruction", "kl", "penalty")
AUTO_PRECISION = "float32"
_STOP, _SAVE = 0, 1  # what processes ask each other at every step
_TOGETHER = 2.0  # seconds in which signals are one: a terminal and torchrun both send them


def fit(  # noqa: PLR0915 (the whole of training, to be read from top to bottom)
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
    optimizer: str | Factory | torch.optim.Optimizer = "adam",
    clip: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    resume: bool = False,
    config: dict[str, Any] | None = None,
    schema: Schema | None = None,
    progress: bool | None = None,
    retries: int = 0,
    checkpoint_seconds: float = 60.0,
    on_start: Callable[[], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], bool | None] | None = None,
) -> History:
    """Train the model in place on minibatches in random order, and return what happened.

    ``x`` is an array or tensor (N, *event), or a Dataset (uint8 stays uint8 and is converted per batch); that of
    :func:`reparam.open` stays in its file, and is read ahead of the steps by a thread.
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

    ``optimizer`` is Adam unless given: a name of ``reparam.train.OPTIMIZERS``, a factory ``f(parameters, lr=lr)`` such
    as a class of torch.optim, or an optimiser, which goes on with what it has learned. ``clip`` is the largest norm of
    the gradient. ``accumulate`` takes so many batches for one step, one after the other, as if they were one. With
    ``ema``, such as 0.999, the weights that are validated and kept are exponential averages of those that are trained.

    ``out`` is a run folder that :func:`reparam.load` opens; after the first epoch, every ``checkpoint_seconds`` and at
    the end it gets a checkpoint, written in the background, from which ``resume=True`` goes on with the same bits as an
    uninterrupted run. The last two are kept, and where the last is damaged the one before is used. ``config`` and
    ``schema`` are kept in the folder. The first Ctrl-C or SIGTERM ends training after the step at hand, with the run
    saved.

    After a step whose loss is not finite, ``retries`` times the run goes back to the start of its epoch and on at half
    the learning rate; this is said by a warning and in ``History.notes``. Checkpoints within an epoch of such a run
    hold its start too; one that was begun with ``retries=0`` goes back to the step that it was resumed from.

    ``seed`` decides the order of rows and all noise; the caller's generators are left as they were.
    ``progress`` None shows progress on terminals; ``on_start`` is called when data and model have been accepted and
    nothing is written yet, ``on_epoch`` with each epoch's record; where it returns True,
    training ends.

    What an objective trains beside the model (its adversaries, such as a discriminator) is trained in place too.

    Raises:
        InputError: for data or options that cannot be used, before anything is written.
        NonFiniteError: at a step whose loss is not finite, after all retries; the weights are those of the last epoch's
            start.
        RunFolderError: if ``out`` holds a run already and ``resume`` is not asked for, holds another run, is in use by
            another process, or cannot be written to.
        SaveError: if ``out`` can no longer be written to while training: its last checkpoint is whole, and the model
            has its present weights.
    """
    objective = _objective(objective)
    check_options(
        epochs=epochs, batch_size=batch_size, lr=lr, patience=patience, seed=seed, retries=retries,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    options = _options(vae, optimizer, clip, accumulate, ema, precision, compile)
    data, held = split(rows_of(vae, x, contexts), validation, seed)
    rows, crew = len(data), Crew.here()
    if not crew.alone:
        check_crew(vae, objective)
    auxiliary = Auxiliary(objective, reference(vae))
    check_data(vae, objective, data, held)
    if on_start is not None and crew.first:
        on_start()
    ascent = optimisers.make(optimizer, vae, value(lr))
    folder = None if out is None or not crew.first else RunWriter(
        Path(out), vae, ascent, auxiliary, _settings(vae, objective, data, epochs, batch_size, lr, seed, options),
        _earlier(objective), resume, checkpoint_seconds,
    )  # fmt: skip
    with (
        seeding.seeded(seed),
        flushed_denormals(),
        stop_request(0.0 if crew.alone else _TOGETHER) as stop,
        following(vae) as tell,
        folder or nullcontext(),
    ):
        crew.ask(stop.asked, folder.due if folder else lambda: False)
        position, saved = (folder.read() if folder and resume else None) or (Position(), None)
        if not crew.alone:
            position, saved = _together(crew, position, saved, vae, ascent, auxiliary)
        best, begun = (None, None) if saved is None else (saved.best, saved.start)
        _begin(folder, position, epochs, config or {}, schema or Schema.of(data))
        history = History(position.records, sign=objective.sign)
        started = time.monotonic() - position.seconds
        good = begun or State.of(vae, ascent, auxiliary, position)  # the epoch's start
        kept = good.weights
        _training_mode(vae)
        step = Step(vae, objective, data, ascent, options, position, auxiliary, crew)
        size = min(batch_size * accumulate, rows)

        def went_back() -> bool:
            """Whether a step since the last look was not finite, and the run is at its last good state again."""
            failure = _settle(step, position, lr, seed)
            if failure is None:
                return False
            if position.retries == retries:
                _stop_at_non_finite(vae, failure, position, kept, folder)
            position.go_back(good.put(vae, ascent, auxiliary), failure.step, failure.culprit, failure.lr)
            step.restart(position)
            return True

        roof = Roof(vae, objective, data, options.precision)

        def said(rate: float) -> str:
            return "  ".join(filter(None, (roof.words(rate), history.summary(position.epoch, epochs))))

        with Progress(epochs * rows, "rows", progress if crew.first else False) as bar:
            form = Form(compile, step, position, size, bar.line)
            while position.epoch < epochs and not _exhausted(position, patience) and not crew.heard(_STOP):
                for batch, share in batches(data, size, order_of(data, seed, position.epoch), position.rows, crew):
                    form(batch, epochs * rows // size)
                    now = tell(_share(position, share.total, rows, epochs))
                    step(batch, now, position.lr_factor * value(lr, now), share)
                    position.take(share.total)
                    bar.update(position.epoch * rows + position.rows, said)
                    save = crew.heard(_SAVE)
                    if (save or step.due() or crew.heard(_STOP)) and went_back():
                        break
                    if crew.heard(_STOP):
                        break
                    if folder and save:
                        position.seconds = time.monotonic() - started
                        folder.save(best, position, good if retries else None)
                position.seconds = time.monotonic() - started
                if went_back() or position.rows < rows:
                    continue
                weights = scheduled(vae, objective, lr, _share(position, 0, rows, epochs))
                with step.averaged():
                    record = _end_epoch(vae, objective, data, held, position, seed, weights, crew)
                    kept = checkpoint.snapshot(vae)
                good = State.of(vae, ascent, auxiliary, position)
                best = kept if position.best_epoch == position.epoch else best
                if folder:
                    folder.end_epoch(record, best, position)
                if crew.any(on_epoch is not None and on_epoch(record) is True):
                    break
                step.start_epoch()
            bar.update(position.epoch * rows + position.rows, said, force=True)
        if folder:
            folder.save(best, position, good if retries and position.rows else None)
    if best is not None:
        vae.load_state_dict(best)
    vae.eval()
    _close(history, position, objective, rows, epochs, crew.heard(_STOP))
    history.notes += form.notes
    return history


def _objective(given: Any) -> Objective:
    objective = ELBO() if given is None else given
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be one of reparam.objectives, not {type(objective).__name__}")
    return objective


def _options(
    vae: VAE, optimizer: str | Factory | torch.optim.Optimizer, clip: float | None, accumulate: int,
    ema: float | None, precision: str, compile: Compile | str,
) -> Options:  # fmt: skip
    """How steps are done, checked, with the model in their precision."""
    options = Options(optimizer, clip, accumulate, ema, resolve(precision, reference(vae), AUTO_PRECISION))
    require_options(options)
    if compile not in ("auto", True, False):
        raise InputError(f"compile is 'auto', True or False, not {compile!r}")
    if precision != "auto":
        vae.to(dtype_of(options.precision))
    return options


def _together(
    crew: Crew, position: Position, saved: Saved | None, vae: VAE, optimizer: torch.optim.Optimizer,
    auxiliary: Auxiliary,
) -> tuple[Position, Saved | None]:  # fmt: skip
    """Every process where the first one is: at its checkpoint, or with its weights and at the start."""
    state = saved or Saved(State.of(vae, optimizer, auxiliary, position))
    content = crew.send(state.to_bytes() if crew.first else None)
    resumed = crew.any(saved is not None)
    if crew.first:
        return position, saved
    assert content is not None
    given = Saved.of_bytes(content)
    return given.state.put(vae, optimizer, auxiliary), given if resumed else None


def _begin(folder: RunWriter | None, position: Position, epochs: int, config: dict[str, Any], schema: Schema) -> None:
    """Write what stands from the first moment on."""
    if folder is None:
        return
    if position.epoch > epochs:
        raise InputError(
            f"the run in {folder.path} has {position.epoch} epochs already: give more than that, not {epochs}"
        )
    folder.start(config, schema, position)


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
    if isinstance(lr, Schedule) or objective.schedules() or scheduled_parts(vae):
        settings["scheduled_epochs"] = epochs  # with more of them, the steps done would have been others
    return settings


def _earlier(objective: Objective) -> dict[str, Any]:
    """Settings as reparam 0.1 wrote them: objectives by their attributes."""

    def text(part: Any) -> str:
        if not isinstance(part, Objective | penalties.Penalty):
            return repr(part)
        inside = ", ".join(f"{name!r}: {text(value)}" for name, value in vars(part).items())
        return f"{type(part).__name__}" + (f"{{{inside}}}" if inside or isinstance(part, Objective) else "")

    return {"objective": text(objective)}


def _training_mode(vae: VAE) -> None:
    """The model in training mode, but for parts whose parameters are all frozen: these keep still."""
    vae.train()
    for part in (vae.prior, vae.likelihood, vae.posterior):
        weights = list(part.parameters())
        if weights and not any(w.requires_grad for w in weights):
            part.eval()


class _Failure(NamedTuple):
    """The first step whose loss was not finite: its number in the run, its rows, what was wrong, and its rate."""

    step: int
    rows: slice
    culprit: str
    lr: float


def _settle(step: Step, position: Position, lr: Weight, seed: int) -> _Failure | None:
    """Bring the sums of the epoch to the position, and look whether all losses since the last time were finite."""
    sums, undone = step.settle()
    if sums:
        *position.sums, position.squares = sums
    if not undone:
        return None
    failed = undone[0]
    first, share = position.rows - sum(held.share.total for held in undone), failed.share
    rows = slice(first, first + share.total)
    mine = slice(first + share.first, first + share.first + share.rows)
    order = order_of(step.data, seed, position.epoch)[mine].tolist()
    culprit = diagnose(step.vae, step.objective, step.again(failed), order, share.first)
    if not step.crew.alone:
        culprit = min(step.crew.texts(culprit), key=lambda text: text == UNKNOWN)
    return _Failure(
        position.step - len(undone) + 1, rows, culprit, position.lr_factor * value(lr, failed.now)
    )  # fmt: skip


def _stop_at_non_finite(
    vae: VAE, failure: _Failure, position: Position, good: Weights, folder: RunWriter | None
) -> NoReturn:
    """Put the last good weights back, keep them in the folder, and say what happened and what to try."""
    vae.load_state_dict(good)
    vae.eval()
    if folder:
        folder.save_weights(good)
    raise NonFiniteError(
        f"training stopped at step {failure.step} (epoch {position.epoch + 1}, rows {failure.rows.start} to "
        f"{failure.rows.stop - 1} of its order): not finite: {failure.culprit}. The weights of the epoch's start "
        f"are kept. Try lr={failure.lr / 10:g}, look for extreme values in the data, or standardise them"
    )


def _end_epoch(
    vae: VAE, objective: Objective, data: Dataset, held: Dataset | None, position: Position, seed: int,
    weights: dict[str, float], crew: Crew,
) -> dict[str, Any]:  # fmt: skip
    """Close the epoch: its means, its validation, and whether it is the best so far."""
    position.epoch += 1
    record: dict[str, Any] = {"epoch": position.epoch, "step": position.step}
    means = [s / len(data) for s in position.sums]
    record |= {f"train_{n}": mean for n, mean in zip(_TERMS, means, strict=False)}
    if layers := means[len(_TERMS) :]:
        record["train_kl_layers"] = layers
    record["grad_norm"] = math.sqrt(position.squares / len(data))
    record |= weights
    if held is not None:
        share = crew.share(len(held))
        mine = held if crew.alone else held[share.first : share.first + share.rows]
        values = crew.means(objective_value(vae, mine, objective, seed), share.counted)
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
    record["best_epoch"] = position.best_epoch
    record["seconds"] = round(position.seconds, 3)
    record["rows_per_second"] = round(position.epoch * len(data) / max(position.seconds, 1e-9))
    position.rows, position.sums, position.squares = 0, [0.0] * len(position.sums), 0.0
    position.records.append(record)
    return record


def _close(
    history: History, position: Position, objective: Objective, rows: int, epochs: int, interrupted: bool
) -> None:
    """How training ended."""
    history.best_epoch = position.best_epoch
    if interrupted:
        history.stopped = "interrupted"
    elif position.epoch < epochs:
        history.stopped = "early"
    history.notes = position.notes + warn_of_shortfalls(objective, _share(position, 0, rows, epochs))


def _share(position: Position, more: int, rows: int, epochs: int) -> float:
    """How much of the run is done, from 0 to 1, with so many more rows."""
    return (position.epoch * rows + position.rows + more) / (epochs * rows)


def _exhausted(position: Position, patience: int | None) -> bool:
    return patience is not None and position.epoch - (position.best_epoch or 0) >= patience
