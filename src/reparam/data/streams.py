"""Parquet files larger than memory: looked at in part, and kept on disk as the numbers that a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reparam.data.dataset import Dataset
from reparam.data.table import TableSchema
from reparam.errors import InputError, require

_LARGE = 50_000_000  # cells beyond which a file is not read as a whole
_PIECE = 1 << 16  # rows read at a time
_LOOKED_AT = 200_000  # rows that decide the schema


class Spilled(NamedTuple):
    """Rows to train on and those held out, on disk; ``unseen`` cells had categories that the schema does not know."""

    train: Dataset
    held: Dataset | None
    unseen: int


def is_large(path: str | Path) -> bool:
    """Whether the file is a Parquet table with more cells than are read at once."""
    if not str(path).lower().endswith(".parquet") or not Path(path).is_file():
        return False
    with _open(Path(path)) as file:
        return bool(file.metadata.num_rows * file.metadata.num_columns > _LARGE)


def rows_of(path: str | Path) -> int:
    """How many rows a Parquet file has."""
    with _open(Path(path)) as file:
        return int(file.metadata.num_rows)


def _open(path: Path) -> Any:
    parquet = require("pyarrow.parquet", "tabular", "reading Parquet")
    require("pandas", "tabular", "reading tables")
    try:
        return parquet.ParquetFile(path, pre_buffer=False)  # else every row group is read ahead
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as Parquet: it is truncated or of another format") from error


def pieces(path: str | Path, rows: int = _PIECE) -> Iterator[Any]:
    """The rows of a Parquet file as DataFrames of so many rows, one row group after the other."""
    with _open(Path(path)) as file:
        names = [n for n in file.schema_arrow.names if not n.startswith("__index_level_")]
        for batch in file.iter_batches(rows, columns=names):
            yield batch.to_pandas().reset_index(drop=True)


def look(path: str | Path, rows: int = _LOOKED_AT, seed: int = 0) -> Any:
    """About so many rows from the whole length of the file, chosen by the seed, as a DataFrame."""
    pandas = require("pandas", "tabular", "reading tables")
    with _open(Path(path)) as file:
        share = min(1.0, rows / max(1, file.metadata.num_rows))
    rng, kept = np.random.default_rng(seed), []
    for piece in pieces(path):
        chosen = rng.random(len(piece)) < share
        if chosen.any():
            kept.append(piece[chosen])
    if not kept:
        raise InputError(f"{Path(path).name} has no rows")
    return pandas.concat(kept, ignore_index=True)


def spill(path: str | Path, schema: TableSchema, folder: Path, share: float, seed: int) -> Spilled:
    """The table as numbers in two files of ``folder``, a ``share`` of the rows held out, chosen by the seed.

    Categories that a look at part of the rows did not meet are missing, and counted.

    Raises:
        InputError: for a cell that its column cannot hold.
    """
    rng, unseen = np.random.default_rng(seed), 0
    files = [folder / "train.f32", folder / "held.f32"]
    groups: list[list[np.ndarray]] = [[], []]
    with files[0].open("wb") as train, files[1].open("wb") as held:
        for piece in pieces(path):
            x = schema.encode(piece, "missing", np.float32)
            known = [piece[c.name].notna().to_numpy() for c in schema.modelled if c.coded]
            at = [schema.places[c.name] for c in schema.modelled if c.coded]
            unseen += sum(int((k & np.isnan(x[:, i])).sum()) for k, i in zip(known, at, strict=True))
            codes = schema.groups(piece)
            apart = rng.random(len(x)) < share
            for which, file, chosen in ((0, train, ~apart), (1, held, apart)):
                x[chosen].tofile(file)
                if codes is not None:
                    groups[which].append(codes[chosen])
    parts = [_mapped(f, schema, np.concatenate(g) if g else None) for f, g in zip(files, groups, strict=True)]
    if parts[0] is None:
        raise InputError(f"{Path(path).name} has no rows to train on")
    return Spilled(parts[0], parts[1], unseen)


def _mapped(path: Path, schema: TableSchema, codes: np.ndarray | None) -> Dataset | None:
    """The rows of a file of numbers, read from disk as they are needed."""
    if not path.stat().st_size:
        return None
    x = np.memmap(path, np.float32, "r+").reshape(-1, schema.width)
    return Dataset(torch.from_numpy(x), contexts=schema.contexts(codes), columns=schema.names, missing=True)
