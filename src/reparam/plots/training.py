"""How training went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reparam.errors import InputError
from reparam.plots.style import FIRST, MUTED, PLATE, SECOND, Figure, count, drawn, new_figure
from reparam.train.history import History

_TERMS = (
    ("objective", "Objective ({} is better)"),
    ("reconstruction", "Reconstruction, E log p(x|z)"),
    ("kl", "KL of q(z|x) from the prior"),
)
_PENALTY = ("penalty", "Penalty, as weighted then")


@drawn
def curves(records: History | Sequence[Mapping[str, Any]], sign: int = 1) -> Figure:
    """The objective and its two terms over epochs, in nats per datum, on training and validation data.

    ``records`` are what ``rp.fit`` returned, or the records of it; then ``sign`` is -1 where the least objective is the
    best. A penalty has a panel of its own, where there is one. The epoch with the best validation objective, whose
    weights were kept, is marked. Epochs far from all others, as the first often is, are left outside the axis and
    named, so that the rest can be read.

    Raises:
        InputError: for no records.
    """
    if isinstance(records, History):
        sign, records = records.sign, records.records
    if not records:
        raise InputError("there are no epochs to draw yet")
    terms = (*_TERMS, _PENALTY) if any(r.get("train_penalty", 0) != 0 for r in records) else _TERMS
    figure = new_figure(2.8 * len(terms), 3.1)
    axes = figure.subplots(1, len(terms), sharex=True)
    held = [sign * float(r.get("validation_objective", math.nan)) for r in records]
    best = int(np.nanargmax(held)) if np.isfinite(held).any() else None
    for axis, (term, title) in zip(axes, terms, strict=True):
        axis.set_title(title.format("higher" if sign > 0 else "lower"))
        _curve(axis, records, term, best)
    axes[0].set_ylabel("nats per datum")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower right", ncols=len(names))
    return figure


def _curve(axis: Any, records: Sequence[Mapping[str, Any]], term: str, best: int | None) -> None:
    """One panel: a term on training and validation data, with the best epoch (an index) marked."""
    epochs = np.array([r["epoch"] for r in records])
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    seen: list[np.ndarray] = []
    for kind, colour in (("train", FIRST), ("validation", SECOND)):
        y = np.array([float(r.get(f"{kind}_{term}", math.nan)) for r in records])
        if np.isfinite(y).any():
            marker = "o" if len(epochs) <= 12 else None
            axis.plot(
                epochs, y, color=colour, marker=marker, markersize=3.5, label="training" if kind == "train" else kind
            )
            seen.append(y)
    if not seen:
        axis.text(0.5, 0.5, "does not exist for this posterior,\nwhich has no density", color=MUTED,
                  ha="center", va="center", transform=axis.transAxes)  # fmt: skip
        axis.set_axis_off()
        return
    _limit(axis, epochs, np.stack(seen))
    if best is not None:
        axis.axvline(epochs[best], color=SECOND, lw=0.8, ls=(0, (2, 2)), zorder=1,
                     label=f"best epoch: {epochs[best]}")  # fmt: skip


def _limit(axis: Any, epochs: np.ndarray, y: np.ndarray) -> None:
    """Set the vertical range by the bulk of the values (series, epochs), and name the epochs that fall outside it."""
    if len(epochs) == 1:
        axis.set_xlim(epochs[0] - 1, epochs[0] + 1)
    finite = y[np.isfinite(y)]
    low, high = _bulk(finite)
    margin = 0.06 * (high - low) or max(1.0, 0.01 * abs(high))
    axis.set_ylim(low - margin, high + margin)
    outside = int(((y < low) | (y > high)).any(0).sum())
    if outside:
        worst = finite[np.argmax(abs(finite - np.median(finite)))]
        where = {"y": 0.97, "va": "top"} if worst > high else {"y": 0.04, "va": "bottom"}
        said = f"{count(outside, 'epoch')} outside, to {worst:,.0f}".replace("-", "\u2212")
        axis.text(x=0.97, s=said, color=MUTED, fontsize=7.5, ha="right", transform=axis.transAxes, bbox=PLATE, **where)


def _bulk(values: np.ndarray) -> tuple[float, float]:
    """The range of the values; where that is more than twice the range without far outliers, the latter.

    Far is beyond 1.5 times the range of the central 70 % of the values.
    """
    least, most = float(values.min()), float(values.max())
    low, high = np.quantile(values, [0.15, 0.85])
    reach = 1.5 * (high - low)
    low, high = max(least, low - reach), min(most, high + reach)
    if len(values) < 5 or reach == 0 or most - least <= 2 * (high - low):
        return least, most
    return float(low), float(high)
