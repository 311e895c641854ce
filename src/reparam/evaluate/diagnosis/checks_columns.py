"""Findings about the columns of a table, each of which has a likelihood of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reparam.evaluate.diagnosis.calibration import Fit, from_uniform
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import Number, saturating
from reparam.evaluate.diagnosis.subject import Subject

_FEW = 20  # seen cells, below which a column is not judged
HEAP = 0.05  # of the cells at one value, of which a density makes none


def column_fit(subject: Subject, fit: Fit, limit: float, chart: Chart) -> None:
    """Whether each column's family fits it: the transform of its seen cells against the uniform law."""
    names = subject.data.columns or [str(i) for i in range(fit.pit.shape[1])]
    shown: list[tuple[str, Number, Tensor]] = []
    for name, u in zip(names, fit.pit.mT, strict=True):
        seen = u[~u.isnan()]
        if len(seen) < _FEW:
            continue
        distance = from_uniform(seen.unsqueeze(1))
        # of the largest of all columns, as from_uniform does for dimensions
        chance = math.sqrt(math.log(2e4 * len(names)) / 2 / len(seen))
        shown.append((name, Number(distance.value, chance / 4), seen))
    if not shown:
        return
    shown.sort(key=lambda t: -t[1].value)
    worst_name, worst, u = shown[0]
    chart.numbers["pit_distance"] = worst
    chart.pictures["columns"] = {
        "names": [n for n, _, _ in shown], "distance": [n.value for _, n, _ in shown], "limit": limit, "worst": u,
    }  # fmt: skip
    beyond = {n: d for n, d, _ in shown if d.above(limit) >= 0.9999}
    if not beyond:
        return
    words = ", ".join(f"{n!r} ({d.value:.2f})" for n, d in list(beyond.items())[:6])
    rest = f" and {len(beyond) - 6} more" if len(beyond) > 6 else ""
    has, it = ("column has", "it") if len(beyond) == 1 else (f"of {len(names)} columns have", "them")
    chart.find(
        "column_misfit", 0.1 + 0.4 * saturating(worst.value, 0.3) * (0.5 + 0.5 * len(beyond) / len(names)),
        worst, worst.above(limit),
        f"{len(beyond)} {has} another distribution than the model gives {it}; Kolmogorov's distance of the transform "
        f"from uniform: {words}{rest}. Of {worst_name!r}, {_shape(u)}.",
        _remedy(subject, worst_name),
        picture="columns", columns={n: round(d.value, 4) for n, d in beyond.items()},
    )  # fmt: skip


def _shape(u: Tensor) -> str:
    """What the transform of a column shows."""
    low, high = float((u < 0.1).double().mean()), float((u > 0.9).double().mean())
    said = f"{1 - low - high:.0%} of the cells lie in the central 80% of what is predicted for them"
    if abs(float(u.mean()) - 0.5) > 0.1:
        return (
            f"values are {'above' if float(u.mean()) > 0.5 else 'below'} what is predicted more often than not: {said}"
        )
    return said


def _remedy(subject: Subject, name: str) -> str:
    if subject.table is None:
        return f"another likelihood for column {name!r}"
    known = {c.name: c for c in subject.table.modelled}
    column = known.get(name)
    if column is None or column.coded:
        return (
            "train longer, or with more latent dimensions; for grades, 'categorical' in the schema instead of 'ordinal'"
        )
    if column.kind == "count":
        return "in the schema, inflated = true where zeros are too many, or 'real' for large numbers (reparam schema)"
    i = [c.name for c in subject.table.modelled].index(name)
    cells = subject.data.x[:, i]
    cells = cells[~cells.isnan()]
    heap = float((cells == cells.mode().values).double().mean())
    if heap > HEAP:
        return (
            f"{heap:.0%} of the cells hold one value, of which no density makes a heap: in the schema, 'categorical' "
            "or 'count' if it is one of few values or a count, else a further column that says whether it is that value"
        )
    others = [f for f in ("student_t", "mixture") if f != column.family]
    return (
        f"in the schema (reparam schema, train --schema), another family for it, {' or '.join(map(repr, others))}"
        + ("" if column.kind == "positive" else ", or 'positive' if it has a long tail to the right")
    )


def cells(subject: Subject, x: Tensor) -> Tensor:
    """Rows of a table as points, (N, F): categories one-hot, numbers standardised, missing cells at the mean."""
    data = subject.data.x.double()
    x = x.double()
    classes = [0] * x.shape[1]
    if subject.table is not None:
        classes = [c.classes for c in subject.table.modelled] + [2] * len(subject.table.indicators)
    out = []
    for i, count in enumerate(classes):
        column, whole = x[:, i], data[:, i]
        if count >= 2:
            one = torch.nn.functional.one_hot(column.nan_to_num(0).long().clamp(0, count - 1), count).double()
            seen = one * (~column.isnan()).unsqueeze(1)
            out.append(seen / math.sqrt(2))  # so that two categories are 1 apart
            continue
        column, whole = (t.clamp_min(0).log1p() if count == 1 else t for t in (column, whole))
        known = whole[~whole.isnan()]
        spread = float(known.std()) if len(known) > 1 else 0.0
        middle = float(known.mean()) if len(known) else 0.0
        out.append(((column - middle) / (spread or 1.0)).nan_to_num(0.0).clamp(-5, 5).unsqueeze(1))
    return torch.cat(out, 1)
