"""What is looked at before training writes or changes anything, and when it has gone wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam import seeding
from reparam.data import Dataset, as_dataset
from reparam.errors import InputError
from reparam.evaluate.draws import evaluating
from reparam.objectives import Objective
from reparam.objectives.base import Around, Penalized
from reparam.schedules import Schedule, checked_weight
from reparam.vae import VAE, reference

_ROWS, _ELEMENTS = 8192, 1 << 24


def check_options(**options: Any) -> None:
    """Refuse numbers that make no training.

    Raises:
        InputError: naming the option and what it may be.
    """
    for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("retries", 0)):
        value = options[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    lr = options["lr"]
    if isinstance(lr, Schedule):
        checked_weight("lr, the learning rate,", lr)
    elif not (isinstance(lr, float | int) and 0 < lr < math.inf):
        raise InputError(f"lr, the learning rate, must be positive, not {lr!r}")
    if not options["checkpoint_seconds"] >= 0:
        raise InputError(f"checkpoint_seconds must not be negative, not {options['checkpoint_seconds']!r}")
    seed = options["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed must be a whole number from 0 to 2**32 - 1, not {seed!r}")


def split(data: Dataset, validation: float | Any | None, seed: int) -> tuple[Dataset, Dataset | None]:
    """The rows to train on and those held out: further data, or a share of the rows chosen by the seed.

    Raises:
        InputError: for a share outside (0, 1), or fewer than 2 rows.
    """
    if len(data) < 2:
        raise InputError("training needs at least 2 rows; the data have 1")
    if validation is None:
        return data, None
    if isinstance(validation, bool) or not isinstance(validation, float | int):
        held = as_dataset(validation, missing=data.missing)
        if held.event_shape != data.event_shape:
            raise InputError(f"training data have shape {data.event_shape}, validation data {held.event_shape}")
        shapes = [[tuple(c.shape[1:]) for c in part.contexts] for part in (data, held)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"training data have contexts of shapes {shapes[0]}, validation data {shapes[1]}: give the latter as "
                "Dataset(x, contexts=...)"
            )
        return data, held
    if not 0 < validation < 1:
        raise InputError(f"validation is a share of the rows between 0 and 1, or further data, not {validation!r}")
    count = min(len(data) - 1, max(1, round(len(data) * validation)))
    kept, held = data.apart(count, seed)
    return kept, held.weighed(seed)


def check_data(vae: VAE, objective: Objective, data: Dataset, held: Dataset | None) -> None:
    """Refuse data, models and objectives that do not fit each other, by one draw and a look at every value.

    Raises:
        InputError: in one sentence that says what does not fit.
    """
    like = reference(vae)
    with evaluating(vae), seeding.seeded(0):
        _trial(vae, objective, data, like)
        for part in (data, held):
            rows = len(part) if part is not None and part.binarize is None else 0  # binarised data are 0 and 1
            for start in range(0, rows, step := _at_once(data)):
                assert part is not None
                some = slice(start, start + step)
                x, c = part.grey(part.x[some], like), part.contexts_of(some, like)
                vae.check(x, *c, columns=data.columns, first_row=start)
    _refuse_lost_digits(data, like)
    _warn_of_constants(vae, data, like)


def _at_once(data: Dataset) -> int:
    """How many rows are looked at together."""
    return max(1, min(_ROWS, _ELEMENTS // max(1, math.prod(data.event_shape))))


def _trial(vae: VAE, objective: Objective, data: Dataset, like: Tensor) -> None:
    x, c = data.visit(data.x[:2], like), data.contexts_of(slice(0, 2), like)
    p, q = vae.prior(*c), vae.posterior(x, *c)
    for role, d in (("prior", p), ("posterior", q)):
        if len(d.event_shape) != 1:
            raise InputError(
                f"the {role}'s distribution has event shape {tuple(d.event_shape)}, not (D,): wrap independent "
                "elements in torch.distributions.Independent(..., 1)"
            )
    if p.event_shape != q.event_shape:
        raise InputError(
            f"the prior has {p.event_shape[-1]} latent dimensions and the posterior {q.event_shape[-1]}: "
            "give the encoder's net the number of outputs that its posterior documents"
        )
    with torch.enable_grad():  # everything that a step asks of the objective, so that it refuses now
        vae(x, *c, k=objective.k)
        draw = objective.draw(vae, x, *c)
        objective.surrogate(draw, objective.bound(draw))
        objective.penalty(draw, len(data))
        for adversary in objective.adversaries():
            adversary.loss(draw)


def _refuse_lost_digits(data: Dataset, like: Tensor) -> None:
    """Elements that vary by less than the model's dtype can tell apart at their size, such as times in seconds.

    Raises:
        InputError: naming the first of them.
    """
    if data.pixel_max is not None or data.x.dtype in (torch.bool, like.dtype, torch.float16, torch.bfloat16):
        return
    x = data.x[: _at_once(data)].double()
    spread, size = x.std(0), x.abs().amax(0)
    lost = (spread > 0) & (spread < 100 * torch.finfo(like.dtype).eps * size)
    if bool(lost.any()):
        first = tuple(int(i) for i in lost.nonzero()[0])
        place, dtype = data.place(0, first).partition(", ")[2], str(like.dtype).removeprefix("torch.")
        raise InputError(
            f"{place} varies by {float(spread[first]):.3g} around {float(x.mean(0)[first]):.9g}, which {dtype} cannot "
            "tell apart: subtract an offset from it first"
        )


def _warn_of_constants(vae: VAE, data: Dataset, like: Tensor) -> None:
    """A learned scale of an element that never changes shrinks towards zero and the likelihood towards infinity."""
    learns = [m for m in vae.likelihood.modules() if getattr(m, "learns_scale", False)]
    if not learns or learns[0].kind == "shared":
        return
    first_row, constant = data.x[:1], torch.ones(data.event_shape, dtype=torch.bool)
    for part in data.x.split(_at_once(data)):
        constant &= (part == first_row).all(0).cpu()
    if bool(constant.any()):
        first = [int(i) for i in constant.nonzero()[0]]
        warnings.warn(
            f"{int(constant.sum())} element(s) of the data never change, the first at {data.place(0, first)}: a "
            "learned scale collapses on them and their density grows without bound; remove them, or fix the scale",
            UserWarning,
            stacklevel=3,
        )


def warn_of_shortfalls(objective: Objective, done: float) -> list[str]:
    """A warning for each weight of the objective that is not at its final value at this share of the run."""
    notes = [
        f"training ended after {done:.0%} of the run, with {name} at {schedule(done):.3g} and not yet at its final "
        f"{schedule(1.0):.3g}: the reports are of the final value, for which the model was not yet trained"
        for name, schedule in objective.schedules().items()
        if abs(schedule(done) - schedule(1.0)) > 1e-6 * abs(schedule(1.0))
    ]
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=4)
    return notes


UNKNOWN = "the objective"


def diagnose(vae: VAE, objective: Objective, batch: tuple[Tensor, ...], rows: Sequence[int], first: int = 0) -> str:
    """Name the first tensor that is not finite: of the weights, of the data, or of the draw.

    ``rows`` are the numbers of the batch's rows among those that are trained on; these begin at its row ``first``.
    """
    for name, weight in vae.named_parameters():
        if not bool(weight.isfinite().all()):
            return f"the weights {name}, which the step before made so"
    if bool(batch[0].isinf().any()):  # NaN is a missing value, or was refused
        return "the data of the batch"
    with torch.no_grad():
        draw = vae(*batch, k=objective.k, check=False)
    for name in ("z", "log_px", "log_pz", "log_qz"):
        bad = ~getattr(draw, name).isfinite()
        if bool(bad.any()):
            row = int(bad.nonzero()[0][1])
            return f"{name} of row {first + row} of the batch, row {rows[row]} of those trained on"
    return UNKNOWN


def check_crew(vae: VAE, objective: Objective) -> None:
    """Refuse what several processes cannot do as one does: whatever reads a batch as a whole.

    Raises:
        InputError: naming it.
    """
    what = None
    for module in vae.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            what = f"{type(module).__name__}, which normalises by the batch"
    inner = objective
    while isinstance(inner, Around) and not isinstance(inner, Penalized):
        inner = inner.objective
    if type(inner).penalty is not Objective.penalty:
        what = "a penalty, which is a property of a whole batch"
    if objective.adversaries() or hasattr(vae.posterior, "absorb"):
        what = "what is trained beside the model, a discriminator or a codebook"
    if what is not None:
        raise InputError(f"several processes divide a batch by rows, and cannot train with {what}: use one process")
