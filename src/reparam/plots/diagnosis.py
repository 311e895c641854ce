"""Pictures of a diagnosis: each draws one entry of ``Diagnosis.pictures``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from reparam.plots.space import latent
from reparam.plots.style import FIRST, MUTED, PALETTE, SECOND, Figure, drawn, new_figure, numbers

_BINS = 16


def _edges(values: Sequence[np.ndarray], most: int) -> list[float]:
    """Edges of bins for histograms of these values: fewer where there are few values, so that bars are not single."""
    count = min(most, max(8, round(2 * math.sqrt(min(map(len, values))))))
    return np.histogram_bin_edges(np.concatenate(values), count).tolist()


def _legend_below(figure: Figure, *named: Any) -> None:
    """The legend under the axes, where it covers nothing: of all that has a label, or of handles and their names."""
    figure.legend(*named, loc="outside lower right", ncols=3)


@drawn
def latent_kl(value: Sequence[float], stderr: Sequence[float]) -> Figure:
    """The mean KL of each latent dimension from the prior, in nats, the largest first."""
    order = np.argsort(value)[::-1]
    figure = new_figure(max(4.5, min(10, 0.28 * len(order) + 2)), 2.8)
    axis = figure.subplots()
    axis.bar(range(len(order)), np.asarray(value)[order], yerr=2 * np.asarray(stderr)[order], color=FIRST, width=0.7,
             error_kw={"elinewidth": 0.8, "ecolor": MUTED})  # fmt: skip
    if len(order) <= 40:
        axis.set_xticks(range(len(order)), [str(i) for i in order])
    axis.set(xlabel="latent dimension", ylabel="KL, nats", title="What each dimension carries")
    return figure


@drawn
def uniformity(u: Tensor | np.ndarray, title: str, xlabel: str) -> Figure:
    """A histogram of numbers that should be uniform on (0, 1), with the band that holds 99% of a uniform one's bars."""
    values = numbers(u).ravel()
    figure = new_figure(4.8, 2.8)
    axis = figure.subplots()
    share = np.full(len(values), _BINS / len(values))
    axis.hist(values, np.linspace(0, 1, _BINS + 1).tolist(), weights=share, color=FIRST,
              alpha=0.6)  # fmt: skip
    band = 2.58 * np.sqrt((_BINS - 1) / len(numbers(u)))
    axis.axhspan(max(0.0, 1 - band), 1 + band, color=SECOND, alpha=0.2, lw=0, label="uniform")
    axis.set(xlabel=xlabel, ylabel="density", title=title, xlim=(0, 1))
    _legend_below(figure)
    return figure


@drawn
def log_likelihoods(data: Tensor, simulated: Tensor) -> Figure:
    """log p(x) of data, and of data that the model makes itself."""
    figure = new_figure(5.6, 2.8)
    axis = figure.subplots()
    real, made = numbers(data), numbers(simulated)
    edges = _edges([real, made], 60)
    axis.hist(real, edges, density=True, color=FIRST, alpha=0.5, label="data")
    axis.hist(made, edges, density=True, histtype="step", color=SECOND, lw=1.4, label="samples of the model")
    axis.set(xlabel="log p(x), nats", ylabel="density", title="How likely rows are")
    _legend_below(figure)
    return figure


@drawn
def gap_bars(held: Sequence[float], train: Sequence[float] | None, k: int = 1) -> Figure:
    """The ELBO, what the best q of the family adds to it, and what is then missing to log p(x), in nats.

    ``held`` and ``train`` are (ELBO, best ELBO, log p(x)), means over the rows examined, which are held out where there
    are training rows beside them; with ``k`` above 1
    the bounds of k samples stand in place of the ELBO.
    """
    rows = [("these rows", held)] if train is None else [("held out", held), ("training", train)]
    figure = new_figure(6.2, 1.3 + 0.5 * len(rows))
    axis = figure.subplots()
    low = min(r[0] for _, r in rows)
    for i, (_, (elbo, best, log_p)) in enumerate(rows):
        for left, right, colour in ((elbo, best, SECOND), (best, log_p, PALETTE[3])):
            axis.barh(i, right - left, left=left, color=colour, height=0.5)
        axis.plot([elbo], [i], "|", color=FIRST, ms=16, mew=2)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    reach = max(max(r) for _, r in rows) - low
    axis.set(
        xlabel="nats",
        xlim=(low - 0.1 * reach - 1e-3, low + 1.1 * reach + 1e-3),
        title="From the ELBO to log p(x)" if k == 1 else f"From the bound of {k} samples to log p(x)",
    )
    _legend_below(figure, [axis.patches[0], axis.patches[1]], ["lost by the encoder", "lost by the family of q"])
    return figure


@drawn
def rate_distortion(beta: Sequence[float], rate: Sequence[float], distortion: Sequence[float]) -> Figure:
    """Distortion, -E log p(x|z), over rate, E KL, of models trained with different beta, in nats."""
    figure = new_figure(5.2, 3.6)
    axis = figure.subplots()
    order = np.argsort(rate)
    axis.plot(np.asarray(rate)[order], np.asarray(distortion)[order], color=FIRST, marker="o", ms=4)
    for b, r, d in zip(beta, rate, distortion, strict=True):
        axis.annotate(f"β = {b:g}", (r, d), (4, 4), textcoords="offset points", fontsize=8, color=MUTED)
    axis.set(xlabel="rate: KL, nats", ylabel="distortion: -log p(x|z), nats", title="Rate and distortion over β")
    return figure


@drawn
def column_fits(names: Sequence[str], distance: Sequence[float], limit: float, worst: Tensor) -> Figure:
    """How far each column's transform is from uniform, the worst above, and the transform of the worst."""
    shown = min(len(names), 30)
    figure = new_figure(7.4, max(2.8, 0.24 * shown + 1.2))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    left.barh(range(shown), np.asarray(distance)[:shown], color=FIRST, height=0.7)
    left.axvline(limit, color=SECOND, lw=1.2, label="limit")
    left.set_yticks(range(shown), [n if len(n) <= 24 else n[:23] + "…" for n in names[:shown]])
    left.invert_yaxis()
    left.set(xlabel="distance from uniform", title="Columns")
    left.legend(loc="lower right")
    u = numbers(worst).ravel()
    right.hist(
        u, np.linspace(0, 1, _BINS + 1).tolist(), weights=np.full(len(u), _BINS / len(u)), color=FIRST, alpha=0.6
    )
    band = 2.58 * np.sqrt((_BINS - 1) / len(u))
    right.axhspan(max(0.0, 1 - band), 1 + band, color=SECOND, alpha=0.2, lw=0)
    right.set(xlabel="probability integral transform", title=names[0], xlim=(0, 1))
    return figure


@drawn
def nearest_data(data: Tensor, codes: Tensor, samples: Tensor) -> Figure:
    """Distances from the nearest datum: of other data, of draws of p(x|z) at their codes, and of samples."""
    figure = new_figure(5.6, 2.8)
    axis = figure.subplots()
    sets = {"other data": data, "draws at the codes of data": codes, "samples": samples}
    values = {name: numbers(t) for name, t in sets.items()}
    edges = _edges(list(values.values()), 40)
    styles: tuple[dict[str, Any], ...] = (
        {"color": FIRST, "alpha": 0.5}, {"color": PALETTE[3], "histtype": "step", "lw": 1.4},
        {"color": SECOND, "histtype": "step", "lw": 1.4},
    )  # fmt: skip
    for (name, value), style in zip(values.items(), styles, strict=True):
        axis.hist(value, edges, density=True, label=name, **style)
    axis.set(xlabel="distance from the nearest datum", ylabel="density", title="How near samples come to the data")
    _legend_below(figure)
    return figure


def _sbc(ranks: Tensor, dimension: int) -> Figure:
    return uniformity(
        ranks[:, dimension], f"Ranks of the true z in q(z|x), dimension {dimension}", "rank among draws of q"
    )


def _pit(pit: Tensor) -> Figure:
    return uniformity(pit[~pit.isnan().any(1)], "Where x lies in p(x|z)", "probability integral transform")


@drawn
def _latent(means: Tensor, z: Tensor) -> Figure:
    figure = latent(z)
    figure.axes[0].set(title=f"Draws of q(z|x) for {len(z):,} rows")
    return figure


_DRAW: dict[str, Callable[..., Figure]] = {
    "latent_kl": latent_kl,
    "latent": _latent,
    "gaps": gap_bars,
    "sbc": _sbc,
    "pit": _pit,
    "columns": column_fits,
    "log_p": log_likelihoods,
    "samples": nearest_data,
    "rate_distortion": rate_distortion,
}


def diagnosis(name: str, arrays: Mapping[str, Any]) -> Figure:
    """The picture of this name from ``Diagnosis.pictures``.

    Raises:
        KeyError: for a name that has no picture.
    """
    return _DRAW[name](**arrays)
