"""What an examination may be given beside data: known factors of them, and a function of the caller's for features."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reparam.data import Dataset, read
from reparam.data.frame_files import is_table, read_frame
from reparam.errors import InputError, nearest


def with_factors(data: Dataset, factors: str | None, name: str) -> Dataset:
    """The data with their factors in place of labels, so that both are chosen and split alike.

    ``factors`` is a file, or "labels" for the labels that the data have; ``name`` is that of the data.

    Raises:
        InputError: for data without labels, or factors that are not one row for each.
    """
    if factors is None:
        return data
    if factors == "labels" and not Path(factors).exists():
        if data.labels is None:
            raise InputError(f"--factors labels: {name} has no labels; give a file with a row for each datum")
        return data
    found = _factors(factors)
    if len(found) != len(data):
        raise InputError(
            f"--factors {factors} has {len(found)} rows, and {name} has {len(data)}: each row needs its own"
        )
    chosen = data[:]
    chosen.labels = found
    return chosen


def _factors(file: str) -> np.ndarray:
    """The columns of a table, text or numbers, or an array (N, F), as numbers of their values."""
    path = Path(file)
    if not path.exists():
        raise InputError(f"--factors {file!r}: there is no such file")
    if not is_table(path):
        found = read(path).x
        if found.ndim not in (1, 2) or found.dtype.kind not in "biuf":
            raise InputError(f"--factors {file}: known factors are numbers (rows, factors), not {found.shape}")
        return np.asarray(found).reshape(len(found), -1)
    frame = read_frame(path)
    columns = []
    for name in frame.columns:
        values = frame[name]
        if bool(values.isna().any()):
            raise InputError(f"--factors {file}: {name!r} of row {int(np.argmax(values.isna()))} is missing")
        columns.append(np.unique(values.astype(str).to_numpy(), return_inverse=True)[1].reshape(-1))
    return np.stack(columns, 1)


def function(text: str) -> Callable[..., Any]:
    """The function that ``module:name`` or ``file.py:name`` names; its code is the caller's, and is run.

    Modules are found where Python finds them, and in the folder of the command.

    Raises:
        InputError: for a text of another form, a module that cannot be imported, or a name that is no function in it.
    """
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        raise InputError(f"--features {text!r}: write module:name or file.py:name, a function of a tensor of data")
    path = Path(where) if where.endswith(".py") else None
    if path is not None and not path.is_file():
        raise InputError(f"--features {text}: there is no file {where}")
    try:
        module = _of_name(where) if path is None else _of_file(path)
    except Exception as error:
        raise InputError(f"--features {text}: {where} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise InputError(f"--features {text}: {where} has no function {name!r}; {nearest(name, known)}")
    return found


def _of_name(name: str) -> Any:
    with _found_in(Path.cwd()):
        return importlib.import_module(name)


def _of_file(path: Path) -> Any:
    """Under a name of its own, so that a file named like a module of Python's takes nothing away from it."""
    spec = importlib.util.spec_from_file_location(f"_features_of_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for it
    with _found_in(path.resolve().parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _found_in(folder: Path) -> Iterator[None]:
    """Modules of this folder can be imported inside the block."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
