"""mkdocs' events: the course from its scripts, the pages of the repository's root, the commands, results under code."""

from __future__ import annotations

import html
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from building.cache import QUICK, ROOT, PageError, Results, results
from building.cells import Cell, of_markdown, of_script, smaller, title
from building.commands import command_pages
from building.run import Output

DOCS = ROOT / "docs"
ROOT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
_done: dict[str, tuple[list[Cell], Results]] = {}


def quick() -> bool:
    """Whether pages are executed small."""
    return os.environ.get(QUICK, "") not in ("", "0")


def on_config(config: Any) -> Any:
    """The pages of the course become the entries of its section, and how-to pages that no section names, of theirs."""
    pages = [f"course/{script.stem}.md" for script in _scripts()]
    for entry in config.nav:
        if isinstance(entry, dict) and "Course" in entry:
            entry["Course"] = [*entry["Course"], *pages]
    named = json.dumps(config.nav)
    further = [page.name for page in sorted(DOCS.glob("*.md")) if f'"{page.name}"' not in named]
    next(entry for entry in config.nav if "How to" in entry)["How to"].extend(further)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Run every page's code, a page on each core, and add what the site makes itself."""
    sources = {file.src_uri: of_markdown(file.content_string) for file in files.documentation_pages()}
    sources |= {f"course/{script.stem}.md": of_script(script.read_text(encoding="utf-8")) for script in _scripts()}
    running = {uri: cells for uri, cells in sources.items() if any(cell.runs for cell in cells)}
    try:
        with ThreadPoolExecutor(_cores()) as pool:
            found = list(
                pool.map(lambda uri: results(uri.removesuffix(".md"), _sized(uri, running[uri]), quick()), running)
            )
    except PageError as error:
        raise PluginError(str(error)) from None
    _done.clear()
    _done.update({uri: (running[uri], made) for uri, made in zip(running, found, strict=True)})
    for uri, (_, made) in _done.items():
        for picture in sorted(made.folder.glob("*.png")):
            place = f"{uri.removesuffix('.md')}-output/{picture.name}"
            files.append(File.generated(config, place, abs_src_path=str(picture)))
    for script in _scripts():
        uri = f"course/{script.stem}.md"
        files.append(File.generated(config, uri, content=f"# {title(sources[uri])}\n"))
    for name in ROOT_PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name.lower(), content=text.replace("](docs/", "](")))
    for uri, text in command_pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with what its code printed and drew under each block."""
    uri = page.file.src_uri
    if uri not in _done:
        return markdown
    cells, made = _done[uri]
    outputs, parts = iter(made.outputs), []
    folder = f"{Path(uri).stem}-output"
    for cell in cells:
        parts.append(_source(cell))
        if cell.runs:
            parts.extend(_shown(output, folder) for output in next(outputs))
    if uri.startswith("course/"):
        parts.append(_colophon(Path(uri).stem, made.seconds))
    return "".join(parts)


def _sized(uri: str, cells: list[Cell]) -> list[Cell]:
    """The cells as they are executed; pages of the course have small sizes of their own."""
    if not quick() or uri.startswith("course/"):
        return cells
    return [replace(cell, source=smaller(cell.source)) for cell in cells]


def _source(cell: Cell) -> str:
    if cell.kind == "text":
        return cell.source
    fence = "````" if "```" in cell.source else "```"
    return f"\n{fence}{cell.language}\n{cell.source.rstrip()}\n{fence}\n"


def _shown(output: Output, folder: str) -> str:
    if output.kind == "figure":
        alt = re.sub(r"[\[\]$]", "", output.alt) or "The picture that the code above draws"
        return f"\n![{alt}]({folder}/{output.value}){{ .figure }}\n"
    if output.kind == "html":
        return f'\n<div class="output">{output.value}</div>\n'
    prose = "" if re.search(r"\S {2,}\S", output.value) else " prose"  # sentences are wrapped, lines of tables are not
    return f'\n<pre class="output{prose}"><code>{html.escape(output.value)}</code></pre>\n'


def _colophon(name: str, seconds: float) -> str:
    small = " Executed at a small size: its numbers are not those of the full page." if quick() else ""
    took = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"\n---\n\nThis page is [a script]({name}.py) and what it printed and drew, in {took} on one core.{small}\n"


def _cores() -> int:
    """The cores that this process may use, which can be fewer than there are: `taskset -c 0 make docs` takes one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _scripts() -> list[Path]:
    return sorted((DOCS / "course").glob("[0-9][0-9]_*.py"))
