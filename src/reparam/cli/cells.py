"""What the command writes back to files of cells: latents and expression."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from reparam.cli.common import say
from reparam.data import Dataset, Schema
from reparam.data.h5ad import read_genes, write_results
from reparam.data.readers import ENDING
from reparam.errors import InputError
from reparam.estimators.cells import LATENTS, LAYER, expression, require_genes
from reparam.vae import VAE

ENDINGS = (ENDING,)


def endings(data: str) -> tuple[str, ...]:
    """The endings of files of cells, if the data are one."""
    return ENDINGS if data.lower().endswith(ENDING) else ()


def write_latents(data: str, path: Path, schema: Schema, means: Tensor) -> None:
    """A copy of the file with the latents in obsm."""
    _require_counts(schema)
    write_results(Path(data), path, obsm={LATENTS: means.cpu().float().numpy()})
    say(f"the latents of {len(means)} cells, {means.shape[1]} for each, in obsm[{LATENTS!r}] of {path}")


def write_expression(
    data: str, path: Path, vae: VAE, schema: Schema, rows: Dataset, given: tuple[Tensor, ...] | None, seed: int
) -> None:
    """A copy of the file with the expression of usual libraries in a layer, written some cells at a time."""
    _require_counts(schema)
    require_genes(schema, read_genes(Path(data)))
    write_results(Path(data), path, layers={LAYER: (rows.event_shape[0], expression(vae, schema, rows, given, seed))})
    say(f"the expression of {len(rows)} cells, for a library of the usual size, in layers[{LAYER!r}] of {path}")


def _require_counts(schema: Schema) -> None:
    if schema.counting is None:
        raise InputError("this model was not trained on counts of an .h5ad file: write to another format")
