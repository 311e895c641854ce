"""Findings about encoder and decoder apart: the gaps of the bound, on rows that training saw and on others."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.evaluate.annealing import bdmc
from reparam.evaluate.bounds import elbo_terms
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import Number, saturating
from reparam.evaluate.diagnosis.gaps import ANNEALING, CHAINS, STEPS, Gaps, annealed, gaps
from reparam.evaluate.diagnosis.subject import Subject, some
from reparam.evaluate.refine import refined

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
GAP, SHARE_OF_GAP = 1.0, 0.1  # nats, and share of the mean KL: less than models of one kind differ by
OVERFITTED = 0.5  # nats by which a gap may be larger on held-out rows: half of what counts as a gap
_SIMULATED = 32  # data on which annealing is checked from above


def elbo_gaps(subject: Subject, chart: Chart) -> None:
    """The gaps of the bound on held-out rows and on training rows, and what they say of encoder and decoder."""
    held = _gaps(subject, some(subject.data, chart.gap_rows, subject.seed), chart)
    chart.held = held
    chart.numbers |= held.numbers()
    terms = elbo_terms(subject.vae, subject.data, 5, subject.seed)
    units = subject.units(subject.data)
    chart.numbers |= {
        "elbo": Number.mean(terms.elbo.per_datum + units),
        "rate": Number.mean(terms.kl.per_datum),
        "distortion": Number.mean(-terms.reconstruction.per_datum - units),
    }
    limit = max(GAP, SHARE_OF_GAP * terms.kl.value)
    fresh = held
    overfitted = False
    if subject.train is not None:
        seen = _gaps(subject, some(subject.train, chart.gap_rows, subject.seed), chart)
        chart.seen = seen
        chart.numbers |= seen.numbers("_train")
        overfitted = _overfitting(held, seen, chart)
        fresh = seen  # what the encoder loses on rows that it was trained on is underfitting
    of = "" if subject.k == 1 else f", by the bound of {subject.k} samples that it was trained for"
    lost = Number.mean(fresh.amortisation)
    where = "on its own training rows" if subject.train is not None else "on these rows"
    if not (overfitted and subject.train is None):
        chart.find(
            "encoder_underfits", 0.1 + 0.5 * saturating(lost.value, 5.0), lost, lost.above(limit),
            f"The encoder loses {lost} nats {where} against the best q of its own family for each datum{of}.",
            "train longer or with a smaller learning rate at the end, or give the encoder more hidden units",
            unit="nats", picture="gaps",
        )  # fmt: skip
    rest = Number.mean(held.approximation)
    chart.find(
        "posterior_too_simple", 0.1 + 0.4 * saturating(rest.value, 5.0), rest, rest.above(limit),
        f"Even the best q of this family is {rest} nats from log p(x){of}: p(z|x) has another shape than the family"
        f"{_known(chart)}.",
        "posteriors.FullGaussian or posteriors.Flow, or objectives.IWAE, which needs less of q",
        unit="nats", picture="gaps",
    )  # fmt: skip
    chart.pictures["gaps"] = {
        "held": _ends(held), "train": None if chart.seen is None else _ends(chart.seen), "k": subject.k,
    }  # fmt: skip


def _ends(g: Gaps) -> list[float]:
    return [float(t.mean()) for t in (g.bound, g.best, g.log_p)]


def _gaps(subject: Subject, data: Dataset, chart: Chart) -> Gaps:
    """The gaps in the units of the data, by annealing where it must be, which is then checked from both sides."""
    found, count = annealed(subject.vae, data, gaps(subject.vae, data, subject.seed, k=subject.k), subject.seed)
    if count:
        before = chart.numbers.get("annealed_rows", Number(0, 0)).value
        chart.numbers["annealed_rows"] = Number(before + count, 0)
        _sandwich(subject, chart)
    units = subject.units(data)
    return found._replace(bound=found.bound + units, best=found.best + units, log_p=found.log_p + units)


def _sandwich(subject: Subject, chart: Chart) -> None:
    """How far annealing with these settings may be off, on data of the model's own: bidirectional Monte Carlo."""
    if "annealing_gap" in chart.numbers:
        return
    best = refined(subject.vae, STEPS, seed=subject.seed)
    rows = torch.arange(_SIMULATED) % len(subject.data)
    contexts = tuple(c[rows] for c in subject.data.contexts)
    lower, upper = bdmc(
        best, _SIMULATED, CHAINS, subject.seed, contexts=contexts, steps=ANNEALING, start="posterior"
    )  # fmt: skip
    chart.numbers["annealing_gap"] = Number.mean(upper.per_datum - lower.per_datum)


def _known(chart: Chart) -> str:
    """How well log p(x) is known, where importance sampling could not give it."""
    gap = chart.numbers.get("annealing_gap")
    if gap is None:
        return ""
    return (
        f" (log p(x) is by annealing, as importance weights are too heavy here; on data of the model's own it is at "
        f"most {gap} nats too low)"
    )


def _overfitting(held: Gaps, seen: Gaps, chart: Chart) -> bool:
    """Whether the encoder, and whether the decoder, does worse on rows that it has not seen.

    What the bound loses on held-out rows is the sum of three: log p(x), which is the decoder's and the prior's share,
    and the two gaps, of which that of amortisation is the encoder's.
    """
    shares = {
        "generalisation_gap": Number.mean(seen.bound) - Number.mean(held.bound),
        "train_test_gap": Number.mean(seen.log_p) - Number.mean(held.log_p),
        "amortisation_gap_test_less_train": Number.mean(held.amortisation) - Number.mean(seen.amortisation),
        "approximation_gap_test_less_train": Number.mean(held.approximation) - Number.mean(seen.approximation),
    }
    chart.numbers |= shares
    whole, drop, more, family = shares.values()
    said = (
        f"of the {whole} nats that the bound loses on held-out rows, {drop} are the decoder's (log p(x)), {more} the "
        f"encoder's, and {family} go with the family of q"
    )
    sure = more.above(OVERFITTED)
    chart.find(
        "encoder_overfits", 0.2 + 0.5 * saturating(more.value, 5.0), more, sure,
        f"The encoder has learned its training rows by heart: on held-out rows it loses {more} nats more against the "
        f"best q for each datum; {said}.",
        "train on more rows, stop earlier (validation and patience), or shrink the encoder; scores by importance "
        "sampling are less hurt than the ELBO",
        unit="nats", picture="gaps",
    )  # fmt: skip
    spread = _spread(held.log_p, seen.log_p)
    chart.find(
        "decoder_overfits", 0.2 + 0.6 * saturating(drop.value / max(spread, 1e-9), 2.0), drop,
        drop.above(max(OVERFITTED, 0.5 * spread)),
        f"The model has learned its training rows by heart: log p(x) is {drop} nats higher on them than on held-out "
        f"rows, whose own spread is {spread:.3g}; {said}.",
        "train on more rows, stop earlier (validation and patience), or make the decoder smaller",
        unit="nats", picture="gaps",
    )  # fmt: skip
    return sure >= 0.5


def _spread(*values: Tensor) -> float:
    return float(torch.cat([v - v.mean() for v in values]).square().mean().sqrt())
