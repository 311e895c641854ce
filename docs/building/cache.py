"""The results of pages, kept by the content that they come from."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from building.cells import Cell
from building.run import Output

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
KEPT = ROOT / ".cache" / "docs"
QUICK = "REPARAM_QUICK"
DATA = "REPARAM_DATA"


class PageError(Exception):
    """A page whose code fails."""


@dataclass(frozen=True)
class Results:
    """What the cells that run showed, one list for each, where their pictures are, and the seconds that it took."""

    outputs: list[list[Output]]
    folder: Path
    seconds: float


def results(name: str, cells: list[Cell], quick: bool) -> Results:
    """The results of a page's code: those that are kept, if nothing that they come from has changed.

    Raises:
        PageError: if the code fails, with what it said.
    """
    code = [(cell.language, cell.source) for cell in cells if cell.runs]
    key = _key(name, code, quick)
    folder = KEPT / f"{name.replace('/', '-')}{'-quick' if quick else ''}"
    kept = folder / "key.json"
    if not (kept.exists() and json.loads(kept.read_text())["key"] == key):
        started = time.monotonic()
        _run(name, code, quick, folder)
        kept.write_text(json.dumps({"key": key, "seconds": time.monotonic() - started}))
    outputs = [[Output(*o) for o in cell] for cell in json.loads((folder / "results.json").read_text())]
    return Results(outputs, folder, json.loads(kept.read_text())["seconds"])


def _run(name: str, code: list[tuple[str, str]], quick: bool, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "cells.json").write_text(json.dumps({"name": name, "cells": code}))
    environment = {k: v for k, v in os.environ.items() if k != QUICK} | ({QUICK: "1"} if quick else {})
    environment |= {"MPLBACKEND": "agg", "COLUMNS": "100"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (DOCS, DOCS / "course")))  # pages import what they share
    environment.setdefault("OMP_NUM_THREADS", "1")  # pages run side by side
    done = subprocess.run(
        [sys.executable, "-m", "building.run", str(folder / "cells.json"), str(folder)],
        env=environment, cwd=folder, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise PageError(f"{name}:\n{done.stderr[-4000:]}")


def _key(name: str, code: list[tuple[str, str]], quick: bool) -> str:
    own = [p.read_text() for p in (DOCS / "building" / "run.py", *sorted((DOCS / "course").glob("[a-z]*.py")))]
    parts = [name, code, quick, os.environ.get(DATA), own, _library(), platform.machine()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _library() -> str:
    """A fingerprint of the library: its code without docstrings and comments, and the versions beneath it."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "src" / "reparam").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
                node.body = node.body[1:]
        digest.update(f"{file.name} {ast.dump(tree)}".encode())
    for package in ("torch", "numpy", "scikit-learn", "matplotlib", "pandas"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()
