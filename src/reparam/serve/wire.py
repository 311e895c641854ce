"""What goes over the wire: JSON that is standard, and arrays as the bytes of an .npy file."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from reparam.errors import InputError

JSON, NPY = "application/json", "application/x-npy"


class WrongFormError(InputError):
    """A body or an option that is not of the form that the description of the service states."""


def read_json(body: bytes) -> dict[str, Any]:
    """The object of a body; an empty body is an empty object.

    Raises:
        WrongFormError: for what is no JSON, or no object; for NaN and Infinity, which JSON has not.
    """
    if not body.strip():
        return {}
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except WrongFormError:
        raise
    except (ValueError, RecursionError) as error:
        raise WrongFormError(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise WrongFormError('the body is a JSON object, such as {"x": [...]}')
    return found


def _no_constant(name: str) -> Any:
    raise WrongFormError(f"the body holds {name}, which JSON has not: a missing cell is null")


def write_json(table: Any) -> bytes:
    """The table as JSON, with arrays as nested lists; float32 in as few digits as tell it from others, NaN as null."""
    return json.dumps(_plain(table), separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype == np.float32:  # by its shortest text, which float64 would not have
            value = value.astype("U").astype(np.float64)
        return value.tolist() if value.dtype.kind != "f" or np.isfinite(value).all() else _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def numbers(value: Any, shape: Sequence[int], name: str) -> np.ndarray:
    """Nested lists of numbers as an array (N, *shape), of whole numbers where all are.

    Raises:
        WrongFormError: for another shape, or anything but finite numbers.
    """
    wrong = f"{name} is a list of rows, each of shape {tuple(shape)}: nested lists of numbers"
    leaves, rows = value, 0
    for depth, size in enumerate((None, *shape)):
        if depth:
            if any(type(part) is not list or len(part) != size for part in leaves):
                raise WrongFormError(wrong)
            leaves = list(chain.from_iterable(leaves))
        elif type(leaves) is not list or not leaves:
            raise WrongFormError(wrong)
        else:
            rows = len(leaves)
    kinds = set(map(type, leaves))
    if not kinds <= {int, float}:
        raise WrongFormError(wrong)
    try:
        flat = np.array(leaves, dtype=np.float64)
    except OverflowError as error:
        raise WrongFormError(f"{name} holds a number that is too large") from error
    return _finite(flat, name).reshape(rows, *shape)


def _finite(flat: np.ndarray, name: str) -> np.ndarray:
    """The numbers, as integers where all are whole.

    Raises:
        WrongFormError: for one that is not finite.
    """
    if not np.isfinite(flat).all():
        raise WrongFormError(f"{name} holds a number that is not finite")
    whole = bool((flat == np.rint(flat)).all()) and float(np.abs(flat).max(initial=0)) < 2**53
    return flat.astype(np.int64) if whole else flat


def read_npy(body: bytes, shape: Sequence[int], name: str) -> np.ndarray:
    """The array of an .npy file, (N, *shape), of numbers; nothing is unpickled, and no more is held than came.

    Raises:
        WrongFormError: for other bytes, another shape or dtype.
    """
    stream = io.BytesIO(body)
    head: dict[tuple[int, int], Callable[..., Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
    }  # fmt: skip
    try:
        found, fortran, dtype = head[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # whatever numpy's parser of literals raises for bytes of a stranger
        raise WrongFormError("the body is no .npy file of version 1 or 2: write it with numpy.save") from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise WrongFormError(f"the array holds {dtype}: give integers, or floats of at most 8 bytes")
    if not found or not found[0] or tuple(found[1:]) != tuple(shape):
        raise WrongFormError(f"{name} has shape {found}: give (rows, {', '.join(map(str, shape))})")
    data = body[stream.tell() :]
    if len(data) != dtype.itemsize * math.prod(found):
        raise WrongFormError(f"the .npy file is cut short: {len(data)} bytes for an array {found} of {dtype}")
    array = np.frombuffer(data, dtype).reshape(found, order="F" if fortran else "C")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WrongFormError(f"{name} holds a number that is not finite")
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="))


def write_npy(array: np.ndarray) -> bytes:
    """The bytes of an .npy file."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()
