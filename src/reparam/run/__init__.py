"""The run folder: configuration, weights, history. Nothing in it is code, and reading it runs none."""

from reparam.run.files import Tensors, atomic_write, read_tensors, write_tensors
from reparam.run.folder import (
    CONFIG,
    HISTORY,
    MODEL,
    SCHEMA,
    Run,
    environment,
    load,
    model_digest,
    open_run,
    read_config,
    save,
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
    "load",
    "model_digest",
    "open_run",
    "read_config",
    "read_tensors",
    "rebuild",
    "save",
    "write_tensors",
]
