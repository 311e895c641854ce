"""Findings about samples beside held-out data, each with what a fresh half of the data gets by the same measure."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset
from reparam.errors import InputError
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.checks_columns import cells
from reparam.evaluate.diagnosis.finding import Number
from reparam.evaluate.diagnosis.subject import Subject, simulate, with_holes
from reparam.evaluate.draws import evaluating
from reparam.evaluate.likeness import Neighbourhoods, likeness, neighbourhoods, points_of
from reparam.vae import reference

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
HALF = 0.5  # of what a fresh half of the data reaches
# A measure that fresh data themselves fail, or would fail if they were 5% further from the others, tells nothing of a
# model: among many elements all distances are nearly equal, and a slight change moves all points across a radius.
CONTROL, FURTHER = 0.6, 1.05
# Neighbourhoods overlap, so that these shares vary more than shares of independent points: up to 1.7 times as much for
# Gaussian points in 2 to 10 dimensions.
OVERLAP = 2.0

_WORDS = {
    "precision": "samples lie where the data are, nearer to one of them than its third neighbour is",
    "coverage": "data have a sample nearer than their fifth neighbour",
}


class _Sets(NamedTuple):
    """Points (n, d), as many of each: one half of the data, the other half, and what the model makes beside it.

    ``samples`` are at z from the prior, ``means`` the means of p(x|z) there (None where it has none that compares), and
    ``again`` are draws of p(x|z) at the codes of the other half.
    """

    known: Tensor
    fresh: Tensor
    samples: Tensor
    again: Tensor
    means: Tensor | None


def samples(subject: Subject, chart: Chart) -> None:
    """Samples of the model against held-out data.

    Raises:
        InputError: where a measure cannot tell fresh data from others, after what can be said was said.
    """
    sets = _sets(subject, chart)
    made, control = (likeness(sets.known, t, subject.seed) for t in (sets.samples, sets.fresh))
    near = {
        "samples": neighbourhoods(sets.known, sets.samples),
        "fresh": neighbourhoods(sets.known, sets.fresh),
        "again": neighbourhoods(sets.known, sets.again),
        "further": neighbourhoods(sets.known, sets.fresh, FURTHER),
    }
    if sets.means is not None:
        near["means"] = neighbourhoods(sets.known, sets.means)
    for prefix, found in (("sample", made), ("control", control)):
        for name, value in found._asdict().items():
            if value is not None:
                share = name in ("precision", "recall", "coverage")
                chart.numbers[f"{prefix}_{name}"] = Number(value, _error(value, len(sets.known)) if share else math.nan)
    chart.pictures["samples"] = {
        "data": near["fresh"].nearest, "codes": near["again"].nearest, "samples": near["samples"].nearest,
    }  # fmt: skip
    unclear = [why for name in _WORDS if (why := _judged(name, near, len(sets.known), chart)) is not None]
    if unclear:
        raise InputError(
            f"{'; '.join(unclear)}: such distances say nothing about samples here; give features to compare them by "
            "(--features)"
        )


def _error(share: float, n: int) -> float:
    """At least the standard error of a share of n points, also where it is 0 or 1 (Agresti & Coull 1998)."""
    p = (share * n + 2) / (n + 4)
    return OVERLAP * math.sqrt(p * (1 - p) / (n + 4))


def _judged(name: str, near: dict[str, Neighbourhoods], n: int, chart: Chart) -> str | None:
    """The finding about this measure, or why there can be none."""
    value, usual, again, further = (getattr(near[k], name) for k in ("samples", "fresh", "again", "further"))
    chart.numbers[f"sample_{name}_at_codes"] = Number(again, _error(again, n))
    if usual < CONTROL:
        return f"fresh data have themselves a {name} of {usual:.0%}"
    if further < HALF * usual:
        return f"the {name} of fresh data would be {further:.0%}, not {usual:.0%}, if they lay 5% further away"
    away = Number(value - HALF * usual, math.hypot(_error(value, n), HALF * _error(usual, n)))
    noise = again < HALF * usual  # the prior is not to blame
    why, remedy = _noise(name, near, again, usual) if noise else _prior(name, again)
    weight = (0.1, 0.2) if noise else (0.2, 0.4)
    chart.find(
        f"samples_low_{name}", weight[0] + weight[1] * (1 - value / usual), chart.numbers[f"sample_{name}"],
        away.below(0),
        f"{value:.0%} of {_WORDS[name]}; of a fresh half of the data it is {usual:.0%} ({n} of each). {why}",
        remedy,
        unit="share", picture="samples", control=usual, at_codes=again,
    )  # fmt: skip
    return None


def _noise(name: str, near: dict[str, Neighbourhoods], again: float, usual: float) -> tuple[str, str]:
    """Draws at the codes of the data are as far away: the sentence about it, and what to change."""
    why = f"Draws of p(x|z) at the codes of data do no better ({again:.0%}), so that it is not the prior"
    means = getattr(near["means"], name) if "means" in near else 0.0
    if means >= HALF * usual:
        return (
            f"{why}; the means of p(x|z) at samples of the prior do ({means:.0%}): what is off is the noise of p(x|z), "
            "which is independent between elements.",
            "show means (sample --mean), or give the decoder more to tell, so that less is left to noise: more latent "
            "dimensions, longer training, a scale that is learned",
        )
    return (f"{why}.", "a better decoder: more latent dimensions or units, longer training, a scale that is learned")


def _prior(name: str, again: float) -> tuple[str, str]:
    """Draws at the codes of the data are not far away."""
    why = f"Draws of p(x|z) at the codes of data reach {again:.0%}: it is where the prior puts z."
    if name == "coverage":
        return why, "look for kinds of data that the samples miss; a prior that follows the codes (VampPrior, Flow)"
    return why, "a prior that follows the codes (priors.VampPrior, priors.Flow), or fewer latent dimensions"


def _sets(subject: Subject, chart: Chart) -> _Sets:
    data, seed, vae = subject.data, subject.seed, subject.vae
    half, like = len(data) // 2, reference(vae)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    first, second = order[:half], order[half : 2 * half]
    x, other = data.fixed(data.x, like, seed).cpu(), data[second]
    drawn, z = simulate(vae, other, half, seed, subject.table)
    with seeding.seeded(seeding.derived(seed, "samples")):
        again = torch.cat([p_x.sample().cpu() for _, _, p_x in subject.explained()])[second].to(x.dtype)
    made = [x[first], x[second], drawn.x.cpu(), with_holes(again, x[second], subject.table) if data.missing else again]
    known, fresh, samples, codes = (_points(subject, t, chart) for t in made)
    means = None if data.missing else _means(subject, z, other, chart)
    return _Sets(known, fresh, samples, codes, means)


def _means(subject: Subject, z: Tensor, data: Dataset, chart: Chart) -> Tensor | None:
    """The means of p(x|z), with the contexts of these rows; None where they are not finite or there are none."""
    c = data.contexts_of(slice(None), reference(subject.vae))
    with evaluating(subject.vae):
        try:
            return _points(subject, subject.vae.decode(z, *c).cpu(), chart)
        except (InputError, NotImplementedError):
            return None


def _points(subject: Subject, x: Tensor, chart: Chart) -> Tensor:
    if chart.features is None and subject.data.missing:
        return points_of(cells(subject, x))
    return points_of(x.to(reference(subject.vae)), chart.features)
