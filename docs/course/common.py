"""What all pages of the course share: their sizes, the style of their figures, and the digits."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import reparam as rp
from reparam.plots import PALETTE, STYLE

QUICK = os.environ.get("REPARAM_QUICK", "") not in ("", "0")
plt.rcParams.update(
    {
        **STYLE,
        "text.parse_math": True,  # for the ticks of logarithmic axes
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.h_pad": 0.12,  # titles of panels with a fixed aspect need it
        "axes.prop_cycle": plt.cycler(color=PALETTE),
    }
)


def size(full, quick):
    """``full``, or ``quick`` where the environment has REPARAM_QUICK=1."""
    return quick if QUICK else full


def digits():
    """scikit-learn's 1,797 digits of 8 x 8 pixels in black and white, and which digits they are, in a random order.

    Shapes: images (1797, 8, 8), 0 or 1; labels (1797,).
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    return torch.tensor(loaded.images[order] >= 8, dtype=torch.float32), loaded.target[order]


def mnist():
    """MNIST's images and labels for training and test, or None where REPARAM_DATA names no folder with mnist/.

    Shapes: images (N, 28, 28), uint8; labels (N,). Four arrays.
    """
    folder = os.environ.get("REPARAM_DATA")
    if not folder or QUICK:
        return None
    parts = [rp.data.read(Path(folder, "mnist", f"{name}-images-idx3-ubyte.gz")) for name in ("train", "t10k")]
    return parts[0].x, parts[0].labels, parts[1].x, parts[1].labels


def tiles(axis, x, columns, title="", below=()):
    """Images (N, H, W) of 0 (black) to 1 (white) side by side on a matplotlib axis, with words below each of them."""
    x = x.detach().numpy()
    n, height, width = x.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1))
    for i, image in enumerate(x):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = image
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_yticks([])
    axis.set_xticks([i * (width + 1) + (width - 1) / 2 for i in range(len(below))], below, fontsize=7)
    axis.tick_params(length=0)
