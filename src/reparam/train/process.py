"""What training borrows from the process, and gives back: signals, denormals, threads; and memory, for the command."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import nn

# Ctrl-C; a polite kill; a terminal that was closed, or lost with its connection
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_SMALL_STEP = 1 << 24  # multiplications and additions of a step, forward, below which one thread is about as fast
_HANGUPS = [s for s in _SIGNALS if s.name == "SIGHUP"]


class StopRequest:
    """Set by the first Ctrl-C, SIGTERM or SIGHUP; training then ends after the step at hand."""

    def __init__(self) -> None:
        self._asked, self.since = False, 0.0

    def ask(self) -> None:
        """Ask training to end."""
        self._asked, self.since = True, time.monotonic()

    def asked(self) -> bool:
        """Whether training should end."""
        return self._asked


@contextmanager
def stop_request(apart: float = 0.0) -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP inside the block into a request; a second one, ``apart`` seconds later
    or more, interrupts at once.

    Outside the main thread, where signals cannot be caught, nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if not request.asked():
            request.ask()
        elif time.monotonic() - request.since >= apart:
            raise KeyboardInterrupt

    # a run under nohup ignores that its terminal goes, and must go on doing so
    kept = {s for s in _HANGUPS if signal.getsignal(s) is signal.SIG_IGN}
    before = {s: signal.signal(s, ask) for s in _SIGNALS if s not in kept}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers under 1e-38 count as zero inside the block.

    Adam's first moment of inputs that are always zero decays into them, and arithmetic with them takes several times
    as long: without this, training slows down by a third after some 700 steps.
    """
    tiny = torch.tensor(1e-20)
    were_flushed = float(tiny * tiny) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(were_flushed)


def threads_for(model: nn.Module, batch_size: int) -> int:
    """One thread for a step so small that threads would mostly wait for each other, else all: never by timing, so that
    the same command gives the same bits.
    """
    work = batch_size * sum(p.numel() for p in model.parameters())
    return 1 if work < _SMALL_STEP else torch.get_num_threads()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch inside the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Ask the C library to keep freed pages for the next step instead of returning them to the system.

    A training step frees and allocates the same few megabytes again and again; by default each round costs hundreds of
    page faults. It changes the whole process, so the command does it and the library does not.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of <malloc.h>
    mallopt(trim_threshold, 1 << 30)
    mallopt(mmap_threshold, 32 << 20)  # the largest that glibc takes
