"""Tables with their holes filled: only values of missing cells are kept, and the table is read some rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reparam.data import Dataset, frames
from reparam.data.table import TableSchema, constant
from reparam.estimators.tabular_posterior import multiple, single
from reparam.vae import VAE

_ROWS = 50_000  # imputed at a time
Cells = dict[str, list[tuple[np.ndarray, np.ndarray]]]  # rows and their values, by column


def in_units(schema: TableSchema, values: np.ndarray) -> dict[str, np.ndarray]:
    """Means and most probable classes (N, W) as values of the columns."""
    return {
        c.name: c.decode(values[:, i]) if c.coded else c.fitting(values[:, i]) for i, c in enumerate(schema.modelled)
    }


def filled_tables(
    vae: VAE, schema: TableSchema, table: Any, read: Callable[[Any], Dataset], m: int | None, k: int, seed: int
) -> list[Any]:
    """The table with its holes filled: once by means and most probable values, or m times by draws.

    ``read`` makes of rows of the table what the model reads. What is seen stays as it is.
    """
    found: list[Cells] = [{c.name: [] for c in schema.modelled} for _ in range(m or 1)]
    for first in range(0, max(1, len(table)), _ROWS):
        data = read(table[first : first + _ROWS])
        holes = data.x.isnan().numpy()
        if not holes[:, : len(schema.modelled)].any():
            continue
        if m is None:
            made = [in_units(schema, single(vae, data, schema, k, seed, first)[0])]
        else:
            drawn = multiple(vae, data, schema, m, k, seed, first)
            made = [
                {c.name: c.decode(x[:, i].astype(np.float64)) for i, c in enumerate(schema.modelled)} for x in drawn
            ]
        for cells, values in zip(found, made, strict=True):
            for i, c in enumerate(schema.modelled):
                rows = np.flatnonzero(holes[:, i])
                cells[c.name].append((rows + first, values[c.name][rows]))
    return [_put(schema, table, cells) for cells in found]


def _put(schema: TableSchema, table: Any, cells: Cells) -> Any:
    """A copy of the table with these values where its cells are missing."""
    out = frames.shallow(table)
    for column in schema.columns:
        if column.name not in frames.names(out) or column.kind in ("identifier", "group"):
            continue
        rows = frames.missing_rows(out, column.name)
        if not len(rows):
            continue
        if column.modelled:
            new = np.full(len(out), None, dtype=object) if column.is_text else np.full(len(out), np.nan)
            for at, some in cells.pop(column.name):
                new[at] = some
            new = new[rows]
        else:
            new = constant(column, len(rows))
        out = frames.fill(out, column.name, rows, new, column.dtype, column.categories)
    return out
