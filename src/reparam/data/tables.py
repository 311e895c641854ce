"""Tables of numbers: text separated by comma, semicolon or tab, and Parquet."""

from __future__ import annotations

import csv
import io
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from reparam.data.formats import open_bytes
from reparam.errors import InputError, nearest, require

_MISSING = {"", "na", "n/a", "?", "-", "null", "none", "missing"}
Contexts = Mapping[str, bool]  # names of columns, and whether they may be missing
NO_CONTEXTS: Contexts = MappingProxyType({})
_FILL_IN = (
    "remove such rows or fill them in first, or train on the table (reparam train --table): such a model integrates "
    "missing cells out"
)


class Table(NamedTuple):
    """A table's numbers. Shapes: x (rows, columns), float64; labels and each context (rows,), where they were named."""

    x: np.ndarray
    columns: list[str]
    labels: np.ndarray | None = None
    contexts: dict[str, np.ndarray] | None = None


class _Head(NamedTuple):
    """What the first lines of a text tell: ``skip`` is the number of lines before the first row of numbers."""

    separator: str
    columns: list[str]
    skip: int


def load_csv(path: Path, label: str | None = None, contexts: Contexts = NO_CONTEXTS) -> Table:
    """A table of numbers in UTF-8, packed by gzip or not, with or without a line of names.

    The first line are names if it holds text, unless it also holds a number that is no name (whole numbers, such as
    years, are) or nothing but numbers and marks of missing values. ``label`` names a column, of text or numbers, that
    is taken out of the data; or a file of labels, which leaves the data as they are. So are the columns among
    ``contexts``.

    Raises:
        InputError: for an empty or ragged table, a name given twice, a cell that is empty or no number, or a label
            that is neither a column nor a file, or for contexts that are no columns though they must be.
    """
    with _text_errors(path):
        head = _read_head(path)
    _check_columns(path, head.columns)
    at = _label_at(path, head.columns, label)
    apart = _apart(path, head.columns, at, contexts)
    kept = [i for i in range(len(head.columns)) if i not in apart]
    with _text_errors(path):
        cells = {i: [row[i].strip() for _, _, row in _rows(path, head)] for i in apart}
        with _open_text(path) as file:
            for _ in range(head.skip):
                file.readline()
            try:
                x = np.loadtxt(
                    file, delimiter=head.separator, comments=None, quotechar='"', ndmin=2,
                    usecols=kept if apart else None,
                )  # fmt: skip
            except UnicodeDecodeError:
                raise
            except ValueError:
                x = None
        if x is None or x.shape[1] != len(kept):
            raise InputError(_bad_cell(path, head, kept))
    given = {name: as_context(cells[head.columns.index(name)]) for name in contexts if name in head.columns}
    return Table(x, [head.columns[i] for i in kept], None if at is None else as_labels(cells[at]), given)


def _apart(path: Path, columns: Sequence[str], label: int | None, contexts: Contexts) -> list[int]:
    """Where the columns are that are no data.

    Raises:
        InputError: if no other is left, or a context that may not be missing is neither a column nor "labels".
    """
    unknown = next((n for n, partial in contexts.items() if not (partial or n in (*columns, "labels"))), None)
    if unknown is not None:
        raise InputError(f"{path.name} has no context {unknown!r}: {nearest(unknown, columns)}")
    apart = [i for i, name in enumerate(columns) if i == label or name in contexts]
    if len(apart) == len(columns):
        raise InputError(f"{path.name} has no column beside labels and contexts: there are no data")
    return apart


def as_context(cells: Sequence[str]) -> np.ndarray:
    """A context as numbers where all cells are, else as text; what is missing is NaN or the empty text."""
    others = [cell for cell in cells if cell.lower() not in _MISSING]
    if others and all(_is_number(cell) for cell in others):
        return as_labels([cell if cell.lower() not in _MISSING else "nan" for cell in cells])
    return as_labels(cells)


def load_cells(path: Path) -> list[str]:
    """The cells of a text of one column, from its first line on.

    Raises:
        InputError: if there are none, or more columns.
    """
    with _text_errors(path), _open_text(path) as file:
        rows = [row for row in csv.reader(file, delimiter=separator(path)) if row]
    if not rows:
        raise InputError(f"{path.name} is empty")
    if max(map(len, rows)) > 1:
        raise InputError(f"{path.name} has {max(map(len, rows))} columns: a file of labels has one")
    return [row[0].strip() for row in rows]


def as_labels(cells: Sequence[str]) -> np.ndarray:
    """Labels as whole numbers or numbers where all of them are, else as text."""
    try:
        numbers = np.array(cells, dtype=np.float64)
    except ValueError:
        return np.array(cells)
    whole = bool((np.abs(numbers) < 2**53).all()) and bool((numbers == np.rint(numbers)).all())
    return numbers.astype(np.int64) if whole else numbers


@contextmanager
def _text_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a table of text in UTF-8: {error}") from error


def _open_text(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="")


def separator(path: Path) -> str:
    """The one of comma, semicolon and tab that is most frequent in the first line, outside of quotes."""
    with _open_text(path) as file:
        first = re.sub(r'"[^"]*"', "", next((line for line in file if line.strip()), ""))
    return max(",;\t", key=first.count)


def _read_head(path: Path) -> _Head:
    sep = separator(path)
    with _open_text(path) as file:
        reader = csv.reader(file, delimiter=sep)
        first = next((row for row in reader if row), None)
        if first is None:
            raise InputError(f"{path.name} is empty")
        if not _are_names(first):
            return _Head(sep, [f"column {i}" for i in range(len(first))], 0)
        skip = reader.line_num
        if not any(reader):
            raise InputError(f"{path.name} has a line of names and no rows")
        return _Head(sep, [_one_line(name) for name in first], skip)


def _are_names(cells: list[str]) -> bool:
    numbers = [cell.strip() for cell in cells if _is_number(cell)]
    text = [cell for cell in cells if not _is_number(cell) and cell.strip().lower() not in _MISSING]
    return bool(text) and all(number.isdigit() for number in numbers)


def _is_number(cell: str) -> bool:
    """Whether numpy reads the cell as a number: Python would also take 1_000 and the digits of other scripts."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _one_line(name: str) -> str:
    """A column's name without the line ends that it may have in quotes: names stand in messages and headings."""
    return " ".join(name.split())


def _check_columns(path: Path, columns: list[str]) -> None:
    if len(set(columns)) != len(columns):
        twice = next(c for c in columns if columns.count(c) > 1)
        raise InputError(f"{path.name} has two columns named {twice!r}: rename one")
    if "" in columns:
        raise InputError(
            f"{path.name}: column {columns.index('')} has no name: name it, or remove it if it only numbers the rows "
            "(pandas leaves it out with to_csv(index=False))"
        )


def _label_at(path: Path, columns: list[str], label: str | None) -> int | None:
    """Where the column of labels is, or None if there is none because ``label`` is a file."""
    label = None if label is None else _one_line(label)
    if label is None or (label not in columns and Path(label).exists()):
        return None
    if label not in columns:
        raise InputError(f"labels {label!r} are neither a column of {path.name} nor a file: {nearest(label, columns)}")
    if len(columns) == 1:
        raise InputError(f"{path.name} has no column beside the labels {label!r}: there are no data")
    return columns.index(label)


def _rows(path: Path, head: _Head) -> Iterator[tuple[int, int, list[str]]]:
    """The number of each row, its last line in the file, and its cells; as many as there are columns."""
    with _open_text(path) as file:
        for _ in range(head.skip):
            file.readline()
        reader = csv.reader(file, delimiter=head.separator)
        for i, row in enumerate(row for row in reader if row):
            line = head.skip + reader.line_num
            if len(row) != len(head.columns):
                raise InputError(
                    f"{path.name} is ragged: row {i} (line {line}) has {len(row)} cells where {len(head.columns)} are "
                    "expected: mend or remove it"
                )
            yield i, line, row


def _bad_cell(path: Path, head: _Head, kept: list[int]) -> str:
    """Words for the first cell that is no number."""
    for i, line, row in _rows(path, head):
        for at in kept:
            cell, place = row[at].strip(), f"{path.name}: row {i} (line {line}), column {head.columns[at]!r}"
            if not cell:
                return f"{place} is empty: {_FILL_IN}"
            if cell.lower() in _MISSING:
                return f"{place} is {cell!r}, a missing value: {_FILL_IN}"
            if _is_number(cell.replace(",", ".", 1)) and "," in cell:
                return f"{place} is {cell[:40]!r}: write numbers with a decimal point"
            if not _is_number(cell):
                return (
                    f"{place} is {cell[:40]!r}, not a number: encode such columns as numbers, remove them, or give "
                    f"labels={head.columns[at]!r} if they are labels"
                )
    return f"{path.name} cannot be read as a table of numbers: look for quotation marks that are not closed"


def load_parquet(path: Path, label: str | None = None, contexts: Contexts = NO_CONTEXTS) -> Table:
    """A Parquet table whose columns are all numbers but for labels and contexts; an index of pandas is left out.

    Raises:
        InputError: for a file that is damaged, a column that holds no numbers, or a label that is no column.
    """
    parquet = require("pyarrow.parquet", "tabular", "reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
        table = table.rename_columns([_one_line(name) for name in table.column_names])
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(f"{path.name} cannot be read as Parquet: it is truncated or of another format") from error
    stored = [name for name in table.column_names if not re.fullmatch(r"__index_level_\d+__", name)]
    if not stored:
        raise InputError(f"{path.name} has no columns")
    _check_columns(path, stored)
    at = _label_at(path, stored, label)
    apart = _apart(path, stored, at, contexts)
    kept = [name for i, name in enumerate(stored) if i not in apart]
    for name in kept:
        kind = table.schema.field(name).type
        if not str(kind).startswith(("int", "uint", "float", "double", "half", "bool")):
            raise InputError(f"{path.name}: column {name!r} holds {kind}, not numbers: encode or remove it")
    arrays = [np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in kept]
    labels = None if at is None else _plain(table.column(stored[at]).to_pylist())
    given = {name: _plain(table.column(name).to_pylist()) for name in contexts if name in stored}
    return Table(np.stack(arrays, axis=1), kept, labels, given)


def _plain(values: list[Any]) -> np.ndarray:
    """Labels as numbers where all of them are, else as text; what is missing is NaN or the empty text."""
    known = [v for v in values if v is not None]
    if known and all(isinstance(v, bool | int | float) for v in known):
        return np.array(values if len(known) == len(values) else [math.nan if v is None else float(v) for v in values])
    return np.array(["" if v is None else str(v) for v in values])
