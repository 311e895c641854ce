"""Writing TOML; reading it is the standard library's ``tomllib``."""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(table: Mapping[str, Any]) -> str:
    """A table of numbers, strings, booleans, lists and tables as TOML; entries that are None are left out.

    Numbers may be numpy's. ``tomllib.loads`` gives an equal table back.

    Raises:
        TypeError: for a value or a key that TOML has no form for.
    """
    return "\n".join(_table(table, ())) + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines, inner = [], []
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner.append((key, value))
        elif value is not None:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in inner:
        below = (*path, key)
        lines += ["", f"[{'.'.join(map(_key, below))}]", *_table(value, below)]
    return lines


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"TOML's keys are text, not {key!r}")
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for the delete character, which TOML wants escaped
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return _float(float(value))
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    raise TypeError(f"TOML has no form for {type(value).__name__}")


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value) if "." in repr(value) or "e" not in repr(value) else repr(value).replace("e", ".0e")
