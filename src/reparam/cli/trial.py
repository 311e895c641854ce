"""One training of a sweep, in a process of its own: python -m reparam.cli.trial FILE."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from reparam.cli.common import opened, say
from reparam.cli.evaluate import is_discrete, likelihood_of
from reparam.cli.known import divided, trained_on
from reparam.cli.main import guarded
from reparam.cli.options import ResumeOptions, TrainOptions
from reparam.cli.train import resume, train
from reparam.errors import InputError
from reparam.run import CONFIG, atomic_write

_ROWS = 2000  # held-out rows that are weighed, so that a comparison costs seconds


def trial(file: Path) -> int:
    """Train by the options in the file, or go on; write the held-out log p(x) beside it."""
    asked = json.loads(file.read_text(encoding="utf-8"))
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    folder = Path(asked["options"]["out"])
    if (folder / CONFIG).exists():
        status = resume(ResumeOptions(run=str(folder)))
    else:
        status = train(TrainOptions(**asked["options"]))
    if status:
        return status
    found, rows = measured(folder, asked["samples"], asked["options"]["seed"])
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    atomic_write(file.with_suffix(".npy"), buffer.getvalue())
    atomic_write(file.with_suffix(".result.json"), json.dumps(found))
    return 0


def measured(folder: Path, samples: int, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """The held-out log-likelihood of a run, and log p(x) of each row, in nats and the data's own units.

    Raises:
        InputError: if the run held out too few rows.
    """
    run, schema = opened(str(folder))
    made = dict(run.config["options"])
    known = trained_on(made, schema)
    held = None if known is None else divided(made, schema, known)[1]
    if held is None or len(held) < 2:
        raise InputError("a sweep compares models on held-out rows, and there are fewer than 2: give --validation")
    held = held.near(slice(_ROWS))
    estimate = likelihood_of(run.vae, held, samples, "auto", seed)
    rows = (estimate.per_datum + schema.row_units(held)).double().numpy()
    if not np.isfinite(rows).all():
        raise InputError(f"log p(x) is not finite on {int((~np.isfinite(rows)).sum())} of {len(rows)} held-out rows")
    error = float(rows.std(ddof=1)) / len(rows) ** 0.5
    kind = "mixed" if schema.table is not None else "discrete" if is_discrete(run.vae, held) else "continuous"
    return {"value": float(rows.mean()), "stderr": error, "rows": len(rows), "kind": kind}, rows


def _end_with_the_sweep() -> None:
    """The sweep holds the other end of the input; when it is gone, training ends as by a polite signal."""
    while sys.stdin is not None and os.read(sys.stdin.fileno(), 1024):
        pass
    say("the sweep that began this training has ended")
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: trial(Path(sys.argv[1]))))
