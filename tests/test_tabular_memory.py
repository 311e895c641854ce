"""Two million rows: what a call needs beside the table, measured as the most memory that the process ever held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import gc, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, pandas as pd, torch
torch.set_num_threads(1)
import reparam as rp

def table(n):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(5)})
    frame["kind"] = pd.array(rng.choice(["a", "b", "c"], n), dtype="str")
    frame["town"] = pd.Categorical(rng.choice(["u", "v", "w", "q"], n))
    frame["count"] = rng.poisson(3, n)
    frame["yes"] = rng.random(n) < 0.5
    frame["day"] = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 3000, n), unit="D")
    for name in ("x0", "x1", "town", "kind"):
        frame.loc[rng.random(n) < 0.2, name] = None
    return frame

def status(name):
    line = next(t for t in open("/proc/self/status") if t.startswith(name))
    return int(line.split()[1]) * 1024

quick = {"latent_dim": 2, "hidden": (8,), "epochs": 1, "train_k": 1, "k": 2, "batch_size": 8192}
model = rp.TabularVAE(**quick).fit(small := table(3000))
model.impute(small), model.score_samples(small)
del small
gc.collect()
before = status("VmRSS")
frame = table(2_000_000)
size = frame.memory_usage(deep=True).sum()
gc.collect()
open("/proc/self/clear_refs", "w").write("5")
call = {"fit": rp.TabularVAE(**quick).fit, "score": model.score_samples, "impute": model.impute,
        "transform": model.transform}[sys.argv[2]]
result = call(frame)
print((status("VmHWM") - before) / size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how much memory was held")
@pytest.mark.parametrize("call", ["fit", "score", "impute", "transform"])
def test_two_million_rows_need_less_than_three_times_their_memory(call):
    """The table itself, and all that the call makes: 3 times what pandas says that the table takes."""
    src = str(Path(__file__).parents[1] / "src")
    done = subprocess.run([sys.executable, "-c", _PROGRAM, src, call], capture_output=True, text=True, check=True)
    print(call, done.stdout.strip())
    assert float(done.stdout) < 3
