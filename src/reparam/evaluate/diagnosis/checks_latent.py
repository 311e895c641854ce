"""Findings about the latent space and the posterior."""

from __future__ import annotations

import math

from reparam.evaluate.diagnosis.calibration import from_uniform, sbc
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import Number, saturating
from reparam.evaluate.diagnosis.latent import (
    Codes,
    aggregate_kl,
    codes,
    correlations,
    idle_dimensions,
    mutual_information,
)
from reparam.evaluate.diagnosis.subject import Subject
from reparam.evaluate.diagnostics import active_units

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
COLLAPSED = 0.05  # nats of KL in all: a code by which nothing can be told apart (a coin's outcome is 0.7)
# nats that q(z) may be away from p(z), the gain of a better prior; where much is encoded, a share of the mean KL, since
# the codes of a finite training set always lie a little apart
HOLES, SHARE_OF_KL = 1.0, 0.2
CORRELATED = 0.4  # a sixth of the variance of one latent is told by another
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


def posterior_calibration(subject: Subject, chart: Chart) -> None:
    """Simulation-based calibration of q(z|x)."""
    count = min(1000, 2 * len(subject.data))
    ranks = sbc(subject.vae, subject.data, count, subject.seed, k=subject.k, table=subject.table)
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
    name = "q(z|x)" if subject.k == 1 else f"what {subject.k} weighted samples of q(z|x) take for it"
    chart.find(
        "posterior_miscalibrated", 0.1 + 0.4 * saturating(number.value, 0.5), number, number.above(CALIBRATION),
        f"On data that the model itself makes, {name} {words} the true posterior in dimension {distance.where}: the "
        f"ranks of the true z are {number.value:.2f} from uniform, and {outside:.0%} of them lie outside its central "
        "80%.",
        "a richer posterior (FullGaussian, Flow), a larger encoder, or a prior that the codes fill; do not read "
        "the spread of q as uncertainty until then",
        picture="sbc", dimension=distance.where,
    )  # fmt: skip


def _list(numbers: list[int], most: int = 12) -> str:
    words = ", ".join(map(str, numbers[:most]))
    return words if len(numbers) <= most else f"{words} and {len(numbers) - most} more"
