"""Runs the cells of a page, one after the other in one process and one folder, and keeps what they print and draw.

    python -m building.run CELLS.json FOLDER

CELLS.json is a list of [language, code]. FOLDER gets results.json, a list of outputs for each cell, and the pictures.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

DPI = 120
_PROGRESS = re.compile(r"^ *\d+%  .*rows/s|\r")


class Output(NamedTuple):
    """What a cell showed: ``kind`` is "text", "html", or "figure" with the name of its file; ``alt`` tells of it."""

    kind: str
    value: str
    alt: str = ""


class Page:
    """The names that the cells of a page share, and where their pictures go; pictures are dropped without a folder."""

    def __init__(self, name: str, pictures: Path | None = None) -> None:
        self.name, self.pictures, self.count = name, pictures, 0
        self.names: dict[str, Any] = {"__name__": "__main__", "__file__": name}

    def run(self, language: str, code: str, what: str) -> list[Output]:
        """Run one cell: its prints, then its pictures and the value of its last expression, as a notebook shows them.

        Raises:
            whatever the code raises; ChildProcessError for a command that fails.
        """
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            last = self._python(code, what) if language == "python" else self._shell(code)
        figures = list(self._figures(last))
        lines = printed.getvalue().rstrip().splitlines()
        text = "\n".join(line for line in lines if not _PROGRESS.search(line))
        outputs = [Output("text", text)] if text else []
        return [*outputs, *figures, *self._value(last)]

    def _python(self, code: str, what: str) -> Any:
        tree = ast.parse(code, what)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, what, "exec"), self.names)
        if last is None:
            return None
        value = eval(compile(ast.Expression(last.value), what, "eval"), self.names)  # noqa: S307 (a page's own code)
        return None if code.rstrip().endswith(";") else value

    @staticmethod
    def _shell(code: str) -> None:
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            if words[0] == "reparam" and not {"|", ">", "&&", "&"} & set(words):
                from reparam.cli.main import main

                with contextlib.redirect_stderr(sys.stdout):  # what a terminal shows beside the output
                    status = main(words[1:])
            else:
                path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", line], env={**os.environ, "PATH": path}, text=True,
                    capture_output=True, check=False,
                )  # fmt: skip
                print(done.stdout, end="")
                print(done.stderr, end="", file=sys.stderr)
                status = done.returncode
            if status:
                raise ChildProcessError(f"status {status} of: {line}")

    def _figures(self, last: Any) -> Iterator[Output]:
        """The pictures that pyplot holds open, which are closed, and the one that is the last value."""
        if "matplotlib" not in sys.modules:
            return
        from matplotlib.figure import Figure

        found: list[Figure] = []
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            found = [pyplot.figure(number) for number in pyplot.get_fignums()]
            pyplot.close("all")
        shown = last if isinstance(last, list | tuple) else [last]
        found += [part for part in shown if isinstance(part, Figure) and part not in found]
        for figure in found:
            self.count += 1
            file = f"{self.count}.png"
            if self.pictures is not None:
                figure.savefig(self.pictures / file, dpi=DPI, bbox_inches="tight")
            titles = [figure.get_suptitle()]
            titles += [axes.get_title(place) for axes in figure.axes for place in ("left", "center", "right")]
            yield Output("figure", file, "; ".join(dict.fromkeys(t.replace("\n", " ") for t in titles if t))[:200])

    @staticmethod
    def _value(last: Any) -> Iterator[Output]:
        if last is None or any(type(part).__name__ in ("Figure", "Axes") for part in _parts(last)):
            return
        if type(last).__module__.startswith("pandas") and hasattr(last, "to_html"):
            yield Output("html", last.to_html(max_rows=8, max_cols=8, border=0))
        elif " object at 0x" not in (text := repr(last)):
            yield Output("text", text)


def _parts(value: Any) -> list[Any]:
    return [value, *value] if isinstance(value, list | tuple) else [value]


@contextlib.contextmanager
def inside(folder: str | Path) -> Iterator[None]:
    """The current folder, for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(cells: list[tuple[str, str]], name: str, pictures: Path, each: Callable[[list[Output]], None]) -> None:
    """Run all cells in a folder of their own, which is gone afterwards."""
    page = Page(name, pictures)
    with tempfile.TemporaryDirectory() as folder, inside(folder):
        for i, (language, code) in enumerate(cells, 1):
            each(page.run(language, code, f"{name}, cell {i}"))


def main() -> None:
    """Run what the files of the command line name."""
    source, folder = map(Path, sys.argv[1:])
    spec = json.loads(source.read_text(encoding="utf-8"))
    results: list[list[Output]] = []
    run([(language, code) for language, code in spec["cells"]], spec["name"], folder, results.append)
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
