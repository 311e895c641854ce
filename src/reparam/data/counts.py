"""Counts of cells: where they stand in a file, the size of each cell's library, and what likelihood they call for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam.data.h5ad import read_cells
from reparam.data.sparse import SparseRows
from reparam.errors import InputError, nearest

TOTAL, NONE = "total", "none"
LIKELIHOODS = ("negative_binomial", "zero_inflated_negative_binomial", "poisson", "zero_inflated_poisson")


@dataclass(frozen=True)
class Counting:
    """How counts are read: from X or from a ``layer``, with a ``size_factor`` for each cell.

    The size factor, by which all rates of a cell are multiplied, is its "total" over the genes of the model, a column
    of obs, or "none"; it is divided by ``typical``, the median in training, so that 1 is a usual cell.
    """

    layer: str | None = None
    size_factor: str = TOTAL
    typical: float = 1.0

    @property
    def column(self) -> str | None:
        """The column of obs that holds size factors, if one does."""
        return None if self.size_factor in (TOTAL, NONE) else self.size_factor

    @property
    def sized(self) -> bool:
        """Whether there are size factors."""
        return self.size_factor != NONE

    def sizes(self, x: SparseRows, columns: dict[str, np.ndarray], name: str) -> np.ndarray:
        """The size of each library, (N,), before it is divided.

        Raises:
            InputError: for one that is not positive, naming the row.
        """
        found = x.totals() if self.column is None else columns[self.column]
        if found.dtype.kind not in "biuf":
            raise InputError(f"{name}: size factors are numbers; column {self.column!r} holds {found.dtype}")
        found = found.astype(np.float64)
        bad = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
        if len(bad):
            what = "has no counts" if self.column is None else f"has the size factor {found[bad[0]]:g}"
            more = f", as {len(bad) - 1} others" if len(bad) > 1 else ""
            raise InputError(f"{name}: row {bad[0]} {what}{more}: remove empty cells first")
        return found

    def context(self, x: SparseRows, columns: dict[str, np.ndarray], name: str) -> tuple[Tensor, ...]:
        """The exposure of each row (N, 1) float32, in a tuple; an empty one without size factors."""
        if not self.sized:
            return ()
        return (torch.from_numpy((self.sizes(x, columns, name) / self.typical).astype(np.float32)).unsqueeze(1),)

    @staticmethod
    def fault(raw: Any) -> bool:
        """Whether this is nothing that a schema keeps."""
        if raw is None:
            return False
        return not (
            isinstance(raw, dict) and set(raw) == {"layer", "size_factor", "typical"}
            and (raw["layer"] is None or isinstance(raw["layer"], str)) and isinstance(raw["size_factor"], str)
            and isinstance(raw["typical"], float) and 0 < raw["typical"] < math.inf
        )  # fmt: skip


def choose(x: SparseRows, likelihood: str, name: str, genes: Sequence[str]) -> tuple[str, list[str]]:
    """The likelihood of these counts, and sentences that say why.

    Raises:
        InputError: for what are no counts, naming row and gene, or a likelihood that is not of counts.
    """
    if likelihood not in ("auto", *LIKELIHOODS):
        raise InputError(
            f"counts of cells take a likelihood of counts, not {likelihood}: {nearest(likelihood, LIKELIHOODS)}"
        )
    for start, row, column, values in x.entries():
        bad = np.flatnonzero(~((values >= 0) & (values == np.rint(values))))
        if len(bad):
            raise InputError(
                f"{name}: row {start + row[bad[0]]}, gene {genes[column[bad[0]]]!r} is {values[bad[0]]:.6g}, and "
                "counts are 0, 1, 2, ...: name the layer that holds raw counts"
            )
    if likelihood != "auto":
        return likelihood, []
    return LIKELIHOODS[0], [f"likelihood {LIKELIHOODS[0]}: counts of {x.width} genes in {len(x)} cells"]


def of_file(
    path: Path, counting: Counting, columns: Sequence[str]
) -> tuple[SparseRows, list[str], dict[str, np.ndarray]]:
    """Counts, names of genes and columns of obs of an .h5ad file, the column of size factors among them."""
    wanted = list(dict.fromkeys([*columns, *([counting.column] if counting.column else [])]))
    found = read_cells(path, counting.layer, wanted)
    return found.x, found.genes, found.obs


def of_object(
    X: Any, counting: Counting, columns: Sequence[str]
) -> tuple[SparseRows, list[str] | None, dict[str, np.ndarray]]:
    """Counts, names of genes and columns of obs of an AnnData object, a matrix of scipy or an array.

    An AnnData object that is backed by a file is read from that file, piece by piece.

    Raises:
        InputError: for a view of a backed object, or a layer or column that the object has not.
    """
    wanted = list(dict.fromkeys([*columns, *([counting.column] if counting.column else [])]))
    if not is_anndata(X):
        first = next(iter([*wanted, *([counting.layer] if counting.layer else [])]), None)
        if first is not None:
            raise InputError(
                f"a matrix has no columns of obs and no layers, such as {first!r}: give an AnnData object or a file"
            )
        return SparseRows.of(X), None, {}
    if getattr(X, "isbacked", False):
        if getattr(X, "is_view", False):
            raise InputError("this is a view of a backed AnnData: give view.to_memory(), or the whole object")
        return of_file(Path(X.filename), counting, columns)
    if counting.layer is not None and counting.layer not in X.layers:
        raise InputError(f"the AnnData has no layer {counting.layer!r}: {nearest(counting.layer, X.layers.keys())}")
    x = X.X if counting.layer is None else X.layers[counting.layer]
    found = {}
    for name in wanted:
        if name not in X.obs:
            raise InputError(f"the AnnData has no column {name!r} in obs: {nearest(name, map(str, X.obs.columns))}")
        series = X.obs[name]
        if bool(series.isna().any()):
            row = int(np.asarray(series.isna()).argmax())
            raise InputError(f"column {name!r} of row {row} is missing: fill it in or leave such cells out")
        values = np.asarray(series)
        found[name] = values if values.dtype.kind in "biuf" else values.astype(str)
    return SparseRows.of(x), [str(g) for g in X.var_names], found


def distinct(names: Sequence[str]) -> list[str]:
    """The names, those that stand again with a number behind them."""
    out, seen = [], dict[str, int]()
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        out.append(f"{name}-{seen[name]}" if seen[name] else name)
    return out


def is_anndata(X: Any) -> bool:
    """Whether this is an AnnData object, told by its parts."""
    return all(hasattr(X, name) for name in ("X", "obs", "var_names", "obsm", "layers"))
