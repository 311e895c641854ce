"""The schema of a table: its columns in their order, and tables as the numbers that a model reads, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam.data import frames
from reparam.data.columns import KINDS, Column
from reparam.data.dataset import Dataset
from reparam.data.guess import guess
from reparam.errors import InputError, RunFolderError, nearest

FORMAT = 1
_ROWS = 1 << 16  # whose units are worked out at a time


@dataclass(frozen=True)
class TableSchema:
    """What the columns of a table hold: inferred by :meth:`of`, kept as JSON, and open to correction there.

    ``combinations`` are lists of coded columns of which only those combinations are sampled that training saw, kept in
    ``seen``. ``indicators`` are columns whose being missing is modelled too: each adds a column of the model.
    """

    columns: tuple[Column, ...]
    frame: str = "pandas"
    combinations: tuple[tuple[str, ...], ...] = ()
    seen: tuple[tuple[tuple[int, ...], ...], ...] = ()
    indicators: tuple[str, ...] = ()

    @staticmethod
    def of(
        frame: Any,
        kinds: Mapping[str, str] | None = None,
        group: str | None = None,
        combinations: Sequence[Sequence[str]] = (),
        informative: bool = False,
    ) -> TableSchema:
        """The schema of a DataFrame; ``kinds`` decides for columns by name.

        Raises:
            InputError: for no rows or columns, names that are given twice, values that no column holds, or a table of
                which nothing is left to be modelled.
        """
        kinds, names = dict(kinds or {}), frames.names(frame)
        if group is not None:
            kinds[group] = "group"
        for name, kind in kinds.items():
            if name not in names:
                raise InputError(f"the table has no column {name!r}: {nearest(name, names)}")
            if kind not in KINDS:
                raise InputError(f"unknown kind {kind!r} of column {name!r}: {nearest(kind, KINDS)}")
        if not len(frame):
            raise InputError("the table has no rows")
        columns = tuple(guess(name, frames.plain(frame, name), kinds.get(name)) for name in names)
        holes = tuple(c.name for c in columns if c.modelled and c.missing > 0) if informative else ()
        schema = TableSchema(columns, frames.library(frame), indicators=holes)
        if not schema.modelled:
            raise InputError("the table has no column to model: all are constant, empty or tell rows apart")
        return schema.with_combinations(frame, combinations) if combinations else schema

    @cached_property
    def modelled(self) -> tuple[Column, ...]:
        """The columns of the model."""
        return tuple(c for c in self.columns if c.modelled)

    @property
    def group(self) -> Column | None:
        """The column that is given and not modelled, if there is one."""
        return next((c for c in self.columns if c.kind == "group"), None)

    @property
    def width(self) -> int:
        """How many numbers a row of the model has."""
        return len(self.modelled) + len(self.indicators)

    @property
    def names(self) -> list[str]:
        """The names of the model's columns; those of indicators say so."""
        return [c.name for c in self.modelled] + [f"{name} is missing" for name in self.indicators]

    def __getitem__(self, name: str) -> Column:
        """The column of this name.

        Raises:
            InputError: if there is none.
        """
        found = next((c for c in self.columns if c.name == name), None)
        if found is None:
            raise InputError(f"the table has no column {name!r}: {nearest(name, [c.name for c in self.columns])}")
        return found

    def with_combinations(self, frame: Any, combinations: Sequence[Sequence[str]]) -> TableSchema:
        """The schema with those combinations of coded columns that the table has.

        Raises:
            InputError: for a column that has no categories, or stands in two of them.
        """
        named = [name for group in combinations for name in group]
        for name in named:
            if not self[name].coded or named.count(name) > 1:
                raise InputError(f"column {name!r} cannot be in this combination: it needs categories, and one of them")
        seen = []
        for group in combinations:
            codes = np.stack([self[n].encode(frames.plain(frame, n)) for n in group], 1)
            rows = np.unique(codes[~np.isnan(codes).any(1)].astype(np.int64), axis=0)
            seen.append(tuple(tuple(int(v) for v in row) for row in rows))
        return replace(self, combinations=tuple(tuple(g) for g in combinations), seen=tuple(seen))

    def encode(self, frame: Any, unseen: str = "error", dtype: Any = np.float64) -> np.ndarray:
        """The numbers of the model, (rows, width), NaN where missing; other columns are not read.

        Raises:
            InputError: naming a column that is missing, or a cell that the column cannot hold.
        """
        names = frames.names(frame)
        absent = next((c.name for c in self.modelled if c.name not in names), None)
        if absent is not None:
            raise InputError(f"the table has no column {absent!r}, which training had: {nearest(absent, names)}")
        if not len(frame):
            raise InputError("the table has no rows")
        x = np.empty((len(frame), self.width), dtype)
        for i, column in enumerate(self.modelled):
            self._encode_column(frame, column, unseen, x[:, i])
        for i, name in enumerate(self.indicators):
            x[:, len(self.modelled) + i] = np.isnan(x[:, self._place(name)])
        return x

    @staticmethod
    def _encode_column(frame: Any, column: Column, unseen: str, out: np.ndarray) -> None:
        """Write the numbers of a column, some rows at a time: text costs ten times what its numbers do."""
        for rows in frames.stretches(frame, column.name):
            try:
                values = column.encode(frames.plain(frame, column.name, rows), unseen)
            except InputError:
                column.encode(frames.plain(frame, column.name), unseen)  # says where in the whole
                raise
            far = np.abs(values) > np.finfo(out.dtype).max
            if far.any():
                row = rows.start + int(far.argmax())
                raise InputError(f"column {column.name!r}, row {row}: too large a value for {out.dtype.name}")
            out[rows] = values

    def groups(self, frame: Any) -> np.ndarray | None:
        """The number of each row's group, or None for a table without."""
        column = self.group
        if column is None:
            return None
        if column.name not in frames.names(frame):
            raise InputError(f"the table has no column {column.name!r}, the group of each row")
        codes = column.encode(frames.plain(frame, column.name))
        if np.isnan(codes).any():
            raise InputError(
                f"column {column.name!r}, row {int(np.isnan(codes).argmax())} is missing: each row needs its group"
            )
        return codes.astype(np.int64)

    def contexts(self, codes: np.ndarray | None) -> tuple[Tensor, ...]:
        """Groups as a model reads them, one-hot: none for a table without."""
        if codes is None or self.group is None:
            return ()
        return (torch.nn.functional.one_hot(torch.from_numpy(codes), len(self.group.categories or ())).float(),)

    def dataset(self, frame: Any, unseen: str = "error", dtype: torch.dtype | None = None) -> Dataset:
        """The table as data of a model of this dtype, torch's default unless given.

        They are kept in it, as a model would round them: half the memory of the table where it is of float64.
        """
        kept = np.float64 if (dtype or torch.get_default_dtype()) == torch.float64 else np.float32
        x = torch.from_numpy(self.encode(frame, unseen, kept))
        return Dataset(x, contexts=self.contexts(self.groups(frame)), columns=self.names, missing=True)

    def decode(self, x: np.ndarray, frame: str | None = None, groups: np.ndarray | None = None) -> Any:
        """A DataFrame in the units, order and dtypes of the table, from the numbers of a model (rows, width).

        Identifiers are left out; constants have their value.
        """
        values = {c.name: c.decode(x[:, i]) for i, c in enumerate(self.modelled)}
        return self.table(values, len(x), frame, groups)

    def table(
        self, values: Mapping[str, np.ndarray], rows: int, frame: str | None = None, groups: np.ndarray | None = None
    ) -> Any:
        """A DataFrame of so many rows from the values of the model's columns, in their units: see :meth:`decode`."""
        built = {}
        for column in self.columns:
            if column.kind == "identifier":
                continue
            if column.kind == "group":
                found = column.decode(np.full(rows, np.nan) if groups is None else groups.astype(np.float64))
            else:
                found = values[column.name] if column.modelled else constant(column, rows)
            built[column.name] = (found, column.dtype, column.categories)
        return frames.build(frame or self.frame, built)

    def log_units(self, x: np.ndarray) -> np.ndarray:
        """What each row's log density gains from model units to the units of what is seen in it, (rows,), in nats."""
        total = np.zeros(len(x))
        for start in range(0, len(x), _ROWS):
            at = slice(start, start + _ROWS)
            for i, column in enumerate(self.modelled):
                total[at] += column.log_units(x[at, i].astype(np.float64))
        return total

    def _place(self, name: str) -> int:
        return self.places[name]

    @cached_property
    def places(self) -> dict[str, int]:
        """Where the model's columns are."""
        return {c.name: i for i, c in enumerate(self.modelled)}

    def words(self) -> str:
        """The schema for a person: a line for each column."""
        return "\n".join(c.words() for c in self.columns)

    def to_dict(self) -> dict[str, Any]:
        """The schema as plain data."""
        return {
            "format": FORMAT, "frame": self.frame, "combinations": [list(c) for c in self.combinations],
            "seen": [[list(row) for row in rows] for rows in self.seen], "indicators": list(self.indicators),
            "columns": [{k: v for k, v in asdict(c).items() if v is not None} for c in self.columns],
        }  # fmt: skip

    def to_json(self) -> str:
        """The schema as JSON."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> TableSchema:
        """The schema that ``to_json`` wrote, as it is or corrected.

        Raises:
            RunFolderError: for text that is no schema of a table, naming the entry at fault.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RunFolderError(f"the schema of the table is no JSON: {error}") from error
        return TableSchema.from_dict(raw)

    @staticmethod
    def from_dict(raw: Any) -> TableSchema:
        """The schema of plain data: see :meth:`from_json`."""
        if not isinstance(raw, dict) or not isinstance(raw.get("columns"), list) or not raw["columns"]:
            raise RunFolderError("the schema of the table has no columns: it was altered, or is of something else")
        if type(raw.get("format")) is not int or not 1 <= raw["format"] <= FORMAT:
            raise RunFolderError(
                f"the schema of the table has format {raw.get('format')!r}: this reparam reads {FORMAT}"
            )
        columns = tuple(Column.from_dict(c) for c in raw["columns"])
        names = [c.name for c in columns]
        if len(set(names)) < len(names):
            raise RunFolderError("the schema of the table names a column twice")
        known = {c.name: c for c in columns}
        combinations, seen, holes = raw.get("combinations", []), raw.get("seen", []), raw.get("indicators", [])
        if not _good_combinations(known, combinations, seen) or not (
            isinstance(holes, list) and all(isinstance(n, str) and n in known and known[n].modelled for n in holes)
        ):
            raise RunFolderError("the schema of the table has combinations or indicators of columns that it has not")
        schema = TableSchema(
            columns, "polars" if raw.get("frame") == "polars" else "pandas",
            tuple(tuple(c) for c in combinations), tuple(tuple(tuple(r) for r in rows) for rows in seen), tuple(holes),
        )  # fmt: skip
        if not schema.modelled:
            raise RunFolderError("the schema of the table has no column to model")
        return schema


def with_values(data: Dataset) -> Dataset:
    """The data without rows of which nothing is seen."""
    empty = data.x.isnan().all(1)
    return data[(~empty).nonzero().flatten()] if bool(empty.any()) else data


def constant(column: Column, rows: int) -> np.ndarray:
    """The value of a column that has one, or missing cells."""
    value = column.categories[0] if column.categories else None
    if isinstance(value, str) or (value is None and _is_text(column.dtype)):
        return np.full(rows, value, dtype=object)
    return np.full(rows, np.nan if value is None else value)


def _is_text(dtype: str) -> bool:
    return dtype.lower().startswith(("str", "object", "string", "null", "categor", "enum"))


def _good_combinations(known: Mapping[str, Column], combinations: Any, seen: Any) -> bool:
    lists = isinstance(combinations, list) and isinstance(seen, list) and len(combinations) == len(seen)
    return lists and all(
        isinstance(c, list) and all(isinstance(n, str) and n in known and known[n].coded for n in c)
        and isinstance(rows, list) and rows
        and all(isinstance(r, list) and len(r) == len(c)
                and all(type(v) is int and 0 <= v < known[n].classes for v, n in zip(r, c, strict=True)) for r in rows)
        for c, rows in zip(combinations, seen, strict=True)
    )  # fmt: skip
