"""The training loop, for every model and objective, to be read from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from reparam import seeding
from reparam.conditional import following, scheduled_parts
from reparam.data import Dataset, Schema, as_dataset
from reparam.errors import InputError, NonFiniteError
from reparam.evaluate import objective_value
from reparam.evaluate.bounds import finite_kl
from reparam.objectives import ELBO, Objective, penalties
from reparam.run import model_digest
from reparam.schedules import Schedule, Weight, value
from reparam.train.auxiliary import Auxiliary
from reparam.train.checkpoint import Position, State, Weights
from reparam.train.checks import check_data, check_options, diagnose, split, warn_of_shortfalls
from reparam.train.history import History, scheduled
from reparam.train.process import flushed_denormals, stop_request
from reparam.train.progress import Progress
from reparam.train.writer import RunWriter
from reparam.vae import VAE, reference

_TERMS = ("objective", "reconstruction", "kl", "penalty")
_GATHERED_ROWS = 8192


def fit(  # noqa: PLR0912, PLR0915 (the whole of training, to be read from top to bottom)
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
    resume: bool = False,
    config: dict[str, Any] | None = None,
    schema: Schema | None = None,
    progress: bool | None = None,
    retries: int = 0,
    checkpoint_seconds: float = 60.0,
    on_start: Callable[[], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> History:
    """Train the model in place, by Adam on minibatches in random order, and return what happened.

    ``x`` is an array or tensor (N, *event), or a Dataset (uint8 stays uint8 and is converted per batch).
    ``objective`` is the ELBO unless given. ``validation`` is a share of the rows to hold out (0 < share < 1, chosen by
    the seed), or further data; with it, the weights of the epoch with the best validation objective are kept, and
    with ``patience`` training stops after so many epochs without a better one. Validation uses the objective at its
    final weights and the same noise each epoch.

    ``lr``, weights of the objective and temperatures of the model may be :mod:`reparam.schedules`, in fractions of the
    run: the step that ends at a share t of all rows of all epochs uses their values at t, so that the last step uses
    the final ones. A run that ends before its objective has come to its final weights says so by a warning, and in
    ``History.notes``.

    ``out`` is a run folder that :func:`reparam.load` opens; after the first epoch, every ``checkpoint_seconds`` and at
    the end it gets a checkpoint, written in the background, from which ``resume=True`` goes on with the same bits as an
    uninterrupted run. The last two are kept, and where the last is damaged the one before is used. ``config`` and
    ``schema`` are kept in the folder. The first Ctrl-C or SIGTERM ends training after the step at hand, with the run
    saved.

    After a step whose loss is not finite, ``retries`` times the run goes back to the start of its epoch and on at half
    the learning rate; this is said by a warning and in ``History.notes``.

    ``seed`` decides the order of rows and all noise; the caller's generators are left as they were.
    ``progress`` None shows progress on terminals; ``on_start`` is called when data and model have been accepted and
    nothing is written yet, ``on_epoch`` with each epoch's record.

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
    objective = ELBO() if objective is None else objective
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be one of reparam.objectives, not {type(objective).__name__}")
    check_options(
        epochs=epochs, batch_size=batch_size, lr=lr, patience=patience, seed=seed, retries=retries,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    data, held = split(as_dataset(x, contexts), validation, seed)
    auxiliary = Auxiliary(objective, reference(vae))
    check_data(vae, objective, data, held)
    if on_start is not None:
        on_start()
    optimizer = torch.optim.Adam(vae.parameters(), lr=value(lr), fused=True)
    settings = _settings(vae, objective, data, epochs, batch_size, lr, seed)
    folder = None if out is None else RunWriter(
        Path(out), vae, optimizer, auxiliary, settings, _earlier(objective), resume, checkpoint_seconds
    )  # fmt: skip
    with (
        seeding.seeded(seed),
        flushed_denormals(),
        stop_request() as stop,
        following(vae) as tell,
        folder or nullcontext(),
    ):
        position, best = (folder.read() if folder and resume else None) or (Position(), None)
        if position.epoch > epochs:
            raise InputError(f"the run in {out} has {position.epoch} epochs already: give more than that, not {epochs}")
        if folder:
            folder.start(config or {}, schema or Schema.of(data), position)
        history = History(position.records, sign=objective.sign)
        started = time.monotonic() - position.seconds
        good = State.of(vae, optimizer, auxiliary, position)
        _training_mode(vae)
        with Progress(epochs * len(data), "rows", progress) as bar:
            while position.epoch < epochs and not _exhausted(position, patience) and not stop.asked():
                for batch in _batches(data, batch_size, seed, position, reference(vae)):
                    now = _share(position, len(batch[0]), len(data), epochs)
                    optimizer.param_groups[0]["lr"] = rate = position.lr_factor * value(lr, now)
                    terms = _step(vae, objective, optimizer, auxiliary, batch, tell(now), len(data))
                    if terms is None:
                        culprit = diagnose(vae, objective, batch)
                        if position.retries == retries:
                            _stop_at_non_finite(vae, culprit, len(batch[0]), position, rate, good.weights, folder)
                        position.go_back(good.put(vae, optimizer, auxiliary), culprit, rate)
                        break
                    position.take(len(batch[0]), terms)
                    bar.update(position.epoch * len(data) + position.rows, history.summary(position.epoch, epochs))
                    if stop.asked():
                        break
                    if folder and folder.due():
                        position.seconds = time.monotonic() - started
                        folder.save(best, position)
                position.seconds = time.monotonic() - started
                if position.rows < len(data):
                    continue
                weights = scheduled(vae, objective, lr, _share(position, 0, len(data), epochs))
                record = _end_epoch(vae, objective, data, held, position, seed, weights)
                good = State.of(vae, optimizer, auxiliary, position)
                best = good.weights if position.best_epoch == position.epoch else best
                if folder:
                    folder.end_epoch(record, best, position)
                if on_epoch is not None:
                    on_epoch(record)
            bar.update(
                position.epoch * len(data) + position.rows,
                history.summary(position.epoch, epochs),
                force=True,
            )
        if folder:
            folder.save(best, position)
    if best is not None:
        vae.load_state_dict(best)
    vae.eval()
    _close(history, position, objective, len(data), epochs, stop.asked())
    return history


def _settings(
    vae: VAE, objective: Objective, data: Dataset, epochs: int, batch_size: int, lr: Weight, seed: int
) -> dict[str, Any]:
    """What a resumed run must have in common with the run that was begun."""
    settings = {
        "epochs": epochs, "batch_size": batch_size, "lr": str(lr) if isinstance(lr, Schedule) else lr, "seed": seed,
        "rows": len(data), "data": data.fingerprint(), "objective": repr(objective),
        "model": model_digest(vae),
    }  # fmt: skip
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


def _step(
    vae: VAE, objective: Objective, optimizer: torch.optim.Optimizer, auxiliary: Auxiliary,
    batch: tuple[Tensor, ...], now: float, rows: int,
) -> list[float] | None:  # fmt: skip
    """One step of gradient ascent: its mean terms, or None if a loss is not finite.

    Gradients are those of the objective ``now``, at this share of the run; the terms are those of its final weights.
    """
    draw = objective.draw(vae, *batch)
    bound = objective.bound(draw)
    current = objective.at(now)
    surrogate = current.surrogate(draw, bound if current is objective else current.bound(draw))
    penalty = torch.as_tensor(current.penalty(draw, rows))
    loss = penalty - surrogate.mean()
    if not math.isfinite(loss.detach()):
        return None
    layers = () if draw.kl_layers is None else draw.kl_layers  # before the step changes the networks between layers
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if not auxiliary.step(draw):
        return None
    with torch.no_grad():
        terms = (bound, draw.reconstruction, finite_kl(draw), penalty, *layers)
        means = [float(t.mean()) for t in terms]
    vae.absorb(draw)
    return means


def _training_mode(vae: VAE) -> None:
    """The model in training mode, but for parts whose parameters are all frozen: these keep still."""
    vae.train()
    for part in (vae.prior, vae.likelihood, vae.posterior):
        weights = list(part.parameters())
        if weights and not any(w.requires_grad for w in weights):
            part.eval()


def _stop_at_non_finite(
    vae: VAE, culprit: str, rows: int, position: Position, lr: float, good: Weights, folder: RunWriter | None
) -> NoReturn:
    """Put the last good weights back, keep them in the folder, and say what happened and what to try."""
    vae.load_state_dict(good)
    vae.eval()
    if folder:
        folder.save_weights(good)
    raise NonFiniteError(
        f"training stopped at step {position.step + 1} (epoch {position.epoch + 1}, rows {position.rows} to "
        f"{position.rows + rows - 1} of its order): not finite: {culprit}. The weights of the epoch's start "
        f"are kept. Try lr={lr / 10:g}, look for extreme values in the data, or standardise them"
    )


def _batches(data: Dataset, size: int, seed: int, position: Position, like: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The batches (x, *contexts) of this epoch from the run's position on, in an order that seed and epoch decide.

    Rows are gathered for many batches at once, which costs a fraction of gathering each.
    """
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed * 1_000_003 + position.epoch))
    block = size * max(1, _GATHERED_ROWS // size)
    begun = position.rows
    for start in range(begun // block * block, len(data), block):
        rows = data[order[start : start + block]]
        for at in range(max(0, begun - start), len(rows), size):
            some = slice(at, at + size)
            yield data.visit(rows.x[some], like), *rows.contexts_of(some, like)


def _end_epoch(
    vae: VAE, objective: Objective, data: Dataset, held: Dataset | None, position: Position, seed: int,
    weights: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Close the epoch: its means, its validation, and whether it is the best so far."""
    position.epoch += 1
    record: dict[str, Any] = {"epoch": position.epoch, "step": position.step}
    means = [s / len(data) for s in position.sums]
    record |= {f"train_{n}": mean for n, mean in zip(_TERMS, means, strict=False)}
    if layers := means[len(_TERMS) :]:
        record["train_kl_layers"] = layers
    record |= weights
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
    record["best_epoch"] = position.best_epoch
    record["seconds"] = round(position.seconds, 3)
    record["rows_per_second"] = round(position.epoch * len(data) / max(position.seconds, 1e-9))
    position.rows, position.sums = 0, []
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
