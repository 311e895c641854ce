"""Values that a person asks for, as the numbers of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from reparam.data.columns import Column
from reparam.data.frames import Plain
from reparam.errors import InputError


def number_of(column: Column, value: Any) -> float:
    """One value of the column in the model's numbers.

    Raises:
        InputError: for a value that the column cannot have.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise InputError(f"column {column.name!r}: nothing can be asked of a missing value")
    return float(column.encode(_plain(column, value))[0])


def codes_of_value(column: Column, values: Iterable[Any]) -> frozenset[int]:
    """The codes of several values of a column with categories."""
    found = frozenset(int(number_of(column, v)) for v in values)
    if not column.coded or not found:
        raise InputError(f"column {column.name!r} is {column.kind}: give one value, or a pair of numbers (low, high)")
    return found


def interval_of(column: Column, ends: tuple[Any, ...]) -> tuple[float, float]:
    """An interval (low, high) in the model's numbers; of ordered categories, all from one to the other.

    Raises:
        InputError: for an interval of another length, or without any value.
    """
    if len(ends) != 2 or column.kind in ("categorical", "binary", "boolean"):
        raise InputError(f"column {column.name!r} is {column.kind}: an interval is a pair of ordered values")
    if column.coded:
        low, high = (number_of(column, e) for e in ends)
    else:
        stored = [_stored(column, e, which) for e, which in zip(ends, (-math.inf, math.inf), strict=True)]
        half = (
            0.499 * (column.step or 0.0) if column.kind in ("real", "positive") else 0.0
        )  # what is rounded to the ends
        ulps = [1e-13 * abs(e) if math.isfinite(e) else 0.0 for e in stored]  # of the way to model units and back
        low, high = column.numbers(stored[0] - half + ulps[0], stored[1] + half - ulps[1])
    if not low <= high or (low == high and not column.coded and column.kind != "count"):
        raise InputError(f"column {column.name!r}: no value lies between {ends[0]} and {ends[1]}")
    return low, high


def _stored(column: Column, end: Any, unlimited: float) -> float:
    return unlimited if end is None else float(_plain(column, end).values[0])


def _plain(column: Column, value: Any) -> Plain:
    """The value as a column of one row."""
    if column.kind == "datetime":
        try:
            return Plain(np.array([np.datetime64(value, "us").astype(np.int64) / 1e6]), "time", column.dtype)
        except (ValueError, TypeError) as error:
            raise InputError(f"column {column.name!r}: {value!r} is no date, such as 2024-05-31") from error
    if isinstance(value, bool | np.bool_):
        return Plain(np.array([float(value)]), "bool", column.dtype)
    if isinstance(value, int | float | np.number):
        return Plain(np.array([float(value)]), "number", column.dtype)
    text = str(value)
    if column.categories and not column.is_text:  # the words of a command line
        words = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
        if column.kind == "boolean" and text.lower() in words:
            return Plain(np.array([words[text.lower()]]), "bool", column.dtype)
    if not column.is_text:
        try:
            return Plain(np.array([float(text)]), "number", column.dtype)
        except ValueError as error:
            raise InputError(f"column {column.name!r}: {text!r} is no number; the column is {column.kind}") from error
    return Plain(np.array([text], dtype=object), "text", column.dtype)
