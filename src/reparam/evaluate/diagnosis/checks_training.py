"""Findings about the run: its weight of the KL, its warm-up, falls of the objective, gradients, and dead units."""

from __future__ import annotations

import math

from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import Number, saturating
from reparam.evaluate.diagnosis.subject import Subject
from reparam.evaluate.diagnosis.training import dead_units, gradient_norms

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
DEAD = 0.5  # of a layer: ReLU layers of good models often have a third of their units at zero for all rows
FALL, FALL_NATS = 20.0, 1.0  # typical changes between epochs, and nats: later than noise and large enough to matter
# medians of an epoch's root mean square norm of the gradient: one step of a hundred that is a hundred times too large
EXPLODED = 10.0


def training(subject: Subject, chart: Chart) -> None:
    """What the run says: its weight of the KL, its warm-up, falls of the objective, gradients, and dead units."""
    run = chart.run
    for name, (then, end) in run.unfinished().items():
        chart.find(
            "unfinished_warm_up", 0.3 + 0.4 * min(1.0, abs(end - then) / max(abs(end), 1e-9)), Number(then, 0), 1.0,
            f"The weights kept are those of epoch {run.kept} of {run.epochs}, when {name} was {then:.3g} and not yet "
            f"{end:.3g}: the model was never trained for the bound that is reported.",
            "train longer (reparam resume, with more patience), or let the warm-up end earlier (over=0.1)",
            weight_of=name,
        )  # fmt: skip
    if run.beta is not None and abs(run.beta - 1) > 1e-9:
        more = run.beta > 1
        chart.find(
            "beta_not_one", 0.15 + 0.25 * saturating(abs(math.log(max(run.beta, 1e-6))), 1.0), Number(run.beta, 0), 1.0,
            f"The model was trained with beta = {run.beta:g}: "
            + ("it pays for every nat of the code that many times, and its log p(x) is lower than it could be." if more
               else "it did not pay in full for its code, and samples from the prior suffer."),
            "train with beta = 1 for the best log p(x); keep it where "
            + ("separate dimensions" if more else "sharp reconstructions") + " were the purpose",
        )  # fmt: skip
    _falls(chart)
    dead = dead_units(subject.vae, subject.data, subject.seed)
    if dead:
        worst = max(dead, key=lambda name: dead[name])
        chart.numbers["dead_units"] = Number(dead[worst], 0)
        chart.find(
            "dead_units", 0.1 + 0.3 * dead[worst], Number(dead[worst], 0), float(dead[worst] > DEAD),
            f"{dead[worst]:.0%} of the units of {worst} are zero for every row.",
            "a smaller learning rate or a warm-up of it (schedules.WarmUp), or an activation that does not die (silu)",
            unit="share", layers={name: round(v, 4) for name, v in dead.items()},
        )  # fmt: skip


def _falls(chart: Chart) -> None:
    fall = chart.run.falls()
    if fall is not None and fall[0] > FALL:
        values = [float(r["train_objective"]) for r in chart.run.records]
        by = values[fall[1] - 2] - values[fall[1] - 1]
        chart.find(
            "unstable_training", 0.3, Number(by, 0), float(by > FALL_NATS),
            f"The training objective fell by {by:.3g} nats in epoch {fall[1]}, {fall[0]:.0f} times its usual change.",
            "a smaller learning rate, or clipped gradients",
            unit="nats", picture="curves",
        )  # fmt: skip
    norms = gradient_norms(chart.run.records)
    if len(norms) >= 4:
        middle, largest = sorted(norms)[len(norms) // 2], max(norms[len(norms) // 4 :])
        chart.find(
            "exploding_gradients", 0.4, Number(largest, 0), float(largest > EXPLODED * max(middle, 1e-12)),
            f"The norm of the gradient, its root mean square over an epoch, reached {largest:.3g}; its median over "
            f"epochs is {middle:.3g}.",
            "clip gradients, or lower the learning rate",
        )  # fmt: skip
