"""Findings about the data, by what the model says of them."""

from __future__ import annotations

import math

from torch import Tensor

from reparam.data import Dataset
from reparam.evaluate.diagnosis import rows
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import Number, saturating
from reparam.evaluate.diagnosis.subject import Subject, chosen
from reparam.evaluate.likelihood import log_likelihood

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
COPIED = 0.005  # of the rows: fewer copies change no score by more than its error


def columns(subject: Subject, chart: Chart) -> None:
    """Elements that never change."""
    if subject.table is not None:
        _left_out([c.name for c in subject.table.columns if c.kind == "constant"], chart)
    fixed = rows.constants(subject.whole)
    learns = [m for m in subject.vae.likelihood.modules() if getattr(m, "learns_scale", False)]
    grows = any(getattr(m, "kind", None) != "shared" for m in learns)
    table = len(subject.whole.event_shape) == 1
    if not fixed or not (table or grows):  # pixels at the border of images are often constant, and harmless
        return
    names = subject.whole.columns
    chart.find(
        "constant_columns", 0.8 if grows else 0.15, Number(len(fixed), 0), 1.0,
        f"{_never([names[i] if names else str(i) for i in fixed], bool(names))}."
        + (" A learned scale collapses on them, and the density grows without bound." if grows else ""),
        "leave them out of the data" + (", or fix the scale" if grows else ""),
        unit="columns", columns=fixed,
    )  # fmt: skip


def _left_out(names: list[str], chart: Chart) -> None:
    """Columns of a mixed table that its schema found to be constant: no part of the model, and written back as is."""
    if names:
        chart.find(
            "constant_columns", 0.05, Number(len(names), 0), 1.0,
            f"{_never(names, True)} (in the training data). The model leaves out what is constant.",
            "nothing, if that is its nature; else look for rows in which it varies, or for a fault where the data were "
            "made",
            unit="columns", columns=names,
        )  # fmt: skip


def _never(names: list[str], quoted: bool, most: int = 8) -> str:
    shown = ", ".join(repr(n) if quoted else n for n in names[:most]) + (" ..." if len(names) > most else "")
    one = len(names) == 1
    return f"{len(names)} column{'' if one else 's'} never change{'s' if one else ''}: {shown}"


def likely_rows(subject: Subject, chart: Chart) -> None:
    """Outliers and duplicates, by log p(x)."""
    method = "importance" if subject.has_density else "prior"
    simulated = subject.simulated(min(500, max(50, len(subject.data))))
    plain, own = (
        log_likelihood(subject.vae, data, 100, method, subject.seed).per_datum for data in (subject.data, simulated)
    )
    log_p, own = plain + subject.units(subject.data), own + subject.units(simulated)
    chart.numbers.setdefault("log_likelihood", Number.mean(log_p))
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
    _duplicates(subject, plain, chart)


def _original(subject: Subject, found: list[int]) -> list[int]:
    """Row numbers in the whole data."""
    order = chosen(len(subject.whole), len(subject.data), subject.seed)
    return [int(order[i]) for i in found]


def _duplicates(subject: Subject, log_p: Tensor, chart: Chart) -> None:
    whole: Dataset = subject.whole
    resolution = rows.log_steps(whole, subject.discrete)
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
