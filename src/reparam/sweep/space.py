"""The options that a sweep varies, from the words in which a person names them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reparam.errors import InputError, nearest

_WIDE = 10.0  # from this ratio of its ends on, a range of positive numbers is drawn by its logarithm


@dataclass(frozen=True)
class Axis:
    """An option and the values it may take: some words, or all numbers from ``low`` to ``high``."""

    name: str
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False  # numbers

    @property
    def logarithmic(self) -> bool:
        """Whether a range is drawn by the logarithm of its numbers."""
        return not self.words and self.low > 0 and self.high / self.low >= _WIDE

    def suggest(self, trial: Any) -> Any:
        """A value from Optuna's trial: a word, or a number."""
        if self.words:
            return trial.suggest_categorical(self.name, list(self.words))
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.logarithmic)
        return trial.suggest_float(self.name, self.low, self.high, log=self.logarithmic)


def parse(text: str, known: Mapping[str, type], refused: Mapping[str, str]) -> list[Axis]:
    """The axes of ``lr=1e-4..1e-2,posterior=diagonal|full,hidden=400|400,200``.

    ``known`` are the options and whether their numbers are int or float, or else str; ``refused`` are those that are
    not to be varied, with the reason.

    Raises:
        InputError: for an option that is none or cannot be varied, and for values that are no range and no choice.
    """
    parts = re.split(r",\s*(?=[A-Za-z][\w-]*\s*=)", text.strip())
    axes = [_axis(part, known, refused) for part in parts]
    if twice := {a.name for a in axes if sum(b.name == a.name for b in axes) > 1}:
        raise InputError(f"--over names {_flag(min(twice))} twice: put its values side by side, with | between them")
    return axes


def _axis(part: str, known: Mapping[str, type], refused: Mapping[str, str]) -> Axis:
    name, equals, values = (word.strip() for word in part.partition("="))
    name = name.lstrip("-").replace("-", "_")
    if not equals or not values:
        raise InputError(f"--over takes options with values, such as lr=1e-4..1e-2,latent-dim=2|5|10; not {part!r}")
    if name in refused:
        raise InputError(f"{_flag(name)} cannot be varied: {refused[name]}")
    if name not in known:
        raise InputError(f"train has no option {_flag(name)}: {nearest(name, known)}")
    if ".." in values:
        return _range(name, values, known[name])
    words = tuple(word.strip() for word in values.split("|"))
    if len(set(words)) < len(words) or not all(words):
        raise InputError(f"the values of {_flag(name)} must differ and none may be empty: {values}")
    return Axis(name, words)


def _range(name: str, values: str, kind: type) -> Axis:
    try:
        low, high = (float(end) for end in values.split(".."))
    except ValueError:
        raise InputError(f"a range has a number at each end, such as 1e-4..1e-2; {_flag(name)} got {values}") from None
    if kind not in (int, float):
        raise InputError(f"{_flag(name)} takes no numbers in a row: give its values with | between them")
    if not low < high:
        raise InputError(f"a range goes from the smaller number to the larger; {_flag(name)} got {values}")
    if kind is int and not (low.is_integer() and high.is_integer()):
        raise InputError(f"{_flag(name)} takes whole numbers, and its range is {values}")
    return Axis(name, low=low, high=high, whole=kind is int)


def combinations(axes: Iterable[Axis]) -> list[dict[str, Any]] | None:
    """Every combination where there are finitely many, else None."""
    columns = list[Sequence[Any]]()
    for axis in axes:
        if not axis.words and not axis.whole:
            return None
        columns.append(axis.words or range(int(axis.low), int(axis.high) + 1))
    names = [axis.name for axis in axes]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*columns)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
