"""Short runs as people meet them: whole processes from their start to their end, the import of everything included."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from reparam.bench import peers
from reparam.bench.cases import Case

_DATA = "import torch; torch.manual_seed(0); x = (torch.rand({rows}, {inputs}) < 0.3).float()"
_NET = "nn.Sequential(nn.Linear({0}, {1}), nn.ReLU(), nn.Linear({1}, {2}))"
_BY_HAND = """
import sys; sys.path.insert(0, {folder!r})
from torch import nn
import hand
model = hand.HandWritten({encoder}, {decoder})
hand.{loop}(model, x, {batch})()
"""
_OWN = """
import reparam as rp
vae = rp.recipes.vae(({inputs},), {latent}, likelihood="bernoulli", hidden=({hidden},))
rp.fit(vae, x, epochs=1, batch_size={batch})
"""


def programs(case: Case) -> dict[str, str]:
    """What each process runs: an epoch of the same model on the same rows."""
    inputs, hidden, latent = case.shape[0], case.hidden[0], case.latent
    sizes: dict[str, Any] = {"inputs": inputs, "hidden": hidden, "latent": latent, "batch": case.batch}
    data = _DATA.format(rows=case.rows, **sizes)
    nets = {"encoder": _NET.format(inputs, hidden, 2 * latent), "decoder": _NET.format(latent, hidden, inputs)}
    folder = str(Path(__file__).parent)
    hand = {
        name: data + _BY_HAND.format(folder=folder, loop=loop, **nets, **sizes)
        for name, loop in (("dataloader", "dataloader"), ("fast eager", "fast"))
    }
    return {"reparam": data + _OWN.format(**sizes), **hand, **peers.programs(data, folder, sizes)}


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """The seconds of each process, medians of strictly alternating rounds, of which the first is thrown away."""
    texts = programs(case)
    seconds: dict[str, list[float]] = {name: [] for name in texts}
    for _ in range(rounds + 1):
        for name, text in texts.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", text], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
            seconds[name].append(time.perf_counter() - began)
    kept = {name: times[1:] for name, times in seconds.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(times, kept["reparam"], strict=True))
        for name, times in kept.items()
        if name != "reparam"
    }
    return {
        "case": case.name, "compiled": False, "precision": "float32", "rounds": rounds,
        "seconds": {n: round(statistics.median(t), 3) for n, t in kept.items()},
        "samples_per_second": {n: round(case.rows / statistics.median(t), 1) for n, t in kept.items()},
        "ratio": {n: round(r, 3) for n, r in ratios.items()}, "peak_mb": 0.0,
    }  # fmt: skip
