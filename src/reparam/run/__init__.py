"""The run folder: configuration, weights, history. Nothing in it is code, and reading it runs none."""

from reparam.run.files import Tensors, atomic_write, pack, read_tensors, unpack, write_tensors
from reparam.run.folder import (
    CONFIG,
    HISTORY,
    MODEL,
    SCHEMA,
    Run,
    environment,
    from_bytes,
    load,
    model_digest,
    open_run,
    read_config,
    save,
    to_bytes,
)
from reparam.run.lock import FolderLock
from reparam.run.spec import describe, rebuild
from reparam.run.toml import dumps as dump_toml

__all__ = [
    "CONFIG",
    "HISTORY",
    "MODEL",
    "SCHEMA",
    "FolderLock",
    "Run",
    "Tensors",
    "atomic_write",
    "describe",
    "dump_toml",
    "environment",
    "from_bytes",
    "load",
    "model_digest",
    "open_run",
    "pack",
    "read_config",
    "read_tensors",
    "rebuild",
    "save",
    "to_bytes",
    "unpack",
    "write_tensors",
]
