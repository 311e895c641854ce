"""Rows of a mixed table: JSON objects by column, with null for holes, in the units of the columns."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from reparam.data import Dataset, Schema
from reparam.data.columns import Column
from reparam.errors import InputError, nearest, require
from reparam.estimators.tabular import TabularVAE
from reparam.run import Run
from reparam.serve.arrays import Answer, Arrays, inside_training
from reparam.serve.wire import WrongFormError

_LARGE, _MOST = 1e300, 2**31  # of numbers, of counts


class Tables(Arrays):
    """The answers of a model of mixed tables."""

    npy = False

    def __init__(self, run: Run, schema: Schema) -> None:
        self.pandas = require("pandas", "tabular", "serving a model of tables")
        assert schema.table is not None
        self.table, self.model = schema.table, TabularVAE.of_run(run)
        self.columns = {c.name: c for c in self.table.columns}
        super().__init__(run, schema)

    # -- what is taken and given --------------------------------------------------------------------------------------

    def row(self) -> dict[str, Any]:
        """An object by column; a column that it lacks is missing."""
        group = self.table.group
        found = {n: _cell(c) for n, c in self.columns.items()}
        return {"type": "object", "properties": found, "additionalProperties": False,
                **({"required": [group.name]} if group else {})}  # fmt: skip

    def shown(self, mean: bool) -> dict[str, Any]:
        """A row of an answer."""
        return {"type": "object", "additionalProperties": {"type": ["number", "string", "boolean", "null"]}}

    def context(self, most: int) -> dict[str, Any] | None:
        """None: the group of a row is one of its columns."""
        return None

    def given(self) -> dict[str, Any] | None:
        """The group of all rows."""
        group = self.table.group
        if group is None:
            return None
        return {"type": "object", "properties": {group.name: _cell(group)}, "required": [group.name],
                "additionalProperties": False}  # fmt: skip

    def conditions(self) -> dict[str, Any]:
        """Conditions by column: a value, several categories, or the ends of an interval."""
        found = {}
        for name, column in self.columns.items():
            if not column.modelled and column.kind != "group":
                continue
            value = {k: v for k, v in _cell(column).items() if k != "enum"} | (
                {"enum": [v for v in _cell(column)["enum"] if v is not None]} if "enum" in _cell(column) else {}
            )
            if "type" in value:
                value["type"] = [t for t in value["type"] if t != "null"]
            if column.coded:
                found[name] = {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}
            elif column.kind == "group":
                found[name] = value
            else:
                ends = {"low": value, "high": value}
                interval = {"type": "object", "properties": ends, "additionalProperties": False, "minProperties": 1}
                found[name] = {"anyOf": [value, interval]}
        return {"type": "object", "properties": found, "additionalProperties": False}

    # -- answers ------------------------------------------------------------------------------------------------------

    def read(self, rows: Any, context: dict[str, Any] | None) -> Dataset:
        """The rows as data of the model."""
        return self.model.schema_.dataset(self.frame(rows))

    def score(self, data: Dataset, k: int, seed: int) -> Answer:
        """log p of what is seen of each row, per unit of the columns; 0 where nothing is."""
        empty = data.x.isnan().all(1).numpy()
        found = super().score(data, k, seed)
        return {"log_likelihood": np.where(empty, 0.0, found["log_likelihood"]), "ess": found["ess"]}

    def decode(self, z: np.ndarray, given: dict[str, Any] | None, sample: bool, seed: int) -> Answer:
        """The most probable row at each z, or a draw."""
        group = self.table.group
        own = None
        if group is None and given:
            raise WrongFormError("this model was trained without a group: leave given out")
        if group is not None:
            own = self._cells(group, [(given or {}).get(group.name)])[0]
            if own is None or set(given or {}) != {group.name}:
                raise WrongFormError(f'this model is of rows given {group.name!r}: give {{"{group.name}": ...}} alone')
        model = self.model.set_params(random_state=seed)
        with inside_training():
            return {"x": self.records(model.inverse_transform(z, group=own, sample=sample))}

    def sample(self, n: int, given: dict[str, Any] | None, mean: bool, seed: int) -> Answer:
        """New rows, under conditions if any, with the worth of their draws."""
        asked = {name: self._condition(name, value) for name, value in (given or {}).items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what it says is in the answer
            found, quality = self.model.sample(n, asked, random_state=seed, with_quality=True)
        return {"x": self.records(found), "candidates": quality.candidates, "ess": quality.ess}

    def impute(self, rows: Any, k: int, seed: int, m: int) -> Answer:
        """The rows with their holes filled: once, or by m draws of each."""
        frame = self.frame(rows)
        model = self.model.set_params(random_state=seed, k=k)
        if not m:
            return {"x": self.records(model.impute(frame))}
        return {"imputations": [self.records(t) for t in model.impute(frame, m=m)]}

    # -- rows and frames ----------------------------------------------------------------------------------------------

    def frame(self, rows: Any) -> Any:
        """A DataFrame of the rows."""
        if type(rows) is not list or not rows or any(type(row) is not dict for row in rows):
            raise WrongFormError('x is a list of rows, each an object such as {"age": 40, "city": null}')
        for i, row in enumerate(rows):
            if strange := row.keys() - self.columns.keys():
                name = min(strange)
                raise WrongFormError(f"row {i} has a column {name[:40]!r} that is none: {nearest(name, self.columns)}")
        cells = {n: self._cells(c, [row.get(n) for row in rows]) for n, c in self.columns.items()}
        return self.pandas.DataFrame({
            n: self.pandas.to_datetime(self.pandas.Series(v, dtype="datetime64[us]"))
            if self.columns[n].kind == "datetime" else self.pandas.Series(v, dtype=_dtype(v))
            for n, v in cells.items()
        })  # fmt: skip

    def _cells(self, column: Column, values: list[Any]) -> list[Any]:
        """The cells of a column, refused where they are of another type."""
        text = column.is_text or column.kind == "datetime"
        known = None if column.categories is None or not (column.coded or column.kind == "group") else column.categories
        for i, value in enumerate(values):
            if column.kind in ("identifier", "constant"):
                if not (value is None or isinstance(value, str | int | float)):
                    raise WrongFormError(f"column {column.name!r}, row {i}: its cells are text, numbers or null")
                continue
            if value is None:
                continue
            good = type(value) is str if text else type(value) in (int, float) and abs(value) < _LARGE
            if good and column.kind == "count" and value > _MOST:
                raise WrongFormError(f"column {column.name!r}, row {i}: its cells are counts up to {_MOST:,}")
            if column.kind == "boolean":
                good = type(value) is bool
            if not good:
                what = "text" if text else "true or false" if column.kind == "boolean" else "a number"
                raise WrongFormError(f"column {column.name!r}, row {i}: its cells are {what}, or null where missing")
            if known is not None and value not in known:
                hint = nearest(str(value)[:40], map(str, known))
                raise InputError(f"column {column.name!r}, row {i} is {str(value)[:40]!r}, which training never saw: "
                                 f"{hint}")  # fmt: skip
        if column.kind == "datetime":
            return [None if v is None else self._time(column, v) for v in values]
        if column.kind in ("identifier", "constant"):
            return values
        return [float(v) if type(v) in (int, float) else v for v in values]

    def _time(self, column: Column, value: str) -> Any:
        try:
            found = self.pandas.Timestamp(value)
            found = found.tz_convert("UTC").tz_localize(None) if found.tz is not None else found
            return None if found is self.pandas.NaT else found.as_unit("us")
        except (ValueError, TypeError, OverflowError) as error:
            raise WrongFormError(
                f"column {column.name!r}: {value[:40]!r} is no date, such as 2024-05-31T12:00:00"
            ) from error

    def _condition(self, name: str, value: Any) -> Any:
        """A condition as ``TabularVAE.sample`` takes it."""
        column = self.columns.get(name)
        if column is None or not (column.modelled or column.kind == "group"):
            known = [n for n, c in self.columns.items() if c.modelled or c.kind == "group"]
            raise WrongFormError(f"there is no column {name[:40]!r} to give: {nearest(name, known)}")
        if type(value) is dict and not column.coded and column.kind != "group":
            if not value or not value.keys() <= {"low", "high"}:
                raise WrongFormError(f'column {name!r}: an interval is {{"low": ..., "high": ...}}, or one of them')
            low, high = self._cells(column, [value.get("low"), value.get("high")])
            return (low, high)
        if type(value) is list and column.coded:
            if not value or any(v is None for v in value):
                raise WrongFormError(f"column {name!r}: give a list of its categories")
            return self._cells(column, value)
        if value is None:
            raise WrongFormError(f"column {name!r}: give a value, and no null")
        return self._cells(column, [value])[0]

    def records(self, frame: Any) -> list[dict[str, Any]]:
        """The rows of a frame as objects."""
        names = list(frame.columns)
        columns = [self._shown_column(self.columns[n], frame[n]) for n in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _shown_column(self, column: Column, series: Any) -> list[Any]:
        missing = series.isna()
        if column.kind == "datetime":
            times = self.pandas.to_datetime(series)
            return [None if m else t.isoformat() for t, m in zip(times, missing, strict=True)]
        return [None if m else _number(column, v) for v, m in zip(series.tolist(), missing, strict=True)]


def _number(column: Column, value: Any) -> Any:
    if column.kind == "boolean":
        return bool(value)
    if isinstance(value, float) and value.is_integer() and (column.kind == "count" or "int" in column.dtype.lower()):
        return int(value)
    return value


def _dtype(values: list[Any]) -> str:
    return "float64" if all(v is None or type(v) is float for v in values) else "object"


def _cell(column: Column) -> dict[str, Any]:
    """A cell, as JSON Schema."""
    if column.kind in ("identifier", "constant"):  # no part of the model: handed back as it came
        return {"type": ["string", "number", "boolean", "null"]}
    if column.kind == "boolean":
        return {"type": ["boolean", "null"]}
    if column.coded or column.kind == "group":
        return {"enum": [*(column.categories or ()), *([None] if column.kind != "group" else [])]}
    if column.kind == "datetime":
        return {"type": ["string", "null"], "format": "date-time"}
    low, high = column.ends
    bounds: dict[str, Any] = {"minimum": -_LARGE, "maximum": _LARGE}
    if column.kind == "count":
        return {"type": ["integer", "null"], "minimum": 0, "maximum": _MOST}
    bounds |= {"exclusiveMinimum": low} if math.isfinite(low) else {}
    bounds |= {"exclusiveMaximum": high} if math.isfinite(high) else {}
    return {"type": ["number", "null"], **bounds}
