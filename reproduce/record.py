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
class Curve:
    """One line of a picture: the panel that it is in, its name, and its points."""

    panel: str
    name: str
    x: list[int]
    y: list[float]


@dataclass(frozen=True)
class Record:
    """The figures of one experiment, with everything that is needed to repeat it.

    ``picture`` tells what is to be seen where there are ``curves``; ``axes`` are the names of x and y.
    """

    name: str
    title: str
    source: str
    protocol: str
    differs: str
    seed: int
    seconds: float
    figures: list[Figure]
    picture: str = ""
    curves: list[Curve] = field(default_factory=list)
    axes: list[str] = field(default_factory=list)
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))
    versions: str = field(default_factory=lambda: f"reparam {rp.__version__}, torch {torch.__version__}")
    machine: str = field(default_factory=lambda: f"{platform.machine()}, {torch.get_num_threads()} threads")

    def save(self, folder: Path) -> None:
        """One JSON file for each experiment and seed."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in asdict(self).items() if value or key not in ("picture", "curves", "axes")}
        (folder / f"{self.name}-seed{self.seed}.json").write_text(json.dumps(kept, indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Record:
        """The record in a file."""
        values = json.loads(path.read_text())
        curves = [Curve(**c) for c in values.get("curves", [])]
        return Record(**{**values, "figures": [Figure(**f) for f in values["figures"]], "curves": curves})

    def draw(self, folder: Path) -> None:
        """The curves as a picture, where there are any: a panel for each group, training and test in one colour.

        The first quarter of a curve's points may lie below a panel's edge: what comes after is what is compared.
        """
        if not self.curves:
            return
        import matplotlib as mpl
        from matplotlib.figure import Figure as Sheet
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        from reparam.plots import PALETTE, STYLE

        panels = list(dict.fromkeys(c.panel for c in self.curves))
        colours = dict(zip(dict.fromkeys(c.name.split(",")[0] for c in self.curves), PALETTE, strict=False))
        with mpl.rc_context(STYLE | {"text.parse_math": True}):  # the ticks of logarithmic axes
            sheet = Sheet(figsize=(max(7.6, 2.3 * len(panels)), 3.4), layout="constrained")
            for axis, panel in zip(sheet.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
                shown = [c for c in self.curves if c.panel == panel]
                for c in shown:
                    name, part = c.name.split(", ")
                    line = "-" if part == "train" else "--"
                    axis.plot(c.x, c.y, line, marker="o", ms=2.5, lw=1.2, color=colours[name], label=c.name)
                later = [y for c in shown for y in c.y[len(c.y) // 4 :]]
                low, high = min(later), max(later)
                axis.set(title=panel, xlabel=self.axes[0], xscale="log")
                axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
                axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
                axis.xaxis.set_minor_formatter(NullFormatter())
            sheet.axes[0].set_ylabel(self.axes[1])
            handles, labels = sheet.axes[0].get_legend_handles_labels()
            sheet.legend(handles, labels, loc="outside lower center", ncols=len(colours) * 2 if len(colours) < 3 else 3)
            folder.mkdir(parents=True, exist_ok=True)
            sheet.savefig(folder / f"{self.name}-seed{self.seed}.png", dpi=120)


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
            + (f"\n![{r.picture}](assets/reproductions/{r.name}-seed{r.seed}.png){{ .figure }}\n" if r.picture else "")
            + f"\n`make reproduce DATA=folder ONLY={r.name} SEED={r.seed}`: {minutes}, {r.date}, {r.versions}, {r.machine}.\n"
        )
    return "".join(parts)
