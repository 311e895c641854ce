"""Findings about the latent space and the posterior."""

from __future__ import annotations

import math

import torch

from reparam.data import Dataset
from reparam.evaluate.bounds import elbo_terms
from reparam.evaluate.diagnosis.calibration import from_uniform, sbc
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import Number, saturating
from reparam.evaluate.diagnosis.gaps import STEPS, Gaps, gaps
from reparam.evaluate.diagnosis.latent import (
    Codes,
    aggregate_kl,
    codes,
    correlations,
    idle_dimensions,
    mutual_information,
)
from reparam.evaluate.diagnosis.subject import Subject, some
from reparam.evaluate.diagnostics import active_units
from reparam.evaluate.likelihood import log_likelihood
from reparam.evaluate.refine import refined

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
COLLAPSED = 0.05  # nats of KL in all: a code by which nothing can be told apart (a coin's outcome is 0.7)
# nats that q(z) may be away from p(z), the gain of a better prior; where much is encoded, a share of the mean KL, since
# the codes of a finite training set always lie a little apart
HOLES, SHARE_OF_KL = 1.0, 0.2
CORRELATED = 0.4  # a sixth of the variance of one latent is told by another
GAP, SHARE_OF_GAP = 1.0, 0.1  # nats, and share of the mean KL: less than models of one kind differ by
ANNEALING = 100  # steps, for rows that importance sampling cannot give
MANY = 0.2  # the share of such rows above which all rows are annealed
OVERFITTED = 0.5  # nats by which a gap may be larger on held-out rows: half of what counts as a gap
CALIBRATION = 0.15  # Kolmogorov's distance of ranks from uniform: a shift of 0.4 or a factor of 1.9 in the spread


def latent_space(subject: Subject, chart: Chart) -> None:
    """Collapse, holes and correlation."""
    c = codes(subject.vae, subject.data, subject.seed)
    rate, information, away = Number.mean(c.kl), mutual_information(c), aggregate_kl(c)
    dim = c.z.shape[1]
    chart.numbers |= {
        "kl": rate,
        "active_units": Number(active_units(c.mean), 0),
        "mutual_information_lower": information.lower,
        "mutual_information_upper": information.upper,
        "aggregate_kl_lower": away.lower,
        "aggregate_kl_upper": away.upper,
    }
    if c.each is not None:
        each = [Number.mean(column) for column in c.each.T]
        chart.pictures["latent_kl"] = {"value": [n.value for n in each], "stderr": [n.error for n in each]}
    idle = idle_dimensions(c)
    sure = rate.below(COLLAPSED)
    if sure > 0.5 or (idle is not None and len(idle) == dim):
        chart.find(
            "posterior_collapse", 0.95, rate, sure,
            f"The latent code says nothing about the data: q(z|x) is the prior for every x, KL {rate} nats in all "
            f"{dim} dimension{'s' * (dim > 1)}.",
            "warm the KL up from 0 over the first part of the run (beta=Linear(0, 1, over=0.2)), give free bits "
            "(free_nats=0.1), use a weaker decoder or a smaller likelihood scale, and check that beta is not above 1",
            unit="nats", picture="latent_kl",
        )  # fmt: skip
    elif idle:
        chart.find(
            "collapsed_dimensions", 0.1 + 0.4 * len(idle) / dim, Number(len(idle), 0), 1.0,
            f"{len(idle)} of {dim} latent dimensions carry nothing (KL below 0.01 nats and a posterior mean that does "
            f"not vary): {_list(idle)}.",
            f"if the model is good enough, train it with {dim - len(idle)} dimensions; else warm the KL up from 0, or "
            "give free bits (free_nats=0.1)",
            unit="dimensions", picture="latent_kl", dimensions=idle,
        )  # fmt: skip
    if c.shared_prior:
        limit = max(HOLES, SHARE_OF_KL * rate.value)
        chart.find(
            "holes", 0.2 + 0.6 * saturating(away.lower.value, 5.0), away.lower, away.lower.above(limit),
            f"The codes do not fill the prior: q(z) of all data is at least {away.lower} nats away from p(z), so that "
            "samples come from places where no data lie. The ELBO would gain that much from a prior that fits.",
            "give a prior that follows the codes (priors.VampPrior or priors.Flow), or raise beta a little",
            unit="nats", picture="latent",
        )  # fmt: skip
        chart.pictures["latent"] = {"means": c.mean, "z": c.z}
        _correlation(c, chart)


def _correlation(c: Codes, chart: Chart) -> None:
    n, dim = c.z.shape
    if dim < 2 or n < 10:
        return
    r = correlations(c).fill_diagonal_(0)
    where = int(r.abs().argmax())
    i, j = divmod(where, dim)
    value = float(r[i, j].abs())
    # of the largest of all pairs: by Fisher's transform, shifted by what the largest of so many normal numbers is
    pairs = dim * (dim - 1) / 2
    height = math.atanh(min(value, 1 - 1e-9)) - math.sqrt(2 * math.log(pairs) / (n - 3))
    sure = Number(height, 1 / math.sqrt(n - 3)).above(math.atanh(CORRELATED))
    number = Number(value, (1 - value**2) / math.sqrt(n))
    chart.numbers["largest_correlation"] = number
    chart.find(
        "correlated_dimensions", 0.1 + 0.3 * saturating(value, 1.0), number, sure,
        f"Latent dimensions {i} and {j} are correlated over the data by {float(r[i, j]):.2f}; the prior says they are "
        "not.",
        "if one of them is enough, train with fewer dimensions; else a prior that can follow them (priors.Flow, "
        "priors.VampPrior), or objectives.Penalized with a penalty on total correlation",
        dimensions=[i, j],
    )  # fmt: skip


def elbo_gaps(subject: Subject, chart: Chart) -> None:
    """The gaps of the ELBO on held-out rows and on training rows, and what they say of encoder and decoder."""
    held = _gaps(subject, some(subject.data, chart.gap_rows, subject.seed))
    chart.held = held
    chart.numbers |= held.numbers()
    terms = elbo_terms(subject.vae, subject.data, 5, subject.seed)
    missed = Number.mean(-terms.reconstruction.per_datum)
    chart.numbers |= {"rate": Number.mean(terms.kl.per_datum), "distortion": missed}
    limit = max(GAP, SHARE_OF_GAP * terms.kl.value)
    fresh = held
    overfitted = False
    if subject.train is not None:
        seen = _gaps(subject, some(subject.train, chart.gap_rows, subject.seed))
        chart.seen = seen
        chart.numbers |= seen.numbers("_train")
        overfitted = _overfitting(held.amortisation, seen.amortisation, held.log_p, seen.log_p, chart)
        fresh = seen  # what the encoder loses on rows that it was trained on is underfitting
    lost = Number.mean(fresh.amortisation)
    where = "on its own training rows" if subject.train is not None else "on these rows"
    if not (overfitted and subject.train is None):
        chart.find(
            "encoder_underfits", 0.1 + 0.5 * saturating(lost.value, 5.0), lost, lost.above(limit),
            f"The encoder loses {lost} nats {where} against the best q of its own family for each datum.",
            "train longer or with a smaller learning rate at the end, or give the encoder more hidden units",
            unit="nats", picture="gaps",
        )  # fmt: skip
    rest = Number.mean(held.approximation)
    chart.find(
        "posterior_too_simple", 0.1 + 0.4 * saturating(rest.value, 5.0), rest, rest.above(limit),
        f"Even the best q of this family is {rest} nats from log p(x): p(z|x) has another shape than the family.",
        "posteriors.FullGaussian or posteriors.Flow, or objectives.IWAE, which needs less of q",
        unit="nats", picture="gaps",
    )  # fmt: skip
    chart.pictures["gaps"] = {
        "held": [float(t.mean()) for t in (held.elbo, held.best, held.log_p)],
        "train": None if chart.seen is None else [
            float(t.mean()) for t in (chart.seen.elbo, chart.seen.best, chart.seen.log_p)
        ],
    }  # fmt: skip


def _gaps(subject: Subject, data: Dataset) -> Gaps:
    """The gaps, with log p(x) by annealed importance sampling where the weights of both q are too heavy.

    The path starts at the best q, which is near where p(z|x) is. k-hat does not see all of the rows that are far off,
    so that where a fifth of them are heavy all are annealed; of two lower bounds in expectation the higher is kept.
    """
    found = gaps(subject.vae, data, subject.seed)
    rows = found.heavy.nonzero().flatten()
    if len(rows) == 0:
        return found
    if len(rows) > MANY * len(data):
        rows = torch.arange(len(data))
    best = refined(subject.vae, STEPS, seed=subject.seed)
    annealed = log_likelihood(best, data[rows], 16, "ais", subject.seed, steps=ANNEALING, start="posterior")
    log_p = found.log_p.clone()
    if annealed.value > float(log_p[rows].mean()):
        log_p[rows] = annealed.per_datum
    return found._replace(log_p=log_p)


def _overfitting(
    amortisation: torch.Tensor, seen: torch.Tensor, log_p: torch.Tensor, seen_p: torch.Tensor, chart: Chart
) -> bool:
    """Whether the encoder, and whether the decoder, does worse on rows that it has not seen."""
    more = Number.mean(amortisation) - Number.mean(seen)
    chart.numbers["amortisation_gap_test_less_train"] = more
    sure = more.above(OVERFITTED)
    chart.find(
        "encoder_overfits", 0.2 + 0.5 * saturating(more.value, 5.0), more, sure,
        f"The encoder has learned its training rows by heart: on held-out rows it loses {more} nats more against the "
        "best q for each datum.",
        "train on more rows, stop earlier (validation and patience), or shrink the encoder; scores by importance "
        "sampling are less hurt than the ELBO",
        unit="nats", picture="gaps",
    )  # fmt: skip
    drop = Number.mean(seen_p) - Number.mean(log_p)
    spread = float(torch.cat([log_p - log_p.mean(), seen_p - seen_p.mean()]).square().mean().sqrt())
    chart.numbers["train_test_gap"] = drop
    chart.find(
        "decoder_overfits", 0.2 + 0.6 * saturating(drop.value / max(spread, 1e-9), 2.0), drop,
        drop.above(max(OVERFITTED, 0.5 * spread)),
        f"The model has learned its training rows by heart: log p(x) is {drop} nats higher on them than on held-out "
        f"rows, whose own spread is {spread:.3g}.",
        "train on more rows, stop earlier (validation and patience), or make the decoder smaller",
        unit="nats", picture="gaps",
    )  # fmt: skip
    return sure >= 0.5


def posterior_calibration(subject: Subject, chart: Chart) -> None:
    """Simulation-based calibration of q(z|x)."""
    ranks = sbc(subject.vae, subject.data, min(1000, 2 * len(subject.data)), subject.seed)
    distance = from_uniform(ranks)
    number = distance.number
    chart.numbers["sbc_distance"] = number
    chart.pictures["sbc"] = {"ranks": ranks, "dimension": distance.where}
    u = ranks[:, distance.where]
    outside = float(((u < 0.1) | (u > 0.9)).double().mean())
    middle = float(u.mean())
    words = (
        "is shifted to one side of" if abs(middle - 0.5) > 0.1
        else "is narrower than" if outside > 0.25 else "is wider than" if outside < 0.15 else "has another shape than"
    )  # fmt: skip
    chart.find(
        "posterior_miscalibrated", 0.1 + 0.4 * saturating(number.value, 0.5), number, number.above(CALIBRATION),
        f"On data that the model itself makes, q(z|x) {words} the true posterior in dimension {distance.where}: the "
        f"ranks of the true z are {number.value:.2f} from uniform, and {outside:.0%} of them lie outside its central "
        "80%.",
        "a richer posterior (FullGaussian, Flow), a larger encoder, or a prior that the codes fill; do not read "
        "the spread of q as uncertainty until then",
        picture="sbc", dimension=distance.where,
    )  # fmt: skip


def _list(numbers: list[int], most: int = 12) -> str:
    words = ", ".join(map(str, numbers[:most]))
    return words if len(numbers) <= most else f"{words} and {len(numbers) - most} more"
