"""What long work says on standard error: rate, time left, and the bound."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any


def duration(seconds: float) -> str:
    """Seconds in words: 7 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Progress of ``total`` units of work: one line that renews itself on a terminal, rare lines elsewhere.

    ``enabled`` None shows it on terminals only.
    """

    def __init__(self, total: int, unit: str, enabled: bool | None = None, stream: io.TextIOBase | None = None) -> None:
        self.total, self.unit = max(1, total), unit
        self.stream: Any = sys.stderr if stream is None else stream
        self.terminal = self.stream is not None and self.stream.isatty()
        self.enabled = self.stream is not None and (self.terminal if enabled is None else enabled)
        self.started = time.monotonic()
        self.first: int | None = None
        self.shown = 0.0
        self.width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if self.enabled and self.terminal and self.width:
            self.stream.write("\n")

    def line(self, text: str) -> None:
        """A line that stays."""
        if self.enabled:
            self.stream.write(f"\r{text.ljust(self.width)}\n" if self.terminal else f"{text}\n")
            self.stream.flush()

    def update(self, done: int, said: str | Callable[[float], str] = "", force: bool = False) -> None:
        """Show that ``done`` units are done; lines come ten times a second at most, each ten seconds off terminals.

        What is ``said`` beside may be a function of the units per second, which is called when there is a line.
        """
        if not self.enabled:
            return
        now = time.monotonic()
        if self.first is None:
            self.first, self.started = done, now  # a resumed run starts in the middle
            return
        if not force and now - self.shown < (0.1 if self.terminal else 10.0):
            return
        self.shown = now
        rate = (done - self.first) / max(now - self.started, 1e-9)
        left = (self.total - done) / rate if rate > 0 else 0.0
        words = said if isinstance(said, str) else said(rate)
        line = f"{done / self.total:4.0%}  {rate:,.0f} {self.unit}/s, {duration(left)} left  {words}".rstrip()
        if self.terminal:
            self.stream.write("\r" + line.ljust(self.width))
            self.width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()
