"""The entry point: finds the command, runs it, and turns errors into one line and an exit status.

0 done; 2 wrong use or bad input; 1 failure while running; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from reparam.cli.options import COMMANDS
from reparam.errors import InputError, MissingExtraError, nearest
from reparam.version import __version__


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = sys.argv[1:] if words is None else list(words)
    return guarded(lambda: _run(words))


def guarded(work: Callable[[], int]) -> int:
    """The exit status of some work, whose errors become one line."""
    debug = bool(os.environ.get("REPARAM_DEBUG"))
    try:
        return work()
    except (InputError, MissingExtraError) as error:
        if debug:
            raise
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of the output has seen enough; nothing more may be written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:
        return int(stop.code or 0)
    except Exception as error:
        if debug:
            raise
        said = str(error) or type(error).__name__
        hint = "" if isinstance(error, FloatingPointError | OSError) else " (REPARAM_DEBUG=1 shows where)"
        return _fail(f"{said}{hint}", 1)


def _run(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"reparam {__version__}")
        return 0
    command = words[0]
    if command not in COMMANDS:
        raise InputError(f"unknown command {command!r}: {nearest(command, COMMANDS)}")
    from reparam.cli.parser import parse

    options_class, module = COMMANDS[command]
    warnings.showwarning = _show_warning
    options = parse(command, options_class, words[1:])
    _let_threads_sleep()
    status: int = getattr(importlib.import_module(module), command)(options)
    sys.stdout.flush()
    return status


def _let_threads_sleep() -> None:
    """Have OpenMP's threads wait for each other by spinning briefly, then sleeping; read when torch is imported.

    By default they spin for milliseconds, and where another process takes most of a core, an eager step of a small
    model falls to a quarter of its speed. With this it keeps two fifths, and loses 6% on an idle machine; with a tenth
    of this number it would lose a third there, since the parts of a small step are shorter than it takes to wake up.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _fail(message: str, status: int) -> int:
    if sys.stderr is not None:
        print(f"reparam: {' '.join(message.split())}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, *rest: Any, **more: Any) -> None:
    if sys.stderr is not None:
        print(f"reparam: warning: {message}", file=sys.stderr)


def _help() -> str:
    lines = [f"reparam {__version__}: variational autoencoders for your own data", "", "usage: reparam COMMAND ...", ""]
    for name, (options, _) in COMMANDS.items():
        lines.append(f"  {name:<12} {(options.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "reparam COMMAND --help lists the options of a command."])


if __name__ == "__main__":
    raise SystemExit(main())
