"""The latent space: where the posterior puts the data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from reparam.errors import InputError, require
from reparam.plots.style import (
    FIRST,
    MAX_POINTS,
    MUTED,
    PALE,
    PALETTE,
    PLATE,
    Figure,
    count,
    dot_alpha,
    dot_size,
    drawn,
    new_figure,
    numbers,
    short,
)


@drawn
def latent(means: Tensor | np.ndarray, labels: np.ndarray | Sequence[Any] | None = None, prior: bool = True) -> Figure:
    """Where the posterior puts the data: means of q(z|x), coloured by label where labels are given.

    Two dimensions are drawn as they are, with circles at 1 and 2 standard deviations of a N(0, I) prior unless
    ``prior`` is false; more by the two principal components with the largest variance; one as a histogram. Up to 12
    different labels, and the 12 most frequent names, are told apart by colour and name; more numbers by a scale of
    colours. Above 20,000 points so many are drawn at random (always the same), which the title says. Means that are
    not finite are left out.

    Shapes: means (N, D), labels (N,).

    Raises:
        InputError: for another shape, lengths that differ, or no finite row.
    """
    z = numbers(means)
    known = None if labels is None else np.asarray(labels)
    if z.ndim != 2 or (known is not None and known.shape != z.shape[:1]):
        raise InputError(f"means are (N, D) and labels (N,): {z.shape} and {None if known is None else known.shape}")
    rows = np.flatnonzero(np.isfinite(z).all(1))
    if len(rows) == 0:
        raise InputError("no row of the means is finite")
    said = f"Posterior means of {count(len(rows), 'row')}"
    if len(rows) > MAX_POINTS:
        said = f"Posterior means of {MAX_POINTS:,} rows, drawn at random from {len(rows):,}"
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))
    z, known = z[rows], None if known is None else known[rows]
    figure = new_figure(6.8, 3.4 if z.shape[1] == 1 else 6.2)
    axis = figure.subplots()
    axis.set_title(said)
    if z.shape[1] == 1:
        _line(axis, z[:, 0], known, prior)
    else:
        _plane(axis, z, prior)
        _points(axis, z if z.shape[1] == 2 else _components(z)[0], known)
    return figure


def _line(axis: Any, z: np.ndarray, labels: np.ndarray | None, prior: bool) -> None:
    """One latent dimension: histograms, by group where labels make groups, over the density of the prior."""
    edges = np.histogram_bin_edges(z, 40)
    groups = _groups(labels) or [("", np.full(len(z), True), FIRST)]
    for name, member, colour in groups:
        weight = np.full(int(member.sum()), 1 / (len(z) * (edges[1] - edges[0])))
        axis.hist(z[member], edges, weights=weight, histtype="stepfilled", color=colour, alpha=0.5, label=name or None)
    if prior:
        at = np.linspace(min(-3, edges[0]), max(3, edges[-1]), 200)
        axis.plot(at, np.exp(-(at**2) / 2) / math.sqrt(2 * math.pi), color="#a0a0a0", lw=1, label="prior")
    axis.set(xlabel="z₁", ylabel="density")
    if prior or len(groups) > 1:
        axis.legend()


def _plane(axis: Any, z: np.ndarray, prior: bool) -> None:
    """Axes of equal scale with their names, and the prior's circles where the axes are the latent ones."""
    axis.set_aspect("equal", adjustable="datalim")
    if z.shape[1] > 2:
        names = (f"{which} principal component, {share:.0%} of the variance"
                 for which, share in zip(("first", "second"), _components(z)[1], strict=True))  # fmt: skip
        axis.set(**dict(zip(("xlabel", "ylabel"), names, strict=True)))
        return
    axis.set_xlabel("z₁")
    axis.set_ylabel("z₂", rotation=0, va="center", labelpad=8)
    circle = require("matplotlib.patches", "plot", "drawing pictures").Circle
    for radius in (1, 2) if prior else ():
        axis.add_patch(circle((0, 0), radius, fill=False, ec="#c8c8c8", lw=0.9, zorder=1))
        side = radius * math.sqrt(0.5)
        axis.annotate(f"{radius} sd of the prior", (side, -side), (3, -2), textcoords="offset points", va="top",
                      fontsize=7, color=MUTED, bbox=PLATE, zorder=1.5)  # fmt: skip


def _components(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two principal components (N, 2) and their shares of the variance (2,), signed so that pictures repeat."""
    centred = z - z.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), abs(axes).argmax(1)])
    points, share = centred @ (axes * signs[:, None])[:2].T, values[:2] ** 2 / max(float((values**2).sum()), 1e-300)
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))), np.pad(share, (0, 2 - len(share)))


def _groups(labels: np.ndarray | None) -> list[tuple[str, np.ndarray, str]]:
    """(name, which rows, colour) of each group, the rare in grey; none for numbers on a scale, or without labels."""
    if labels is None:
        return []
    numeric = labels.dtype.kind in "iuf"
    known = np.isfinite(labels) if numeric else np.full(len(labels), True)
    if numeric and len(np.unique(labels[known])) > len(PALETTE):
        return []
    names = np.array([f"{v:g}" if numeric else str(v) for v in labels], dtype=object)
    found = [name for name, _ in Counter(names[known]).most_common(len(PALETTE))]
    order = {f"{v:g}": v for v in labels[known]} if numeric else {name: name for name in found}
    groups = [(name, names == name, PALETTE[i]) for i, name in enumerate(sorted(found, key=lambda n: order[n]))]
    rest = ~np.isin(names, found)
    return [("others", rest, PALE), *groups] if rest.any() else groups


def _points(axis: Any, points: np.ndarray, labels: np.ndarray | None) -> None:
    """The points (N, 2), by group, named at its median or in a legend, by a scale of colours, or in one colour."""
    style = {"s": dot_size(len(points)), "alpha": dot_alpha(len(points)), "lw": 0, "rasterized": True, "zorder": 2}
    groups = _groups(labels)
    if labels is not None and not groups:
        drawn = axis.scatter(*points.T, c=labels, cmap="viridis", plotnonfinite=False, **style)
        bar = axis.figure.colorbar(drawn, ax=axis, shrink=0.6, aspect=30, pad=0.02, label="label")
        bar.solids.set_alpha(1)
        bar.outline.set_visible(False)
        return
    if not groups:
        axis.scatter(*points.T, color=FIRST, **style)
    for _, member, colour in groups:
        axis.scatter(*points[member].T, color=colour, **style)
    named = [g for g in groups if g[2] != PALE]
    places = np.array([np.median(points[member], 0) for _, member, _ in named])
    if _crowded(places, [len(short(name)) for name, _, _ in named], float(np.ptp(points, 0).max())):
        drawn = zip(axis.collections, groups, strict=True)
        handles, names = zip(*((dots, short(group[0])) for dots, group in drawn), strict=True)
        legend = axis.figure.legend(handles, names, loc="outside right upper", markerscale=2)
        for handle in legend.legend_handles:
            handle.set_alpha(1)
        return
    for (name, _, colour), place in zip(named, places, strict=True):
        box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": colour, "lw": 1.4, "alpha": 0.9}
        axis.annotate(short(name), place, ha="center", va="center", fontsize=8.5, bbox=box, zorder=5)


def _crowded(places: np.ndarray, lengths: list[int], span: float) -> bool:
    """Whether names of so many letters at these places (N, 2) would cover each other, for axes of this span."""
    return any(
        abs(places[i, 1] - places[j, 1]) < 0.035 * span
        and abs(places[i, 0] - places[j, 0]) < 0.013 * span * ((lengths[i] + lengths[j]) / 2 + 1)
        for i in range(len(places))
        for j in range(i)
    )
