"""What an experiment leaves: a figure beside the published one, and how it came about."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

import reparam as rp


@dataclass(frozen=True)
class Figure:
    """One number: what it measures, the published value and its source, ours and its standard error."""

    what: str
    published: str
    ours: float
    stderr: float | None
    unit: str

    @property
    def value(self) -> str:
        """Ours, with its error where there is one."""
        digits = 0 if self.unit == "units" else 3 if self.unit == "bits per dimension" else 2
        error = "" if self.stderr is None else f" ± {self.stderr:.{digits}f}"
        return f"{self.ours:.{digits}f}{error}"


@dataclass(frozen=True)
class Record:
    """The figures of one experiment, with everything that is needed to repeat it."""

    name: str
    title: str
    source: str
    protocol: str
    differs: str
    seed: int
    seconds: float
    figures: list[Figure]
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))
    versions: str = field(default_factory=lambda: f"reparam {rp.__version__}, torch {torch.__version__}")
    machine: str = field(default_factory=lambda: f"{platform.machine()}, {torch.get_num_threads()} threads")

    def save(self, folder: Path) -> None:
        """One JSON file for each experiment and seed."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}-seed{self.seed}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Record:
        """The record in a file."""
        values = json.loads(path.read_text())
        return Record(**{**values, "figures": [Figure(**f) for f in values["figures"]]})


_HEAD = """# Reproductions

Published numbers, repeated at full size by one command:

<!-- not run: hours, on data outside the repository -->
```shell
make reproduce DATA=folder            # all of them; a name in ONLY= runs one
```

The folder holds `frey.npz` (key `x`, 1965 faces of 28 x 20 pixels) and `mnist/` with the four idx files. Every table names
where ours departs from the published protocol. ± is one standard error over test data; times are of a machine shared with
other work. This page is written by the command from the files in `reproduce/results`.
"""


def page(records: Iterable[Record]) -> str:
    """docs/reproductions.md."""
    parts = [_HEAD]
    for r in records:
        minutes = f"{r.seconds / 60:.0f} min" if r.seconds >= 120 else f"{r.seconds:.0f} s"
        parts.append(
            f"\n## {r.title}\n\n{r.source}\n\n{r.protocol}\n\n{r.differs}\n\n"
            "| what | published | reparam | unit |\n|---|---|---|---|\n"
            + "".join(f"| {f.what} | {f.published} | {f.value} | {f.unit} |\n" for f in r.figures)
            + f"\n`make reproduce DATA=folder ONLY={r.name} SEED={r.seed}`: {minutes}, {r.date}, {r.versions}, {r.machine}.\n"
        )
    return "".join(parts)
