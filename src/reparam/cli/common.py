"""What several commands share: opening runs and data, and how the process is set up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from reparam.cli.options import RowsOptions
from reparam.data import Dataset, Schema, open_source, read, too_large
from reparam.data.frame_files import read_frame
from reparam.errors import InputError, RunFolderError
from reparam.run import Run, open_run
from reparam.train import keep_freed_memory


def prepare(threads: int | None = None) -> None:
    """Set the process up for work: before the first parallel operation, so that all threads inherit it."""
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()


def say(text: str) -> None:
    """A line for the person, on standard error, so that standard output holds results alone."""
    # of several processes the first speaks; where standard error is closed, print would turn to standard output
    if sys.stderr is not None and os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)


def opened(folder: str) -> tuple[Run, Schema]:
    """A run with its schema, which data from files need."""
    run = open_run(folder)
    if run.schema is None:
        raise RunFolderError(f"{folder} has no schema.json: it was saved from Python; use reparam.load there")
    return run, run.schema


def opened_with_data(options: RowsOptions) -> tuple[Run, Schema, Dataset]:
    """A run with its schema, and the data of a file in its units; rows of a file that is too large stay in it."""
    run, schema = opened(options.run)
    if schema.table is None and not schema.contexts and (why := too_large(options.data)):
        say(why)
        source = open_source(options.data, without=[options.labels] if options.labels else ())
        return run, schema, schema.dataset(source, options.binarize)
    return run, schema, dataset(schema, options.data, options.labels, options.binarize)


def dataset(schema: Schema, path: str, labels: str | None = None, binarize: str | None = None) -> Dataset:
    """The data of a file in the units of the schema, with the contexts that it names."""
    if schema.table is not None:
        return schema.table.dataset(read_frame(path))
    contexts = schema.contexts or []
    names, partial = [c.name for c in contexts], [c.name for c in contexts if c.partial]
    return schema.dataset(read(path, labels, names, partial, schema.counting), binarize)


def check_seed(seed: int) -> int:
    """The seed, if it can be one."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must be a whole number from 0 to 2**32 - 1, not {seed}")
    return seed


def writable(path: str, endings: tuple[str, ...]) -> Path:
    """The path, refused before any work if nothing could be written there, or no writer knows its ending."""
    target = Path(path)
    if target.suffix.lower() not in endings:
        raise InputError(f"no writer knows {target.name!r}: --out ends with one of {' '.join(endings)}")
    if not target.parent.is_dir():
        raise InputError(f"no such folder: {target.parent}")
    if target.is_dir():
        raise InputError(f"{target} is a folder: --out is a file")
    return target
