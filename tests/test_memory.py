"""Memory of an evaluation: bounded in the number of samples and of rows."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import reparam as rp
from models import LinearGaussian

_PROGRAM = """
import resource, torch
torch.set_num_threads(1)
import reparam as rp
torch.manual_seed(0)
vae = rp.recipes.vae((28, 28), 20, hidden=(64,))
x = torch.randint(0, 2, (2, 28, 28)).float()
assert rp.evaluate.log_likelihood(vae, x, 100_000, {method!r}).k == 100_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize("method", ["importance", "mixture"])
def test_a_hundred_thousand_samples_of_a_row_fit_in_two_gigabytes(method):
    """In a process of its own, the library included."""
    paths = [str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(method=method)], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert int(done.stdout) < 1000  # megabytes


LONG = ("mixture", "ais", "harmonic")


@pytest.mark.parametrize(
    "method", ["importance", "prior", "exact", *(pytest.param(m, marks=pytest.mark.thorough) for m in LONG)]
)
def test_nothing_is_kept_for_each_batch(method):
    """Small tensors kept among large ones that come and go let a process grow by gigabytes over 10,000 rows: glibc
    gives back no memory below the last that is in use. So their number is the same after 3 batches and after 9."""
    model = LinearGaussian.random(2, 3, seed=0)
    kept = {}

    def progress(done: int, rows: int) -> None:
        gc.collect()
        kept[done] = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    options = {"ais": {"steps": 2, "leapfrog": 1}, "harmonic": {"leapfrog": 1, "thin": 1}}.get(method, {})
    chunk = None if method in options else 64
    x = model.data(20 if method in ("importance", "prior", "mixture") else 480)
    rp.evaluate.log_likelihood(model.exact(), x, 32, method, chunk=chunk, progress=progress, **options)
    counts = list(kept.values())
    assert len(counts) >= 9 or method == "exact"
    assert counts[-2] <= counts[min(2, len(counts) - 2)] + 1
