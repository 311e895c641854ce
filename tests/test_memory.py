"""Memory of an evaluation: bounded in the number of samples and of rows. Each runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import resource, torch
torch.set_num_threads(1)
import reparam as rp
torch.manual_seed(0)
vae = rp.recipes.vae((28, 28), 8, hidden=(8,))
x = torch.randint(0, 2, ({rows}, 28, 28)).float()
most = []
progress = lambda done, of: most.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(rp.evaluate.{call})
print(most[len(most) // 8], most[-1])
"""


def megabytes(rows: int, call: str) -> tuple[int, int]:
    """The most memory that the process held after an eighth of the work, and after all of it."""
    paths = [str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(rows=rows, call=call)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    early, late = done.stdout.split()[-2:]
    return int(early), int(late)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")


def test_a_hundred_thousand_samples_of_a_row_fit_in_two_gigabytes():
    _, late = megabytes(2, "log_likelihood(vae, x, 100_000, progress=progress)")
    assert late < 1000


def test_memory_does_not_grow_with_the_rows():
    """Small results kept among large temporaries once made this grow by hundreds of megabytes."""
    early, late = megabytes(800, "log_likelihood(vae, x, 1000, chunk=1000, progress=progress)")
    assert late - early < 50
