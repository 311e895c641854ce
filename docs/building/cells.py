"""Pages as cells: fenced blocks of Markdown, and percent-format scripts."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Literal

_FENCE = re.compile(r"^(?P<fence>```+|~~~+)(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=fence)[ \t]*$", re.S | re.M)
_NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<reason>[^>]*?)\s*-->\s*$")
_DIVIDER = re.compile(r"^# %%[^\n]*$", re.M)
RUN = ("python", "shell")
_SIZE = re.compile(r"\b(epochs|k|score_k)([= ])(\d+)")
_SMALL = {"epochs": 4, "k": 50, "score_k": 50}


@dataclass(frozen=True)
class Cell:
    """A piece of a page: text as it stands, or code that is run.

    ``why_not`` is the reason of a block that is shown and not run: the words of a comment before it,
    ``<!-- not run: reason -->``. ``language`` is "" for a fence without one.
    """

    kind: Literal["text", "code"]
    source: str
    language: str = ""
    why_not: str | None = None

    @property
    def runs(self) -> bool:
        """Whether this cell is run."""
        return self.kind == "code" and self.language in RUN and self.why_not is None


def of_markdown(text: str) -> list[Cell]:
    """The text between fenced blocks, and the blocks."""
    cells, end = [], 0
    for found in _FENCE.finditer(text):
        before = text[end : found.start()]
        reason = _NOT_RUN.search(before)
        cells.append(Cell("text", before[: reason.start()] if reason else before))
        cells.append(Cell("code", found["code"], found["language"], reason["reason"] if reason else None))
        end = found.end()
    return [*cells, Cell("text", text[end:])]


def of_script(text: str) -> list[Cell]:
    """The cells of a percent-format script: ``# %% [markdown]`` begins text in comments, ``# %%`` code.

    What stands before the first divider is no cell, unless it is code.
    """
    marks = [*_DIVIDER.finditer(text)]
    ends = [m.start() for m in marks[1:]] + [len(text)]
    head = text[: marks[0].start()] if marks else text
    cells = [Cell("code", head, "python")] if _has_code(head) else []
    for mark, end in zip(marks, ends, strict=True):
        body = text[mark.end() : end].strip("\n")
        if "[markdown]" in mark[0]:
            cells.append(Cell("text", re.sub(r"^# ?", "", body, flags=re.M) + "\n"))
        elif body:
            cells.append(Cell("code", body + "\n", "python"))
    return cells


def smaller(code: str) -> str:
    """The code of a how-to page with at most 4 epochs and 50 samples: what shows whether it runs, not how well."""
    return _SIZE.sub(lambda m: f"{m[1]}{m[2]}{min(int(m[3]), _SMALL[m[1]])}", code)


def title(cells: list[Cell]) -> str:
    """The first heading of a page."""
    found = next((m for c in cells if c.kind == "text" and (m := re.search(r"^# (.+)$", c.source, re.M))), None)
    if found is None:
        raise ValueError("a page needs a heading: '# Title'")
    return found[1].strip()


def _has_code(text: str) -> bool:
    """Whether there is more than comments and a docstring, which tells readers of the file and not of the page."""
    body = ast.parse(text).body
    return bool(body[1:] if body and isinstance(body[0], ast.Expr) else body)
