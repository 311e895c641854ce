"""Tables and vectors, column by column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from reparam.errors import InputError
from reparam.plots.style import (
    FIRST,
    MAX_PANELS,
    MUTED,
    PALE,
    SECOND,
    Figure,
    dot_alpha,
    dot_size,
    drawn,
    new_figure,
    numbers,
    short,
)


def _panels(width: int, names: Sequence[str] | None) -> tuple[Figure, list[Any], str]:
    """A figure with a titled panel for each column, up to 12, and words for how many of them are shown."""
    shown = min(width, MAX_PANELS)
    across = min(4, shown)
    down = math.ceil(shown / across)
    figure = new_figure(2.1 * across + (1.2 if across < 3 else 0), 1.95 * down + 0.5)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axis in grid[shown:]:
        axis.set_axis_off()
    for i, axis in enumerate(grid[:shown]):
        axis.set_title(short(names[i] if names else f"element {i}"), fontsize=8.5, pad=4)
        axis.locator_params(nbins=4)
    return figure, list(grid[:shown]), "" if shown == width else f" (first {shown} of {width} columns)"


def agreement(x: np.ndarray, x_hat: np.ndarray, names: Sequence[str] | None) -> Figure:
    """Original against reconstruction, column by column."""
    figure, axes, which = _panels(x.shape[1], names)
    for axis, cells, decoded in zip(axes, x.T, x_hat.T, strict=False):
        original, kept = cells[seen := ~np.isnan(cells)], decoded[seen]
        if not len(original):  # a column of a table that is missing in all these rows
            continue
        low, high = min(original.min(), kept.min()), max(original.max(), kept.max())
        margin = 0.05 * (high - low) or 0.5
        axis.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
        axis.axline((low, low), slope=1, color=PALE, lw=1, zorder=1)
        axis.scatter(
            original, kept, s=dot_size(len(x)) / 2, color=FIRST, alpha=dot_alpha(len(x)), lw=0, rasterized=True
        )
    figure.suptitle(f"Reconstruction against original{which}", x=0.01, ha="left")
    figure.supxlabel("original", fontsize=9, color=MUTED)
    figure.supylabel("reconstruction", fontsize=9, color=MUTED)
    return figure


@drawn
def marginals(x: Tensor | np.ndarray, samples: Tensor | np.ndarray, columns: Sequence[str] | None = None) -> Figure:
    """Histograms of data and of samples of the model, column by column, for up to 12 columns.

    Both have area one. Values beyond the central 99.8 % of the data and the model together are left out.

    Shapes: x (N, D), samples (M, D); ``columns`` are D names.

    Raises:
        InputError: unless both are vectors with equally many columns.
    """
    if len(x.shape) != 2 or x.shape[1:] != samples.shape[1:] or 0 in (*x.shape, len(samples)):
        raise InputError(f"marginals compare rows of numbers: {tuple(x.shape)} and {tuple(samples.shape)}")
    figure, axes, which = _panels(x.shape[1], columns)
    for axis, cells, model in zip(axes, numbers(x).T, numbers(samples).T, strict=False):
        data = cells[~np.isnan(cells)]
        if not len(data):
            continue
        edges = _edges(data, model)
        axis.hist(data, edges, density=True, color=FIRST, alpha=0.3, label="data")
        axis.hist(model, edges, density=True, histtype="step", color=SECOND, lw=1.4, label="samples of the model")
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    figure.suptitle(f"Data and samples of the model{which}", x=0.01, ha="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def _edges(data: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Bins for both: one for each whole number where the two hold few of them alone, else more with more data."""
    ends = np.quantile(data, [0.001, 0.999]), np.quantile(model, [0.001, 0.999])
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    both = np.concatenate([data, model])
    if high - low <= 40 and bool((both == np.round(both)).all()):
        return np.arange(math.floor(low) - 0.5, math.ceil(high) + 1)
    reach = max(high - low, 1e-6 * abs(low), 1e-6)  # a constant column has a bin too
    return np.linspace(high - reach, low + reach, 1 + int(np.clip(2 * math.cbrt(len(data)), 10, 40)))
