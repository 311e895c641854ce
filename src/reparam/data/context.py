"""Contexts of files: columns or arrays beside the data, as numbers that a conditional model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reparam.errors import InputError, nearest

_FEW = 50  # whole numbers of more different values are numbers, not categories
_MANY = 1000  # categories that no model learns from: a number of each row
_SHOWN = 10
_UNKNOWN = ("", "nan", "None", "-1")  # a label that is not known, as texts
_NO_NUMBER = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class Context:
    """One named context: categories, one-hot, or real numbers, standardised by the mean and deviation of training.

    Of a ``partial`` one rows may lack the category: an empty text, NaN or -1 is zeros.
    """

    name: str
    categories: list[str] | None = None
    loc: list[float] | None = None
    spread: list[float] | None = None
    partial: bool = False

    @staticmethod
    def of(name: str, values: np.ndarray, partial: bool = False) -> Context:
        """The context of these training values: text and few whole numbers are categories, others are real.

        Raises:
            InputError: for text of more than 1000 kinds, or values that are no numbers; for a ``partial`` one, where
                fewer than 2 categories are found.
        """
        if partial:
            return Context(name, _kinds(name, values), partial=True)
        kinds = np.unique(values) if values.dtype.kind in "biuUS" and values.ndim == 1 else values[:0]
        if len(kinds) and (values.dtype.kind in "bUS" or len(kinds) <= _FEW):
            if len(kinds) > _MANY:
                raise InputError(f"context {name!r} has {len(kinds)} different texts: it tells rows apart, not kinds")
            return Context(name, [str(k) for k in kinds.tolist()])
        flat = _numbers(name, values)
        spread = flat.std(0)
        return Context(name, None, flat.mean(0).tolist(), np.where(spread > 0, spread, 1.0).tolist())

    @property
    def width(self) -> int:
        """How many numbers the model reads."""
        return len(self.categories if self.categories is not None else self.loc or ())

    @property
    def words(self) -> str:
        """What it is, in a line."""
        if self.partial:
            return f"label {self.name}: one of {_listed(self.categories or [])}, or not known"
        if self.categories is None:
            return f"context {self.name}: real, {self.width} number{'s' * (self.width > 1)} a row, standardised"
        return f"context {self.name}: one of {_listed(self.categories)}"

    def encode(self, values: np.ndarray, where: str) -> np.ndarray:
        """The numbers that the model reads, (N, width) float32, for values of ``where``.

        Raises:
            InputError: for a category that training never saw, or real numbers of another shape or too large, naming
                the row.
        """
        if self.categories is None:
            flat = _numbers(self.name, values)
            if flat.shape[1] != self.width:
                raise InputError(
                    f"{where}: context {self.name!r} has {flat.shape[1]} numbers a row; training had {self.width}"
                )
            with np.errstate(over="ignore"):
                read = ((flat - np.array(self.loc)) / np.array(self.spread)).astype(np.float32)
            far = np.argwhere(np.isinf(read) & np.isfinite(flat))
            if len(far):
                raise InputError(
                    f"{where}: row {far[0, 0]}, context {self.name!r} is {flat[tuple(far[0])]:.3g}, far beyond training"
                )
            return read
        places = {c: i for i, c in enumerate(self.categories)}
        texts = _texts(values) if self.partial else [str(v) for v in values.tolist()]
        if self.partial:
            places |= dict.fromkeys(_UNKNOWN, self.width)
        unseen = next((i for i, t in enumerate(texts) if t not in places), None)
        if unseen is not None:
            raise InputError(
                f"{where}: row {unseen}, context {self.name!r} is {texts[unseen]!r}, which training never saw: "
                f"it is one of {_listed(self.categories)}"
            )
        return np.eye(self.width + 1, self.width, dtype=np.float32)[[places[t] for t in texts]]

    def parse(self, text: str) -> np.ndarray:
        """One value (1, ...) from the text of an option.

        Raises:
            InputError: for text that is no number where one is needed, or a context of several numbers.
        """
        if self.categories is not None:
            return np.array([text])
        if self.width > 1:
            raise InputError(f"context {self.name!r} has {self.width} numbers a row, which no option gives: use Python")
        try:
            return np.array([float(text)])
        except ValueError as error:
            raise InputError(f"context {self.name!r} is a number, not {text!r}") from error


def joined(contexts: Sequence[Context], values: Mapping[str, np.ndarray], where: str, rows: int) -> np.ndarray:
    """All contexts of the ``rows`` of ``where`` side by side, (rows, sum of widths) float32."""
    missing = next((c.name for c in contexts if c.name not in values and not c.partial), None)
    if missing is not None:
        raise InputError(f"{where} has no context {missing!r}, which this model was trained with")
    return np.concatenate([c.encode(values.get(c.name, np.full(rows, "")), where) for c in contexts], 1)


def given(contexts: Sequence[Context], text: str | None) -> np.ndarray:
    """The contexts (1, sum of widths) of an option such as ``batch=a,dose=0.5``.

    Raises:
        InputError: unless it gives each context once, a value that training knew.
    """
    names = [c.name for c in contexts]
    wanted = ",".join(f"{c.name}={c.categories[0] if c.categories else 'NUMBER'}" for c in contexts)
    values: dict[str, str] = {}
    last = ""
    for part in (text or "").split(",") if text else ():
        name, equals, value = part.partition("=")
        if equals and name.strip() in names:
            last = name.strip()
            if last in values:
                raise InputError(f"--given has {last!r} twice: give --given {wanted}")
            values[last] = value.strip()
        elif last:  # a comma within a value
            values[last] += f",{part}"
        else:
            raise InputError(f"--given has no context {name.strip()!r}: {nearest(name.strip(), names)}")
    missing = [c.name for c in contexts if c.name not in values and not c.partial]
    if missing:
        raise InputError(f"this model is of data given {', '.join(names)}: give --given {wanted}")
    return joined(contexts, {c.name: c.parse(values[c.name]) for c in contexts if c.name in values}, "--given", 1)


def fault(raw: Any) -> bool:
    """Whether this is no list of contexts as a schema keeps them."""
    if raw is None:
        return False
    if not isinstance(raw, list) or not raw or not all(isinstance(c, dict) for c in raw):
        return True
    return any(
        set(c) - {"partial"} != {"name", "categories", "loc", "spread"}
        or type(c.get("partial", False)) is not bool
        or not isinstance(c["name"], str)
        or not (
            (_are(c["categories"], str) and c["loc"] is None and c["spread"] is None)
            or (
                c["categories"] is None and _are(c["loc"], float) and _are(c["spread"], float)
                and len(c["loc"]) == len(c["spread"]) and all(s > 0 for s in c["spread"])
            )
        )
        for c in raw
    )  # fmt: skip


def _are(values: Any, kind: type) -> bool:
    return (
        isinstance(values, list)
        and len(values) > 0
        and all(type(v) is kind and (kind is str or str(v) not in _NO_NUMBER) for v in values)
    )


def _texts(values: np.ndarray) -> list[str]:
    """Labels as texts; whole numbers among holes, which are floats, as whole numbers."""
    cells = values.tolist()
    return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in cells]


def _kinds(name: str, values: np.ndarray) -> list[str]:
    """The different labels of training, numbers by their size.

    Raises:
        InputError: for fewer than 2, or more than 1000.
    """
    kinds = set(_texts(values.reshape(len(values), -1)[:, 0])) - set(_UNKNOWN)
    if not 2 <= len(kinds) <= _MANY:
        raise InputError(f"label {name!r} has {len(kinds)} different values that are known: 2 to {_MANY} make classes")
    numbers = all(k.lstrip("-").isdigit() for k in kinds)
    return sorted(kinds, key=int) if numbers else sorted(kinds)


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    """(N, m) float64, finite."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"context {name!r} holds {values.dtype}, and training had numbers: give numbers")
    flat = values.reshape(len(values), -1).astype(np.float64)
    finite = np.isfinite(flat).all(1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InputError(f"context {name!r} of row {row} is not finite: remove such rows or fill them in first")
    return flat


def _listed(categories: Sequence[str]) -> str:
    more = f" and {len(categories) - _SHOWN} more" if len(categories) > _SHOWN else ""
    return ", ".join(map(repr, categories[:_SHOWN])) + more
