"""Two coordinates for the codes of many dimensions, for the map: principal components, and UMAP if asked for."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from reparam.errors import InputError, MissingExtraError, require

NEIGHBOURS = 15  # of each row in its UMAP


def components(means: np.ndarray) -> dict[str, Any] | None:
    """The two principal components of the means (n, D), signed so that pictures repeat; None where D < 3."""
    if means.shape[1] < 3 or len(means) < 3:
        return None
    centre = means.mean(0)
    _, values, axes = np.linalg.svd(means - centre, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), abs(axes).argmax(1)])
    share = values**2 / max(float((values**2).sum()), 1e-300)
    return {"centre": centre.tolist(), "axes": (axes * signs[:, None])[:2].tolist(), "share": share[:2].tolist(),
            "sd": (values[:2] / math.sqrt(len(means))).tolist()}  # fmt: skip


def umap_learn() -> Any:
    """The package umap-learn, which takes seconds to import.

    Raises:
        MissingExtraError: without it, or where another package of the name ``umap`` stands in its place.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it speaks of tensorflow, which this needs not
        module = require("umap", "umap", "a UMAP of the latent space")
    if not hasattr(module, "UMAP"):
        raise MissingExtraError("the package 'umap' that is installed is not umap-learn: pip install 'reparam[umap]'")
    return module


def umap(means: np.ndarray, seed: int) -> np.ndarray:
    """A UMAP (McInnes, Healy & Melville 2018) of the means (n, D): (n, 2), without a unit; the seed decides it.

    Raises:
        MissingExtraError: without umap-learn.
        InputError: for fewer rows than UMAP can lay out.
    """
    engine = umap_learn()
    if len(means) <= NEIGHBOURS:
        raise InputError(f"a UMAP needs more than {NEIGHBOURS} rows, and these are {len(means)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layout = engine.UMAP(n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1)
        at = np.asarray(layout.fit_transform(means.astype(np.float32)), dtype=np.float32)
    if not np.isfinite(at).all():
        raise InputError("UMAP found no place for some rows, whose codes are far from all others: leave --umap out")
    return at
