"""Files of arrays, one function for each format, from a path to arrays; nothing in a file is ever unpickled."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reparam.errors import InputError

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_DIMENSIONS = 8
# What the standard library and numpy raise on bytes that are not what they should be; UserWarning: numpy's, about heads
# that it had to repair, where a caller has made warnings errors. RuntimeError: encrypted or unknown compression.
_DAMAGE = (
    ValueError, EOFError, OSError, TypeError, KeyError, IndexError, OverflowError, RuntimeError, MemoryError,
    SyntaxError, UserWarning, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


def open_bytes(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The file's content, unpacked where it starts as gzip does, whatever its name."""
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def load_npy(path: Path) -> np.ndarray:
    """One array, never unpickled.

    Raises:
        InputError: for a file that is truncated, of another format, or holds objects.
    """
    with numpy_errors(path, path.name), open_bytes(path) as file:
        array = np.load(file, allow_pickle=False)
        if isinstance(array, np.ndarray):
            if file.read(1):
                raise InputError(f"{path.name} is longer than its head says: save one array in a file")
            return array
        array.close()
    raise InputError(f"{path.name} is an archive of arrays: name it .npz")


def load_npz(path: Path, choose: Callable[[Sequence[str]], Sequence[str]]) -> dict[str, np.ndarray]:
    """The arrays whose names ``choose`` picks from those of the archive, never unpickled; the others are not read.

    Raises:
        InputError: for a file that is truncated, of another format, or where a chosen array holds objects.
    """
    arrays: dict[str, np.ndarray] = {}
    with numpy_errors(path, path.name), open_bytes(path) as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{path.name} is one array: name it .npy")
        with archive:
            for key in choose(archive.files):
                with numpy_errors(path, f"the array {key!r} of {path.name}"):
                    arrays[key] = np.asarray(archive[key])
    return arrays


@contextmanager
def numpy_errors(path: Path, what: str) -> Iterator[None]:
    """Whatever reading numpy's formats raises, as one InputError."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        if "allow_pickle" in str(error) and "bject arrays" in str(error):
            raise InputError(
                f"{what} holds objects, which are never unpickled: save it with a numeric dtype, such as "
                "x.astype('float32')"
            ) from error
        raise InputError(
            f"{what} cannot be read as numpy data: it is truncated, damaged or of another format; save it again with "
            f"numpy.{'savez' if '.npz' in path.name.lower() else 'save'}"
        ) from error


def looks_like_idx(path: Path) -> bool:
    """Whether the file starts as idx files do: two zero bytes, a type, a number of dimensions."""
    try:
        with open_bytes(path) as file:
            return _idx_head(file.read(4))
    except (OSError, EOFError, zlib.error):
        return False


def idx_dtype(name: str, head: bytes) -> np.dtype[Any]:
    """The dtype of an idx file with these first four bytes, the last of which is the number of its dimensions.

    Raises:
        InputError: for bytes that no idx file starts with.
    """
    if not _idx_head(head):
        raise InputError(
            f"{name} is no idx file: one starts with two zero bytes, a type, and the number of its dimensions"
        )
    return np.dtype(_IDX_TYPES[head[2]])


def check_length(name: str, expected: int, found: int) -> None:
    """Refuse an idx file whose data have another number of bytes than its head says.

    Raises:
        InputError: with both numbers.
    """
    if found != expected:
        state = "truncated" if found < expected else "longer than its head says"
        raise InputError(f"{name} is {state}: {expected} bytes of data expected, {found} found; get the file again")


def _idx_head(head: bytes) -> bool:
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and 1 <= head[3] <= _IDX_DIMENSIONS


def load_idx(path: Path) -> np.ndarray:
    """An idx file, packed by gzip or not; its length must be what its head says.

    Raises:
        InputError: for a file that is truncated, longer than its head says, or of another format.
    """
    try:
        with open_bytes(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} is truncated or damaged ({error}): get the file again") from error
    dtype, dims = idx_dtype(path.name, content[:4]), content[3]
    start = 4 + 4 * dims
    if len(content) < start:
        raise InputError(f"{path.name} is truncated inside its head: get the file again")
    shape = struct.unpack(f">{dims}I", content[4:start])
    check_length(path.name, math.prod(shape) * dtype.itemsize, len(content) - start)
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
