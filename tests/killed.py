"""A program that trains in a child process, kills it at random moments, and goes on until a child comes to its end.

python killed.py FOLDER KILLS SEED eager|compiled prints how often a child was killed, how often within a write,
which is made as slow as that of a busy disk, and at how many different epochs.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import reparam as rp
from reparam.train.step import Step

ROWS, EPOCHS, MANY = 203, 6, 60


def data() -> rp.Dataset:
    x = torch.randint(0, 256, (ROWS, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return rp.Dataset(x, binarize="dynamic")


def train(folder: Path | None, resume: bool = False, epochs: int = EPOCHS, compiled: bool | str = "auto") -> rp.VAE:
    torch.manual_seed(0)
    vae = rp.recipes.vae(6, 2, hidden=(16,))
    rp.fit(
        vae, data(), epochs=epochs, batch_size=16, seed=5, validation=0.1, out=folder, resume=resume,
        checkpoint_seconds=0.0, compile=compiled,
    )  # fmt: skip
    return vae


def _tell_of_the_first_step(pipe: int) -> None:
    """Write to the pipe when a step was taken: seconds after the child began, most of which it compiled."""
    plain = Step.__call__

    def step(self, *given):
        found = plain(self, *given)
        os.write(pipe, b".")
        Step.__call__ = plain
        return found

    Step.__call__ = step


def main(folder: Path, kills: int, seed: int, form: str) -> None:
    moments, killed, torn, places = random.Random(seed), 0, 0, set()
    # everything is imported, and what is compiled lies in a cache, before the first child
    train(None, epochs=1, compiled=form == "compiled")
    while True:
        begun, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.fsync = lambda handle: time.sleep(0.001)  # type: ignore[assignment]
            if form == "compiled":
                _tell_of_the_first_step(tell)
            train(folder, resume=folder.exists(), epochs=MANY, compiled=form == "compiled")
            os._exit(0)
        os.close(tell)
        if killed < kills:
            if form == "compiled" and moments.random() < 0.8:  # the others fall into its compilation
                os.read(begun, 1)
                time.sleep(moments.uniform(0.0, 0.08))
            else:
                time.sleep(moments.uniform(0.01, 0.5))
            os.kill(child, signal.SIGKILL)
        os.close(begun)
        ended_well = os.waitpid(child, 0)[1] == 0
        if ended_well:
            break
        killed += 1
        torn += any(folder.rglob(".*.tmp"))
        history = folder / "history.jsonl"
        places.add(history.read_text().count("\n") if history.exists() else 0)
    print(killed, torn, len(places))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
