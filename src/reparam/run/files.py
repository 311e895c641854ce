"""Files that are whole or absent, and tensors that are as they were written or refused."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor

from reparam.errors import RunFolderError


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash at any moment, finds the old one or the new one whole."""
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class Tensors(NamedTuple):
    """The content of a file of tensors: the tensors, and a table of plain data beside them."""

    tensors: dict[str, Tensor]
    facts: dict[str, object]


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.blake2b(facts.encode(), digest_size=32)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """A safetensors file, written atomically, with a checksum of tensors and facts in its head."""
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(facts, sort_keys=True)
    atomic_write(path, pack_tensors(own, {"facts": text, "digest": _digest(own, text)}))


def read_tensors(path: Path) -> Tensors:
    """What ``write_tensors`` wrote.

    Raises:
        RunFolderError: for a file that is missing, cut short, altered, or of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error
    try:
        tensors = parse_tensors(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        text, digest = metadata["facts"], metadata["digest"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} is cut short, damaged, or was not written by reparam: {error}"
        ) from error
    if _digest(tensors, text) != digest:
        raise RunFolderError(f"{path} was altered after it was written: its checksum does not match")
    return Tensors(tensors, json.loads(text))
