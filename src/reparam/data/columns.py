"""A column of a table: what it holds, in which units, and the numbers by which a model reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from reparam.data.frames import Plain
from reparam.errors import InputError, RunFolderError, nearest

NUMERIC = ("real", "positive", "proportion", "datetime")
CODED = ("binary", "boolean", "categorical", "ordinal")
LEFT_OUT = ("constant", "identifier", "group")
KINDS = (*NUMERIC, *CODED, "count", *LEFT_OUT)
FAMILIES = ("gaussian", "student_t", "mixture")
_SHOWN, _LONG = 8, 40  # categories of a column, and letters of one, in messages


@dataclass(frozen=True)
class Column:
    """One column, as it was found or as it was corrected.

    ``kind`` is one of ``KINDS``. A model reads (f(x) - loc) / spread of a numeric column, f being the logarithm of the
    distance from the end of ``support`` for "positive" and the logit between both ends for "proportion"; the number of
    a category among ``categories`` for coded ones; a count as it is. "constant" and "identifier" are no part of the
    model; "group" is a nuisance that it is given. ``low`` and ``high`` bound what is sampled, ``step`` is the unit to
    which numbers are rounded, and ``missing`` the share of missing cells. Times are in seconds since 1970.
    ``family`` is that of numeric columns given z; ``inflated`` tells of counts with more zeros than their family has,
    ``shares`` of how the seen cells fall into the categories.
    """

    name: str
    kind: str
    dtype: str
    categories: list[Any] | None = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    missing: float = 0.0
    support: list[float | None] | None = None
    loc: float = 0.0
    spread: float = 1.0
    family: str = "gaussian"
    inflated: bool = False
    shares: list[float] | None = None

    @property
    def modelled(self) -> bool:
        """Whether it is a column of the model."""
        return self.kind not in LEFT_OUT

    @property
    def coded(self) -> bool:
        """Whether its values are categories."""
        return self.kind in CODED

    @property
    def classes(self) -> int:
        """Categories, or 1 for counts and 0 for numbers: see ``networks.Cells``."""
        return len(self.categories or ()) if self.coded else int(self.kind == "count")

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return bool(self.categories) and any(isinstance(c, str) for c in self.categories or ())

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the support."""
        low, high = self.support or (None, None)
        return (-math.inf if low is None else low, math.inf if high is None else high)

    def encode(self, found: Plain, unseen: str = "error") -> np.ndarray:
        """The numbers that a model reads, (rows,) float64, NaN where missing.

        With ``unseen`` "missing", categories that the column does not know are taken for missing.

        Raises:
            InputError: for values of another type, an unknown category, or a number outside the support.
        """
        values = self._as_stored(found)
        if self.coded or self.kind == "group":
            return self._codes(values, unseen)
        if self.kind == "count":
            return self._checked(values, (values >= 0) & (values == np.rint(values)), "whole numbers from 0")
        low, high = self.ends
        words = f"numbers above {low:g}" if high == math.inf else f"numbers between {low:g} and {high:g}"
        self._checked(values, (values > low) & (values < high), words)
        return (self._f(values) - self.loc) / self.spread

    def decode(self, y: np.ndarray) -> np.ndarray:
        """Values in the units of the column, rounded and within its bounds, for numbers of a model; NaN stays so."""
        if self.coded or self.kind == "group":
            known = self.categories or []
            codes = np.where(np.isnan(y), len(known), y).astype(np.int64)
            return np.array([*known, None], dtype=object)[codes] if self.is_text else np.array([*known, np.nan])[codes]
        return self.fitting(self.raw(y))

    def raw(self, y: np.ndarray) -> np.ndarray:
        """Numbers in the units of the column, neither rounded nor bounded."""
        return y if self.kind == "count" else self._g(self.loc + self.spread * y)

    def fitting(self, x: np.ndarray) -> np.ndarray:
        """Numbers rounded to the step and drawn to the bounds."""
        if self.step:
            digits = -math.log10(self.step)
            tenths = abs(digits - round(digits)) < 1e-9 and digits > 0
            x = np.round(x, round(digits)) if tenths else np.rint(x / self.step) * self.step
        return np.clip(x, self.low, self.high) if (self.low, self.high) != (None, None) else x

    def bounds(self) -> tuple[float, float]:
        """The bounds of what is sampled, in the model's numbers."""
        if self.coded:
            return 0.0, float(self.classes - 1)
        ends = [-math.inf if self.low is None else self.low, math.inf if self.high is None else self.high]
        return (max(ends[0], 0.0), ends[1]) if self.kind == "count" else self.numbers(ends[0], ends[1])

    def numbers(self, low: float, high: float) -> tuple[float, float]:
        """An interval in the model's numbers, from one in the column's units."""
        if self.kind == "count":
            return math.ceil(low) if math.isfinite(low) else low, math.floor(high) if math.isfinite(high) else high
        ends = np.clip(np.array([low, high], dtype=np.float64), *self.ends)
        with np.errstate(divide="ignore"):
            y = (self._f(ends) - self.loc) / self.spread
        return float(y[0]), float(y[1])

    def log_units(self, y: np.ndarray) -> np.ndarray:
        """log |dy/dx|: what takes a log density per model unit to one per unit of the column, 0 where missing."""
        if self.kind not in NUMERIC:
            return np.zeros(len(y))
        t = np.nan_to_num(self.loc + self.spread * y)
        low, high = self.ends
        slope = np.zeros(len(y))
        if self.kind == "positive":
            slope = -t
        elif self.kind == "proportion":  # d logit(u) / du = 1 / (u (1 - u))
            slope = np.logaddexp(0, t) + np.logaddexp(0, -t) - math.log(high - low)
        return np.where(np.isnan(y), 0.0, slope - math.log(self.spread))

    def least_log_variance(self) -> float:
        """The log-variance, in the model's units, below which a scale says more than rounding lets be known."""
        step = (self.step or 0.0) / math.sqrt(12) / self.spread if self.kind in ("real", "datetime") else 0.0
        return 2 * math.log(min(max(step, 1e-3), 0.3))

    def words(self) -> str:
        """The column in a line."""
        known = self.categories or []
        shown = ", ".join(short(c) for c in known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
        text = {
            "boolean": "true or false",
            "constant": f"always {shown}" if known else "always missing",
            "identifier": "tells rows apart: left out",
            "group": f"given, one of {shown}",
        }.get(self.kind, f"one of {shown}" if self.coded else self._range())
        holes = f", {self.missing:.1%} missing" if self.missing else ""
        return f"{self.name}: {self.kind}, {text}{holes}"

    def shown(self, value: Any) -> str:
        """A value of the column as text."""
        if self.kind == "datetime" and not math.isnan(value):
            return str(np.datetime64(round(value * 1e6), "us"))[:19]
        return value if isinstance(value, str) else f"{value:.12g}"

    def _range(self) -> str:
        ends = [self.shown(e) for e in (self.low, self.high) if e is not None]
        step = f" in steps of {self.step:g}" if self.step and self.kind != "count" else ""
        how = f", {self.family}" if self.family != "gaussian" else ", with zeros of their own" if self.inflated else ""
        return " to ".join(ends) + step + how

    def _f(self, x: np.ndarray) -> np.ndarray:
        low, high = self.ends
        if self.kind == "positive":
            return np.log(x - low)
        if self.kind == "proportion":
            return np.log(x - low) - np.log(high - x)
        return x

    def _g(self, t: np.ndarray) -> np.ndarray:
        low, high = self.ends
        if self.kind == "positive":
            return low + np.exp(np.clip(t, -700, 700))
        if self.kind == "proportion":
            return low + (high - low) / (1 + np.exp(-np.clip(t, -700, 700)))
        return t

    def _as_stored(self, found: Plain) -> np.ndarray:
        """The values as text or numbers, whichever the categories or the units are."""
        text = found.form == "text"
        if self.coded or self.kind == "group":
            if self.is_text == text or bool(missing_cells(found.values).all()):
                return found.values
            if self.is_text:  # numbers where text was: 1 for "1"
                return np.array([None if math.isnan(v) else f"{v:g}" for v in found.values], dtype=object)
        if not text:
            wrong = (found.form == "time") != (self.kind == "datetime")
            if wrong and not bool(np.isnan(found.values).all()):
                raise InputError(f"column {self.name!r} holds {_what(found.form)}; in training it was {self.kind}")
            return found.values
        return self._numbers_of(found.values)

    def _numbers_of(self, values: np.ndarray) -> np.ndarray:
        out = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            try:
                out[row] = np.nan if value is None else float(value)
            except ValueError as error:
                raise InputError(
                    f"column {self.name!r}, row {row} is {value[:40]!r}, not a number: in training the column was "
                    f"{self.kind}"
                ) from error
        return out

    def _codes(self, values: np.ndarray, unseen: str) -> np.ndarray:
        place = {c: float(i) for i, c in enumerate(self.categories or [])}
        missing = missing_cells(values)
        codes = np.array([math.nan if m else place.get(v, -1.0) for v, m in zip(values.tolist(), missing, strict=True)])
        strange = codes == -1
        if strange.any() and unseen != "missing":
            value = values[int(strange.argmax())]
            shown = short(value) if isinstance(value, str) else f"{value:g}"
            hint = nearest(shown, [short(c) for c in place]) if len(place) <= 20 else "it is none of the known ones"
            raise InputError(
                f"column {self.name!r}, row {int(strange.argmax())} is {shown!r}, which training never saw: {hint} "
                "(unseen='missing' takes such cells for missing)"
            )
        return np.where(strange, np.nan, codes)

    def _checked(self, values: np.ndarray, good: np.ndarray, words: str) -> np.ndarray:
        bad = ~(good | np.isnan(values))
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"column {self.name!r}, row {row} is {values[row]:g}; this {self.kind} column takes {words}: correct "
                "the cell, or the column's kind or support in the schema"
            )
        return values

    @staticmethod
    def from_dict(raw: Any) -> Column:
        """The column of a table of plain data.

        Raises:
            RunFolderError: naming the entry that no column has.
        """
        if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
            raise RunFolderError("a column of the schema has no name")
        name, known = raw["name"], {f.name for f in fields(Column)}
        for entry in raw:
            if entry not in known:
                raise RunFolderError(f"column {name!r} of the schema has an entry {entry!r}: {nearest(entry, known)}")
        if (fault := _fault(raw)) is not None:
            raise RunFolderError(f"column {name!r} of the schema: {fault} is {raw.get(fault)!r}, which it cannot be")
        return Column(**raw)


def short(value: Any) -> str:
    """A value in one line, cut where it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= _LONG else text[:_LONG] + "..."


def _what(form: str) -> str:
    return {"time": "dates", "bool": "true and false", "number": "numbers"}.get(form, form)


def missing_cells(values: np.ndarray) -> np.ndarray:
    """Which cells of a column are missing: None among text, NaN among numbers."""
    return np.array([v is None for v in values], dtype=bool) if values.dtype == object else np.isnan(values)


def is_number(value: Any, least: float = -math.inf, open_end: bool = False) -> bool:
    """Whether the value is a finite number of at least ``least`` (above it, with ``open_end``)."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return number and (value > least if open_end else value >= least)


def _fault(raw: dict[str, Any]) -> str | None:
    """The first entry that is not as a column has it."""
    kind, known, support = raw.get("kind"), raw.get("categories"), raw.get("support")
    ends = [raw.get("low"), raw.get("high")]
    need = 2 if kind in CODED else 1 if kind == "group" else 0
    checks = {
        "kind": kind in KINDS,
        "dtype": isinstance(raw.get("dtype"), str),
        "categories": (known is None and need == 0)
        or (isinstance(known, list) and len(known) >= need and len(set(map(repr, known))) == len(known)
            and (all(isinstance(c, str) for c in known) or all(is_number(c) for c in known))),
        "low": ends[0] is None or is_number(ends[0]),
        "high": ends[1] is None or (is_number(ends[1]) and (ends[0] is None or ends[0] <= ends[1])),
        "step": raw.get("step") is None or is_number(raw.get("step"), 0, True),
        "missing": is_number(raw.get("missing", 0.0), 0) and raw.get("missing", 0.0) <= 1,
        "support": _good_support(kind, support),
        "loc": is_number(raw.get("loc", 0.0)),
        "spread": is_number(raw.get("spread", 1.0), 0, True),
        "family": raw.get("family", "gaussian") in FAMILIES,
        "shares": raw.get("shares") is None
        or (isinstance(raw["shares"], list) and len(raw["shares"]) == len(known or ())
            and all(is_number(v, 0) for v in raw["shares"]) and sum(raw["shares"]) > 0),
        "inflated": isinstance(raw.get("inflated", False), bool),
    }  # fmt: skip
    return next((name for name, good in checks.items() if not good), None)


def _good_support(kind: Any, support: Any) -> bool:
    if kind not in ("positive", "proportion"):
        return support is None
    if not isinstance(support, list) or len(support) != 2 or not is_number(support[0]):
        return False
    return support[1] is None if kind == "positive" else is_number(support[1], support[0], True)
