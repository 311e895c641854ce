"""The page in one file: its modules as one script, its style, and its data, under a policy that lets nothing out.

The sources are plain JavaScript modules in ``page/``. A module is ``export``ed declarations and single-line or wrapped
``import { a, b } from "./other.js"``; names at the top of modules are unique over all of them, which is checked, so
that the modules can stand one behind the other in one scope.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from reparam.version import __version__

_IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"\./([\w.]+)";\n', re.M)
_DECLARED = re.compile(r"^(?:export )?(?:async )?(?:const|let|function\*?|class) (?:\{([^}]*)\}|([\w$]+))", re.M)


def source(name: str) -> str:
    """A file of the page."""
    return (files("reparam.explorer") / "page" / name).read_text(encoding="utf-8")


def script(entry: str = "main.js") -> str:
    """All modules that the entry needs, each after those that it imports, in one scope.

    Raises:
        ValueError: for a name that two modules declare, one that is imported and not exported, or a circle.
    """
    texts: dict[str, str] = {}
    owner: dict[str, str] = {}
    _collect(entry, texts, owner, ())
    return '"use strict";\n(() => {\n' + "\n".join(texts.values()) + "\n})();\n"


def _collect(name: str, texts: dict[str, str], owner: dict[str, str], path: tuple[str, ...]) -> None:
    if name in texts:
        return
    if name in path:
        raise ValueError(f"the modules import each other in a circle: {' -> '.join((*path, name))}")
    text = source(name)
    for names, other in _IMPORT.findall(text):
        _collect(other, texts, owner, (*path, name))
        exported = set(re.findall(r"^export (?:async )?(?:const|let|function\*?|class) ([\w$]+)", source(other), re.M))
        if missing := {n.strip() for n in names.split(",") if n.strip()} - exported:
            raise ValueError(f"{name} imports {', '.join(sorted(missing))}, which {other} does not export")
    body = re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.M)
    for several, one in _DECLARED.findall(body):
        for declared in re.findall(r"[\w$]+", several) if several else [one]:
            if declared in owner:
                raise ValueError(f"{declared} is declared in {owner[declared]} and in {name}")
            owner[declared] = name
    texts[name] = f"// {name}\n{body}"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(style: str, code: str, connect: str = "") -> str:
    """What the page may load: this style and this script, and from a server its answers, nothing else."""
    to = f"; connect-src {connect}" if connect else ""
    return (
        f"default-src 'none'; script-src {_digest(code)}; style-src {_digest(style)}{to}; base-uri 'none'; "
        "form-action 'none'"
    )


def pack(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A table and arrays as one block: the length of a head, the head as JSON, and the arrays, little-endian."""
    places, parts, at = {}, [], 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        data = np.ascontiguousarray(array, dtype).tobytes()
        places[name] = {"dtype": dtype.name, "at": at, "length": array.size}
        padding = -len(data) % 8
        parts.append(data + bytes(padding))
        at += len(data) + padding
    head = json.dumps({"meta": meta, "arrays": places}, separators=(",", ":"), allow_nan=False).encode()
    head += b" " * (-(len(head) + 4) % 8)
    return len(head).to_bytes(4, "little") + head + b"".join(parts)


def document(title: str, payload: bytes | None, connect: str = "") -> tuple[str, str]:
    """(the page, its policy): with the payload inside, or, for a page that asks a server, without."""
    style, code = source("style.css"), script()
    inside = base64.b64encode(zlib.compress(payload, 9)).decode() if payload is not None else ""
    rule = policy(style, code, connect)
    html = source("index.html")
    values = {
        "policy": escape(rule), "title": escape(title), "style": style, "script": code, "payload": inside,
        "version": escape(__version__),
    }  # fmt: skip
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], html), rule
