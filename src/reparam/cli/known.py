"""The data that a run was trained on, read again: which rows it saw, and which it held out."""

from __future__ import annotations

from typing import Any

from reparam.cli.common import dataset
from reparam.data import Dataset, Schema
from reparam.data.streams import is_large
from reparam.data.table import with_values
from reparam.train.checks import split


def trained_on(made: dict[str, Any], schema: Schema) -> Dataset | None:
    """The data of a run with these options; None where they cannot be had again.

    Raises:
        InputError: for data that are gone, or another kind by now.
    """
    if "data" not in made or (schema.table is not None and is_large(str(made["data"]))):
        return None  # of a table larger than memory no one can tell again which rows were held out
    return dataset(schema, str(made["data"]), made.get("labels"), made.get("binarize"))


def divided(made: dict[str, Any], schema: Schema, data: Dataset) -> tuple[Dataset, Dataset | None]:
    """(rows trained on, rows held out), as the run's own options choose them."""
    data = data if schema.table is None else with_values(data)
    return split(data, made.get("validation") or None, int(made.get("seed", 0)))
