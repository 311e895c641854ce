"""The errors that people meet: each is a sentence that names the cause and the remedy."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """What the caller gave cannot be used: data, an option, a file. The command exits with status 2."""


class InputTypeError(InputError, TypeError):
    """What the caller gave is of a kind that cannot be used, such as an array of objects."""


class RunFolderError(InputError):
    """A run folder that is incomplete, altered, foreign, or of a newer version."""


class SaveError(OSError):
    """A run can no longer be written to its folder, full or gone. The command exits with status 1."""


class NonFiniteError(FloatingPointError):
    """A number of the training step stopped being finite."""


class MissingExtraError(ImportError):
    """A part of reparam needs a package that is not installed."""


def require(module: str, extra: str, purpose: str) -> Any:
    """Import an optional dependency, or say which extra brings it.

    Raises:
        MissingExtraError: if the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(f"{purpose} needs the package {package!r}: pip install 'reparam[{extra}]'") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause for error messages: the nearest known name if one is near, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
