"""The options of a request: one class says what is taken, in the description and when a request is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reparam.errors import nearest
from reparam.serve.wire import WrongFormError


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    name: str
    text: str
    default: int
    least: int
    most: int

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most, "default": self.default}

    def read(self, text: str) -> int:
        """The number that the text says."""
        if not re.fullmatch(r"-?\d{1,12}", text, re.ASCII) or not self.least <= int(text) <= self.most:
            raise WrongFormError(f"{self.name} is a whole number from {self.least} to {self.most}, not {text[:40]!r}")
        return int(text)


@dataclass(frozen=True)
class Switch:
    """true or false."""

    name: str
    text: str
    default: bool = False

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "boolean", "default": self.default}

    def read(self, text: str) -> bool:
        """What the text says."""
        if text not in ("true", "false"):
            raise WrongFormError(f"{self.name} is true or false, not {text[:40]!r}")
        return text == "true"


Option = Whole | Switch
SEED = Whole("seed", "decides all randomness", 0, 0, 2**32 - 1)


def read(options: Iterable[Option], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """All options, those that are given and the defaults of the others.

    Raises:
        WrongFormError: for a name that is none or stands twice, or a value that the option has not.
    """
    known: Mapping[str, Option] = {o.name: o for o in options}
    found: dict[str, Any] = {}
    for name, text in given:
        if name not in known:
            hint = nearest(name, known) if known else "this takes none"
            raise WrongFormError(f"there is no option {name[:40]!r}: {hint}")
        if name in found:
            raise WrongFormError(f"the option {name} stands twice")
        found[name] = known[name].read(text)
    return {name: found.get(name, option.default) for name, option in known.items()}
