"""What long work says: rate and time left, often on a terminal and rarely elsewhere."""

from __future__ import annotations

import io

import pytest

from reparam.train import progress
from reparam.train.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_rate_and_time_left_are_those_of_the_clock(clock):
    stream = Terminal()
    with Progress(1000, "rows", stream=stream) as bar:
        bar.update(100, "resumed here")  # what was done before does not count
        clock[0] += 10
        bar.update(300, "epoch 1/4")
    assert "30%  20 rows/s, 35 s left  epoch 1/4" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_a_line_renews_itself_on_terminals_and_is_rare_elsewhere(clock):
    for stream, lines in ((Terminal(), 10), (io.StringIO(), 1)):
        with Progress(1000, "rows", enabled=True, stream=stream) as bar:
            for i in range(101):
                bar.update(i)
                clock[0] += 0.1001
        shown = stream.getvalue()
        assert shown.count("\r") >= lines if stream.isatty() else shown.count("\n") == lines


def test_nothing_is_said_off_terminals_unless_asked(clock):
    stream = io.StringIO()
    with Progress(10, "rows", stream=stream) as bar:
        for i in range(10):
            clock[0] += 60
            bar.update(i)
    assert stream.getvalue() == ""
