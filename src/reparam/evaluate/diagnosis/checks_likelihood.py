"""Findings about the likelihood: whether p(x|z) is as wide as what it misses, and of the right shape."""

from __future__ import annotations

import math

from torch import Tensor

from reparam.distributions import element_support
from reparam.evaluate.diagnosis import rows
from reparam.evaluate.diagnosis.calibration import Fit, fit_of, from_uniform
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.checks_columns import HEAP, column_fit
from reparam.evaluate.diagnosis.finding import Number, saturating, shown
from reparam.evaluate.diagnosis.subject import Subject, families

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
# E (x - E[x|z])² / E Var[x|z]: a scale wrong by 1.4 costs 0.1 nats in every element, which pictures and tables feel
TOO_WIDE, TOO_NARROW = 0.5, 2.0
OVERDISPERSED = 1.3  # the same for counts: a Poisson that is wrong by less loses under 0.02 nats in an element
SHAPE = 0.1  # Kolmogorov's distance of the transform from uniform: intervals that err by up to 20% of the data
FLOOR = 1e-5  # ten times the least scale that is kept exact: no real column, standardised, is known so well


def likelihood_fit(subject: Subject, chart: Chart) -> None:
    """Whether p(x|z) is as wide as what it misses, and of the right shape."""
    apart = len(subject.parts) > 1 or subject.data.missing  # columns of several kinds, each judged alone
    fit = fit_of(subject, math.prod(subject.data.event_shape) if apart else 200)
    coverage, dispersion = fit.coverage, fit.dispersion
    chart.numbers["coverage_80"] = coverage
    if apart:
        column_fit(subject, fit, SHAPE, chart)
        return
    distance = from_uniform(fit.pit.flatten().unsqueeze(1), len(fit.pit))
    chart.numbers["pit_distance"] = distance.number
    chart.pictures["pit"] = {"pit": fit.pit}
    chart.dispersion = dispersion
    if dispersion is not None:
        chart.numbers["dispersion"] = dispersion
    about = rows.kind(subject.data)
    if subject.counts:
        _counts(fit, chart)
        return
    named = False
    if about.whole and subject.data.pixel_max is None:
        family = "negative_binomial" if about.over > 1.1 else "poisson"
        named = True
        chart.find(
            "gaussian_on_counts", 0.5, Number(about.over, 0), 1.0,
            f"The data are whole numbers from {about.least:g} to {about.most:g}, and "
            f"{type(subject.vae.likelihood).__name__} is a density of real numbers: it wastes probability between "
            "them, and its nats cannot be compared with those of a model of counts.",
            f"--likelihood {family} (the variance of the columns is {about.over:.1f} times their mean)",
            unit="variance / mean",
        )  # fmt: skip
    if dispersion is not None:
        named |= _scale(dispersion, coverage, chart)
    if not named:
        _shape(subject, fit, distance.number, chart)


def _scale(dispersion: Number, coverage: Number, chart: Chart) -> bool:
    """A scale that is too large or too small for what is left over."""
    ratio = math.sqrt(max(dispersion.value, 0.0))
    wide, narrow = dispersion.below(TOO_WIDE), dispersion.above(TOO_NARROW)
    said = f"central 80% intervals hold {coverage.value:.0%} of the data"
    chart.find(
        "scale_too_large", 0.2 + 0.6 * saturating(1 / max(ratio, 1e-6) - 1, 2.0), dispersion, wide,
        f"The likelihood's scale is {1 / max(ratio, 1e-9):.2g} times what the reconstructions miss: {said}. The model "
        "is told not to look closer, and loses nats in every element.",
        'let it be learned (scale="shared" or "elementwise"), or divide it by that factor',
        unit="(missed / scale)²", picture="pit",
    )  # fmt: skip
    chart.find(
        "scale_too_small", 0.2 + 0.6 * saturating(ratio - 1, 2.0), dispersion, narrow,
        f"What the reconstructions miss is {ratio:.2g} times the likelihood's scale: {said}. On such rows the model is "
        "far too sure.",
        'let the scale be learned (scale="shared" or "elementwise"); if it is, the model has overfitted, or some rows '
        "are outliers: likelihoods.StudentT",
        unit="(missed / scale)²", picture="pit",
    )  # fmt: skip
    return max(wide, narrow) > 0.5


def _shape(subject: Subject, fit: Fit, distance: Number, chart: Chart) -> None:
    chart.find(
        "likelihood_misfit", 0.1 + 0.4 * saturating(distance.value, 0.3), distance, distance.above(SHAPE),
        f"The likelihood has another shape than what is left over: its transform of the data is {distance.value:.2f} "
        f"from uniform (coverage of central 80% intervals: {fit.coverage.value:.0%}).",
        _other_shape(subject),
        picture="pit",
    )  # fmt: skip


def _other_shape(subject: Subject) -> str:
    """What to try where a density has another shape than the data have around it."""
    x = subject.data.x.flatten()
    value = x.mode().values
    heap = float((x == value).double().mean())
    if heap > HEAP and not subject.data.binarize:
        return (
            f"{heap:.0%} of the elements are {shown(float(value))}, of which no density makes a heap: "
            "DiscretizedLogistic for levels such as grey values, a likelihood of counts for counts"
        )
    return (
        "look at the picture: heaps at both ends ask for heavier tails (StudentT, Laplace), one heap for another "
        "family (LogNormal for positive data, ContinuousBernoulli or DiscretizedLogistic for grey values)"
    )


def _counts(fit: Fit, chart: Chart) -> None:
    dispersion = fit.dispersion
    if dispersion is None:
        return
    chart.find(
        "overdispersed", 0.2 + 0.5 * saturating(dispersion.value - 1, 2.0), dispersion, dispersion.above(OVERDISPERSED),
        f"The data vary {dispersion.value:.2g} times as much around their predictions as the likelihood allows "
        "(variance over expected variance).",
        "--likelihood negative_binomial, whose variance may exceed its mean, or zero_inflated_poisson where zeros are "
        "too many",
        unit="variance / expected", picture="pit",
    )  # fmt: skip
    chart.find(
        "underdispersed", 0.3, dispersion, dispersion.below(TOO_WIDE),
        f"The data vary {dispersion.value:.2g} times as much around their predictions as the likelihood says.",
        "a likelihood that can be narrower than this one: binomial for a known number of trials, "
        "discretized_logistic for levels",
        unit="variance / expected", picture="pit",
    )  # fmt: skip


def scales(subject: Subject, chart: Chart) -> None:
    """Scales of likelihood or posterior that have run into their floor."""
    least, share, count = math.inf, 0.0, 0
    for _, _, p_x in subject.explained():
        for family, _, unit in families(p_x):
            scale, support = getattr(family, "scale", None), element_support(family)
            if isinstance(scale, Tensor) and scale.is_floating_point() and not (support and support.is_discrete):
                inside = scale.detach()
                least = min(least, float((inside if unit is None else inside * unit).min()))
                share += float((inside < FLOOR).double().sum())
                count += inside.numel()
    if count and share:
        chart.find(
            "scale_at_floor", 0.7, Number(share / count, 0), 1.0,
            f"{share / count:.1%} of the likelihood's scales are at their floor (the least is {least:.2g}): the "
            "density there grows without bound, and log p(x) says nothing.",
            "look for columns that never change or depend on others exactly, remove them, or fix the scale",
            unit="share",
        )  # fmt: skip
