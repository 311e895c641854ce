"""The report of a run: one HTML file that holds everything, asks no server for anything, and runs no code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reparam.data import Dataset, Schema
from reparam.errors import MissingExtraError
from reparam.report.page import page
from reparam.report.pictures import pictures as pictures_of
from reparam.report.words import Facts
from reparam.run import atomic_write
from reparam.train import History
from reparam.vae import VAE

__all__ = ["write_report"]


def write_report(
    folder: str | Path,
    vae: VAE,
    data: Dataset,
    *,
    history: History | Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    schema: Schema | None = None,
    evaluation: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> list[Path]:
    """Draw the figures that apply into ``folder/figures`` and write ``folder/report.html``; return the files' paths.

    ``data``, held out of training where that can be, are those of the pictures: up to 10,000 rows, evenly spaced.
    ``history`` is what ``fit`` returned, or its records; ``config`` the tables of the run's ``config.toml``;
    ``evaluation`` the numbers of ``reparam evaluate --json`` with an optional name of their "data".

    The page holds its pictures and style, so that it can be sent as one file. Without matplotlib it is written
    without pictures and says how to get them. The caller's generators are left as they were.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    records = history.records if isinstance(history, History) else list(history)
    schema = Schema.of(data) if schema is None else schema
    try:
        drawn = list(pictures_of(vae, data, records, schema, getattr(history, "sign", 1)))
    except MissingExtraError as error:
        drawn, missing = [], str(error)
    else:
        missing = ""
        (folder / "figures").mkdir(exist_ok=True)
    files = {folder / "figures" / f"{p.name}.png": p.png for p in drawn}
    for path, png in files.items():
        atomic_write(path, png)
    facts = Facts(vae, schema, config, history, records, evaluation or {})
    title = title or f"Report of {folder.resolve().name}"
    atomic_write(folder / "report.html", page(title, facts, {p.name: p for p in drawn}, missing))
    return [*files, folder / "report.html"]
