"""Trials as processes of this machine, which end when this one does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_POLL = 0.1  # seconds


class Processes:
    """Commands that run side by side, each with its messages in a file.

    Each has a pipe from this process as its input: when that closes, however this process ended, it knows that nobody
    waits for it any more.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.running: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}

    def start(self, number: int, words: Sequence[str], log: Path) -> None:
        """Begin ``python`` with these words."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, *words], stdin=subprocess.PIPE, stdout=file, stderr=file, env=self.environment
            )
        self.running[number] = (process, log)

    def wait(self) -> tuple[int, int, str]:
        """The number of one that has ended, its exit status, and the last line that it wrote."""
        while True:
            for number, (process, log) in self.running.items():
                if process.poll() is not None:
                    del self.running[number]
                    _close(process)
                    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                    return number, process.returncode, lines[-1] if lines else ""
            time.sleep(_POLL)

    def stop(self) -> None:
        """Have all end with their state saved, and wait for that."""
        for process, _ in self.running.values():
            process.terminate()
        for process, _ in self.running.values():
            process.wait()
            _close(process)
        self.running.clear()


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe to a process that has ended."""
    if process.stdin is not None:
        process.stdin.close()
