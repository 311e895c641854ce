"""How the cost of training grows: with rows, dimensions, samples of z, the batch, and processes side by side.

``main`` of CASE, as JSON, and THREADS trains and prints what an epoch cost.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch

from reparam.bench.cases import Case, of_json
from reparam.bench.measure import peak_mb
from reparam.data import Dataset
from reparam.train import fit

_EPOCHS = 3
_PROGRAM = "import sys; from reparam.bench.growth import main; main(*sys.argv[1:])"
_BASE = Case("growth", (784,), 20, hidden=(400,), rows=6400)
_AXES: dict[str, tuple[int, ...]] = {
    "rows": (3200, 12800, 51200),
    "dimensions": (196, 784, 3136),
    "k": (1, 5, 20, 50),
    "batch": (32, 128, 512, 2048),
    "processes": (1, 2, 4),
}


def points(quick: bool) -> Iterator[tuple[str, int, Case, int]]:
    """(axis, its value, the case, how many processes): one changes, and all else stays."""
    for axis, values in _AXES.items():
        for value in values[:1] if quick else values:
            yield axis, value, _case(axis, value), value if axis == "processes" else 1


def _case(axis: str, value: int) -> Case:
    if axis == "dimensions":
        return replace(_BASE, shape=(value,))
    if axis == "k":  # fewer rows, for rounds of like length
        return replace(_BASE, k=value, rows=_BASE.rows // (1 if value < 10 else 4))
    changed: dict[str, Any] = {} if axis == "processes" else {axis: value}
    return replace(_BASE, **changed)


def measure(case: Case, processes: int, threads: int | None) -> dict[str, Any]:
    """Of so many processes at once, each on its own data: rows a second of all together, and of one the seconds of an
    epoch and the most memory. Processes side by side have one thread each.
    """
    count = threads or (1 if processes > 1 else torch.get_num_threads())
    words = [
        sys.executable,
        "-c",
        "import sys; from reparam.bench.growth import main; main(*sys.argv[1:])",
        json.dumps(asdict(case)),
        str(count),
    ]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    found = [json.loads(p.communicate()[0]) for p in running]
    if any(p.returncode for p in running):
        raise RuntimeError("a process of the bench failed")
    seconds = statistics.median(f["seconds"] for f in found)
    return {
        "samples_per_second": round(sum(case.rows / f["seconds"] for f in found), 1),
        "seconds_per_epoch": round(seconds, 4), "peak_mb": max(f["peak_mb"] for f in found), "threads": count,
    }  # fmt: skip


def main(case: str, threads: str) -> None:
    """Train, and print the median seconds of an epoch without the first."""
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    chosen = of_json(case)
    history = fit(
        chosen.vae(), Dataset(chosen.data()), objective=chosen.objective(), epochs=_EPOCHS, batch_size=chosen.batch,
        compile=False, progress=False,
    )  # fmt: skip
    ends = history["seconds"]
    seconds = statistics.median(b - a for a, b in itertools.pairwise(ends))
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))
