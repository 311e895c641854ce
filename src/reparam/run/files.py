"""Files that are whole or absent, and tensors that are as they were written or refused."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from reparam.errors import RunFolderError


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash at any moment, finds the old one or the new one whole.

    A symbolic link stays, and what it points to is replaced; permissions follow the umask.
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Tensors(NamedTuple):
    """The content of a file of tensors: the tensors, and a table of plain data beside them."""

    tensors: dict[str, Tensor]
    facts: dict[str, object]


_BLANK = "0" * 64


def _mark(digest: str) -> bytes:
    """How the checksum stands in the head, before the facts and under one key, as the order of several is not fixed.

    No other text of the head reads so: inside a string, quotes are escaped.
    """
    return f'"reparam":"{digest}'.encode()


def _digest(content: bytes) -> str:
    """The checksum of a whole file in which the checksum itself is blank."""
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def pack(tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> bytes:
    """The bytes of a safetensors file, with the facts and a checksum of the whole in its head."""
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    content = pack_tensors(own, {"reparam": _BLANK + json.dumps(facts, sort_keys=True)})
    return content.replace(_mark(_BLANK), _mark(_digest(content)), 1)


def unpack(content: bytes, what: object) -> Tensors:
    """What ``pack`` packed; ``what`` it is, for the message.

    Raises:
        RunFolderError: for bytes that are cut short, altered, or of another kind.
    """
    foreign = f"{what} is cut short, damaged, or was not written by reparam: restore it, or train again"
    try:
        size = int.from_bytes(content[:8], "little")
        entry = str(json.loads(content[8 : 8 + size])["__metadata__"]["reparam"])
        digest, facts = entry[: len(_BLANK)], entry[len(_BLANK) :]
        found = _digest(content.replace(_mark(digest), _mark(_BLANK), 1))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(foreign) from error
    if found != digest:
        raise RunFolderError(
            f"{what} was cut short or altered after it was written, its checksum does not match: restore it, or train "
            "again"
        )
    try:
        return Tensors(parse_tensors(content), dict(json.loads(facts)))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:  # a checksum proves no good intentions
        raise RunFolderError(foreign) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """A safetensors file, written atomically, with the facts and a checksum of the whole file in its head."""
    atomic_write(path, pack(tensors, facts))


def read_tensors(path: Path) -> Tensors:
    """What ``write_tensors`` wrote.

    Raises:
        RunFolderError: for a file that is missing, cut short, altered, or of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error
    return unpack(content, path)
