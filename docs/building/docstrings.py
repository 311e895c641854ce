"""Docstrings as Markdown: shapes and starred names as code, roles as links."""

from __future__ import annotations

import importlib
import re
from typing import Any

import griffe

_CODE = re.compile(r"(``.*?``|`[^`]*`|^ {4,}.*$|```.*?```)", re.S | re.M)
_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?\.?([\w.]+)`")
_SHAPE = re.compile(r"\((?:[^()\s*]+, )*\*\w+(?:, [^()\s]+)*\)|\([\w.]+(?:, [\w.*]+)*,?\)(?=[ ,;.:)])")
_LEAD = re.compile(r"^(Shapes?|Units?|Source):", re.M)


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every object once it is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite it."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value, obj)


def markdown(text: str, obj: griffe.Object | None = None) -> str:
    """The text of a docstring, with what Markdown would take for emphasis set as code."""

    def role(found: re.Match[str]) -> str:
        return _link(found[1], obj)

    text = _ROLE.sub(role, text)
    parts = _CODE.split(text)
    for i in range(0, len(parts), 2):
        plain = _SHAPE.sub(lambda m: f"`{m[0]}`" if "*" in m[0] or "..." in m[0] or "B" in m[0] else m[0], parts[i])
        inside = re.split(r"(`[^`]*`)", plain)
        inside[::2] = [re.sub(r"(?<!\*)\*(?=\w)(?!\*)", r"\\*", piece) for piece in inside[::2]]
        parts[i] = _LEAD.sub(r"**\1.**", "".join(inside))
    return "".join(parts)


def _link(name: str, obj: griffe.Object | None) -> str:
    """A link to a public name, or the name alone."""
    short = name.rsplit(".", 1)[-1]
    try:
        full = name if name.startswith("reparam.") or obj is None else obj.resolve(name)
    except griffe.NameResolutionError:
        return f"`{short}`"
    return f"[`{short}`][{public}]" if (public := _public(full)) else f"`{short}`"


def _public(full: str) -> str | None:
    """The name in the reference of something in a room, or None if it is not there."""
    parts = full.split(".")
    if len(parts) < 3:
        return full if full in _TOP else None
    room, name = importlib.import_module(f"reparam.{parts[1]}"), parts[-1]
    found = getattr(room, name) if name in getattr(room, "__all__", ()) else None
    if not callable(found):
        return None
    home = str(found.__module__)  # a function in a module of its own name has the page's entry under that
    return f"{home}.{name}" if home.endswith(f".{name}") else f"reparam.{parts[1]}.{name}"


_TOP = ("reparam.VAE", "reparam.Draw", "reparam.Conditional")
