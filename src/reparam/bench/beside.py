"""What the library is compared with, in a process of its own: threads, denormals and memory as torch sets them up.

``main`` of CASE, as JSON, and THREADS reads names of loops from its input, a line each; for
each it does a round and prints the seconds that it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from reparam.bench import hand, peers
from reparam.bench.cases import Case, of_json

Round = Callable[[], object]
ROW_BY_ROW = "row by row"
_PROGRAM = "import sys; from reparam.bench.beside import main; main(*sys.argv[1:])"


def timed(run: Round) -> float:
    """The seconds of a round."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def others(case: Case) -> dict[str, Round]:
    """A round of each loop that there is for this case."""
    torch.manual_seed(0)
    x = case.data()
    if case.evaluation:
        model = case.hand_written()
        return {ROW_BY_ROW: lambda: model.importance(x[: case.few], case.k)}
    return {
        "dataloader": hand.dataloader(case.hand_written(), x, case.batch),
        "fast eager": hand.fast(case.hand_written(), x, case.batch),
        **peers.installed(case, x),
    }


class Beside:
    """That process, for one case; it does nothing between two rounds."""

    def __init__(self, case: Case, threads: int) -> None:
        words = [
            sys.executable,
            "-c",
            "import sys; from reparam.bench.beside import main; main(*sys.argv[1:])",
            json.dumps(asdict(case)),
            str(threads),
        ]
        plain = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=plain)
        self.names = self._read().split(",")

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        self.process.communicate()

    def seconds(self, name: str) -> float:
        """Those of a round of this loop."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the process of other loops ended with status {self.process.wait()}")
        return line


def main(case: str, threads: str) -> None:
    """Serve rounds until the input ends."""
    torch.set_num_threads(int(threads))
    rounds = others(of_json(case))
    print(",".join(rounds), flush=True)
    for line in sys.stdin:
        print(timed(rounds[line.strip()]), flush=True)
