"""Files of cells for tests, written with h5py by the rules of anndata's format on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse


def write(
    path: Path, x: np.ndarray, obs: dict[str, Any] | None = None, kind: str = "csr", layer: str | None = None
) -> Path:
    """Counts (cells, genes) as compressed rows or columns or dense, in X or in a layer, with columns of obs."""
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
        place = file if layer is None else file.create_group("layers")
        name = layer or "X"
        if kind == "dense":
            place.create_dataset(name, data=x)
        else:
            m = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[kind](x)
            group = place.create_group(name)
            group.attrs["encoding-type"], group.attrs["encoding-version"] = f"{kind}_matrix", "0.1.0"
            group.attrs["shape"] = x.shape
            for part in ("data", "indices", "indptr"):
                group.create_dataset(part, data=getattr(m, part))
        frame(file, "var", [f"g{i}" for i in range(x.shape[1])], {})
        frame(file, "obs", [f"c{i}" for i in range(x.shape[0])], obs or {})
    return path


def frame(file: h5py.File, name: str, index: list[str], columns: dict[str, Any]) -> None:
    """A data frame: text as categories, numbers as they are."""
    group = file.create_group(name)
    group.attrs["encoding-type"], group.attrs["encoding-version"], group.attrs["_index"] = (
        "dataframe",
        "0.2.0",
        "_index",
    )
    group.create_dataset("_index", data=index, dtype=h5py.string_dtype())
    for key, given in columns.items():
        values = np.asarray(given)
        if values.dtype.kind not in "US":
            group.create_dataset(key, data=values)
            continue
        kinds = sorted(set(values.tolist()) - {""})
        inner = group.create_group(key)
        inner.attrs["encoding-type"], inner.attrs["encoding-version"] = "categorical", "0.2.0"
        inner.create_dataset("categories", data=kinds, dtype=h5py.string_dtype())
        inner.create_dataset("codes", data=[kinds.index(v) if v else -1 for v in values.tolist()])


def simulated(
    cells: int = 240, genes: int = 12, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts of two kinds of cells in two batches: x (cells, genes), batch, kind, size of the library.

    The batch doubles the rates of the first half of the genes; the kind halves or doubles those of the odd ones.
    """
    rng = np.random.default_rng(seed)
    batch, kind = rng.integers(0, 2, cells), rng.integers(0, 2, cells)
    size = rng.lognormal(0, 0.5, cells)
    rates = np.exp(rng.normal(1.0, 0.5, genes)) * np.ones((cells, 1))
    rates[:, : genes // 2] *= 1 + batch[:, None]
    rates[:, 1::2] *= 2.0 ** (2 * kind[:, None] - 1)
    mean = size[:, None] * rates
    x = rng.poisson(mean * rng.gamma(5, 1 / 5, mean.shape)).astype(np.float32)
    x[x.sum(1) == 0, 0] = 1
    return x, np.array(["ab"[b] for b in batch]), kind, size
