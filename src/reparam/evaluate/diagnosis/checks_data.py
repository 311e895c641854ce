"""Findings about the data, the likelihood and the run."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.distributions import element_support
from reparam.evaluate.diagnosis import rows
from reparam.evaluate.diagnosis.calibration import Fit, fit_of, from_uniform
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import Number, saturating
from reparam.evaluate.diagnosis.subject import Subject, families
from reparam.evaluate.diagnosis.training import dead_units, gradient_norms
from reparam.evaluate.likelihood import log_likelihood
from reparam.evaluate.likeness import sample_quality
from reparam.vae import has_density

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
# E (x - E[x|z])² / E Var[x|z]: a scale wrong by 1.4 costs 0.1 nats in every element, which pictures and tables feel
TOO_WIDE, TOO_NARROW = 0.5, 2.0
OVERDISPERSED = 1.3  # the same for counts: a Poisson that is wrong by less loses under 0.02 nats in an element
SHAPE = 0.1  # Kolmogorov's distance of the transform from uniform: intervals that err by up to 20% of the data
FLOOR = 1e-5  # ten times the least scale that is kept exact: no real column, standardised, is known so well
DEAD = 0.5  # of a layer: ReLU layers of good models often have a third of their units at zero for all rows
FALL, FALL_NATS = 20.0, 1.0  # typical changes between epochs, and nats: later than noise and large enough to matter
# medians of an epoch's root mean square norm of the gradient: one step of a hundred that is a hundred times too large
EXPLODED = 10.0
COPIED = 0.005  # of the rows: fewer copies change no score by more than its error


def _discrete(subject: Subject) -> bool:
    for _, _, p_x in subject.explained():
        support = element_support(p_x)
        return support is not None and bool(support.is_discrete)
    return False


def likelihood_fit(subject: Subject, chart: Chart) -> None:
    """Whether p(x|z) is as wide as what it misses, and of the right shape."""
    fit = fit_of(subject)
    coverage, dispersion = fit.coverage, fit.dispersion
    chart.numbers["coverage_80"] = coverage
    distance = from_uniform(fit.pit.flatten().unsqueeze(1), len(fit.pit))
    chart.numbers["pit_distance"] = distance.number
    chart.pictures["pit"] = {"pit": fit.pit}
    chart.dispersion = dispersion
    if dispersion is not None:
        chart.numbers["dispersion"] = dispersion
    about = rows.kind(subject.data)
    if _discrete(subject):
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
        _shape(fit, distance.number, chart)


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


def _shape(fit: Fit, distance: Number, chart: Chart) -> None:
    chart.find(
        "likelihood_misfit", 0.1 + 0.4 * saturating(distance.value, 0.3), distance, distance.above(SHAPE),
        f"The likelihood has another shape than what is left over: its transform of the data is {distance.value:.2f} "
        f"from uniform (coverage of central 80% intervals: {fit.coverage.value:.0%}).",
        "look at the picture: heaps at both ends ask for heavier tails (StudentT, Laplace), one heap for another "
        "family (LogNormal for positive data, ContinuousBernoulli or DiscretizedLogistic for grey values)",
        picture="pit",
    )  # fmt: skip


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
            scale = getattr(family, "scale", None)
            if (
                isinstance(scale, Tensor)
                and scale.is_floating_point()
                and not (element_support(p_x) or _None).is_discrete
            ):
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


class _None:
    is_discrete = False


def columns(subject: Subject, chart: Chart) -> None:
    """Elements that never change."""
    fixed = rows.constants(subject.whole)
    learns = [m for m in subject.vae.likelihood.modules() if getattr(m, "learns_scale", False)]
    grows = any(getattr(m, "kind", None) != "shared" for m in learns)
    table = len(subject.whole.event_shape) == 1
    if not fixed or not (table or grows):  # pixels at the border of images are often constant, and harmless
        return
    names = subject.whole.columns
    shown = ", ".join(repr(names[i]) if names else str(i) for i in fixed[:8]) + (" ..." if len(fixed) > 8 else "")
    chart.find(
        "constant_columns", 0.8 if grows else 0.15, Number(len(fixed), 0), 1.0,
        f"{len(fixed)} column{'s' * (len(fixed) > 1)} never change{'s' * (len(fixed) == 1)}: {shown}."
        + (" A learned scale collapses on them, and the density grows without bound." if grows else ""),
        "leave them out of the data" + (", or fix the scale" if grows else ""),
        unit="columns", columns=fixed,
    )  # fmt: skip


def likely_rows(subject: Subject, chart: Chart) -> None:
    """Outliers and duplicates, by log p(x)."""
    method = "importance" if _has_density(subject) else "prior"
    log_p = log_likelihood(subject.vae, subject.data, 100, method, subject.seed).per_datum
    chart.numbers.setdefault("log_likelihood", Number.mean(log_p))
    simulated = subject.simulated(min(500, max(50, len(subject.data))))
    own = log_likelihood(subject.vae, simulated, 100, method, subject.seed).per_datum
    chart.pictures["log_p"] = {"data": log_p, "simulated": own}
    if len(log_p) >= 50:
        far = rows.outliers(log_p, own)
        share = len(far.rows) / len(log_p)
        if far.rows and share < 0.05:
            chart.find(
                "outliers", 0.15 + 0.3 * saturating(share, 0.02), Number(len(far.rows), 0), 1.0,
                f"{len(far.rows)} of {len(log_p)} rows are less likely than anything that the model makes: log p(x) "
                f"down to {far.log_p[0]:.4g} nats, below a limit of {far.limit:.4g}.",
                "look at these rows (wrong units, typing errors, another kind of data); mend or remove them, or choose "
                "a likelihood with heavy tails (StudentT)",
                unit="rows", picture="log_p", rows=_original(subject, far.rows)[:50], log_p=far.log_p[:50],
            )  # fmt: skip
    _duplicates(subject, log_p, chart)


def _has_density(subject: Subject) -> bool:
    x = subject.data[:1]
    like = next(subject.vae.parameters(), torch.empty(0))
    with torch.no_grad():
        return has_density(subject.vae.posterior(x.fixed(x.x, like, 0), *(c.to(like.device) for c in x.contexts)))


def _original(subject: Subject, chosen: list[int]) -> list[int]:
    """Row numbers in the whole data."""
    n, most = len(subject.whole), len(subject.data)
    if n == most:
        return chosen
    order = torch.randperm(n, generator=torch.Generator().manual_seed(subject.seed))[:most].sort().values
    return [int(order[i]) for i in chosen]


def _duplicates(subject: Subject, log_p: Tensor, chart: Chart) -> None:
    whole: Dataset = subject.whole
    resolution = rows.log_steps(whole, _discrete(subject))
    pairs = rows.equal_pairs(whole, log_p, resolution)
    share = pairs.rows / len(whole)
    # a Poisson number of pairs exceeds this less than once in 10,000
    chance = pairs.expected + 4 * math.sqrt(pairs.expected) + 4
    if pairs.found > 2 * chance and share > COPIED:
        chart.find(
            "duplicates", 0.1 + 0.4 * saturating(share, 0.2), Number(pairs.rows, 0), 1.0,
            f"{pairs.rows} of {len(whole)} rows ({share:.1%}) are equal to an earlier one; by log p(x), chance makes "
            f"about {pairs.expected:.2g} equal pairs, and there are {pairs.found}.",
            "remove the copies: they count double in training, and make held-out scores too good where copies stand "
            "on both sides",
            unit="rows",
        )  # fmt: skip
    if subject.train is not None:
        shared = rows.shared_rows(whole, subject.train)
        expected = pairs.expected * 2 * len(subject.train) / max(1, len(whole) - 1)
        if shared > 2 * (expected + 4 * math.sqrt(expected) + 4) and shared > COPIED * len(whole):
            chart.find(
                "test_rows_in_training", 0.2 + 0.7 * saturating(shared / len(whole), 0.2), Number(shared, 0), 1.0,
                f"{shared} of {len(whole)} held-out rows also stand in the training data: scores on them are too good.",
                "hold out other rows, or remove the copies before splitting",
                unit="rows",
            )  # fmt: skip


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


def samples(subject: Subject, chart: Chart) -> None:
    """Samples of the model against held-out data."""
    quality = sample_quality(subject.vae, subject.data, subject.seed, features=chart.features)
    n = len(subject.data) // 2
    for name, value in quality.samples._asdict().items():
        if value is not None:
            chart.numbers[f"sample_{name}"] = Number(value, math.nan)
    for name, words, remedy in (
        ("precision", "of samples lie where the data are",
         "a prior that the codes fill, a better decoder, or more latent dimensions"),
        ("coverage", "of data have a sample near them",
         "look for kinds of data that the samples miss; a richer prior, or a scale of the likelihood that is learned"),
    ):  # fmt: skip
        value, usual = getattr(quality.samples, name), getattr(quality.baseline, name)
        number = Number(value, math.sqrt(max(usual * (1 - usual), 0.25 / n) / n))
        chart.find(
            f"samples_low_{name}", 0.2 + 0.4 * (1 - value / max(usual, 1e-9)), number, number.below(0.5 * usual),
            f"{value:.0%} {words}, against {usual:.0%} for other data.", remedy, picture="samples",
        )  # fmt: skip
