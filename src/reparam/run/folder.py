"""Saving a model to a folder and loading it, and the other files of a run."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam.data import Schema
from reparam.errors import RunFolderError
from reparam.run.files import atomic_write, pack, read_tensors, unpack, write_tensors
from reparam.run.spec import describe, rebuild
from reparam.run.toml import dumps
from reparam.vae import VAE, reference
from reparam.version import __version__

CONFIG, MODEL, SCHEMA, HISTORY = "config.toml", "model.safetensors", "schema.json", "history.jsonl"
FORMAT = 1
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Run:
    """An opened run folder: the model with its best weights, and what is known about it."""

    folder: Path
    vae: VAE
    config: dict[str, Any]
    schema: Schema | None

    @property
    def history(self) -> list[dict[str, Any]]:
        """One table for each epoch, oldest first."""
        return read_history(self.folder)


def save(
    vae: VAE, folder: str | Path, *, config: Mapping[str, Any] | None = None, schema: Schema | None = None
) -> None:
    """Write the model to a folder: ``config.toml`` (its parts) and ``model.safetensors`` (its weights).

    Parts of reparam and the common layers of ``torch.nn`` can be rebuilt by :func:`load` from the folder alone; for a
    class of your own, build the model again in Python and give it to ``load(folder, into=vae)``.
    ``config`` are further tables for ``config.toml``.

    Raises:
        RunFolderError: if the folder cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_config(vae, folder, config or {}, schema)
        write_weights(vae, folder)
    except OSError as error:
        raise RunFolderError(f"cannot write to the folder {folder}: {error.strerror or error}") from error


def model_digest(vae: VAE) -> str:
    """A short text that changes when the description of the model does, its dtype included."""
    return hashlib.blake2b(_canonical(_model_table(vae)).encode(), digest_size=8).hexdigest()


def write_config(vae: VAE, folder: Path, config: Mapping[str, Any], schema: Schema | None) -> None:
    """The files that do not change while a run trains; the schema of a model that was there before is removed."""
    table = {"format": FORMAT, "reparam": __version__, **config, "model": _model_table(vae)}
    atomic_write(folder / CONFIG, dumps(table))
    if schema is not None:
        atomic_write(folder / SCHEMA, schema.to_json())
    else:
        (folder / SCHEMA).unlink(missing_ok=True)
    atomic_write(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")


def write_weights(vae: VAE, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """The weights (the model's own unless given), bound to the model's description and to the folder's schema."""
    facts = _facts(vae, _checksum(folder / SCHEMA))
    write_tensors(folder / MODEL, vae.state_dict() if weights is None else weights, facts)


def _facts(vae: VAE, schema: str | None = None) -> dict[str, object]:
    return {"format": FORMAT, "model": _canonical(_model_table(vae)), "schema": schema}


def to_bytes(vae: VAE) -> bytes:
    """The model as bytes: those of the file of weights that :func:`save` writes, whose head describes the model."""
    return pack(vae.state_dict(), _facts(vae))


def from_bytes(content: bytes) -> VAE:
    """The model of :func:`to_bytes`, in evaluation mode. No code is run from the bytes.

    Raises:
        RunFolderError: for bytes that are cut short, altered, of another kind or of a newer version, and for a model
            with a part that a file cannot rebuild.
    """
    what = "the saved model"
    tensors, facts = unpack(content, what)
    version = facts.get("format")
    if type(version) is int and version > FORMAT:
        raise RunFolderError(f"{what} has format {version}; this is {__version__}, which reads up to {FORMAT}: update")
    try:
        spec = json.loads(str(facts.get("model")))
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{what} has no description that can be read: it was altered; train again") from error
    if not isinstance(spec, dict):
        raise RunFolderError(f"{what} has no description: it was altered, or is no model; train again")
    vae = _rebuilt(spec)
    _put(tensors, vae, assign=True)
    return vae.eval()


def _model_table(vae: VAE) -> dict[str, Any]:
    return {"dtype": str(reference(vae).dtype).removeprefix("torch."), **describe(vae)}


def _checksum(path: Path) -> str | None:
    return hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest() if path.exists() else None


def load(folder: str | Path, into: VAE | None = None) -> VAE:
    """The model that was saved in the folder, in evaluation mode. No code from the folder is run.

    ``into`` is a model built as the saved one was, for parts that a file cannot rebuild; its weights are replaced.

    Raises:
        RunFolderError: for a folder that is incomplete, altered, or of a newer version of reparam.
    """
    return open_run(folder, into).vae


def open_run(folder: str | Path, into: VAE | None = None) -> Run:
    """The model with its configuration and schema: see :func:`load`."""
    folder = Path(folder)
    config = read_config(folder)
    spec = config.get("model")
    if not isinstance(spec, dict):
        raise RunFolderError(f"{folder / CONFIG} does not describe a model: it was altered, or is not of a run")
    if not (folder / MODEL).exists():
        raise RunFolderError(
            f"{folder} has no {MODEL}: the run was killed before its first save, or the file was removed; continue it "
            f"with: reparam resume {folder}"
        )
    tensors, facts = read_tensors(folder / MODEL)
    if facts.get("model") != _canonical(spec):
        raise RunFolderError(
            f"{folder / CONFIG} describes another model than the one whose weights are in {MODEL}: one of them was "
            "altered; restore it, or train again"
        )
    schema = _read_schema(folder, facts.get("schema"))
    vae = _rebuilt(spec) if into is None else _same(into, spec)
    _put(tensors, vae, assign=into is None)
    return Run(folder, vae.eval(), config, schema)


def _read_schema(folder: Path, checksum: object) -> Schema | None:
    schema = Schema.from_json(_text(folder / SCHEMA)) if (folder / SCHEMA).exists() else None
    if _checksum(folder / SCHEMA) != checksum:
        raise RunFolderError(
            f"{folder / SCHEMA} is not the one that the weights were saved with: it was altered or removed; restore "
            "it, or train again"
        )
    return schema


def _rebuilt(spec: Mapping[str, Any]) -> VAE:
    dtype = _DTYPES.get(str(spec.get("dtype")))
    if dtype is None:
        raise RunFolderError(f"the configuration names the dtype {spec.get('dtype')!r}: known: {', '.join(_DTYPES)}")
    with torch.random.fork_rng(devices=[]):  # its fresh weights are replaced, and nobody's random numbers moved on
        vae = rebuild({name: value for name, value in spec.items() if name != "dtype"})
    if not isinstance(vae, VAE):
        raise RunFolderError(f"the configuration describes a {type(vae).__name__}, not a VAE")
    return vae.to(dtype)


def _same(into: VAE, spec: Mapping[str, Any]) -> VAE:
    """The caller's model, if it is built as the saved one was; a class of one's own may have moved to another module.

    Raises:
        RunFolderError: naming the first part that differs.
    """
    given, saved = (re.sub(r"unlisted:[^\"]*", "unlisted", _canonical(s)) for s in (_model_table(into), spec))
    if given != saved:
        at = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(given, saved, strict=False)))
        words = slice(max(0, at - 30), at + 30)
        raise RunFolderError(
            f"the model given to load is built otherwise than the saved one: it has ...{given[words]}... where the "
            f"saved one has ...{saved[words]}..."
        )
    return into


def _put(tensors: Mapping[str, Tensor], vae: VAE, assign: bool) -> None:
    """Replace the weights of the model, all or none.

    Raises:
        RunFolderError: if names or shapes are not the model's.
    """
    own = {name: tuple(t.shape) for name, t in vae.state_dict().items()}
    read = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in sorted(own.keys() | read.keys()):
        if own.get(name) != read.get(name):
            raise RunFolderError(
                f"the saved weights do not fit the model: {name} is {read.get(name, 'absent')} in the file and "
                f"{own.get(name, 'absent')} in the model"
            )
    vae.load_state_dict(dict(tensors), assign=assign)  # assign keeps each tensor's dtype


def read_config(folder: str | Path) -> dict[str, Any]:
    """The tables of ``config.toml``.

    Raises:
        RunFolderError: if there is none, it is damaged, or of a newer version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunFolderError(f"no run folder at {folder}: train one with: reparam train DATA --out {folder}")
    if not (folder / CONFIG).exists():
        raise RunFolderError(f"{folder} is not a run folder: it has no {CONFIG}")
    try:
        config = tomllib.loads(_text(folder / CONFIG))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RunFolderError(f"{folder / CONFIG} is damaged: {error}") from error
    version = config.get("format")
    if type(version) is not int or version < 1:
        raise RunFolderError(f"{folder / CONFIG} names no format: it was altered, or is not of a run")
    if version > FORMAT:
        raise RunFolderError(
            f"{folder} was written by reparam {config.get('reparam', '?')} in format {version}; this is {__version__}, "
            f"which reads up to {FORMAT}: update reparam"
        )
    return config


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``history.jsonl``; a last line that is still being written is left out.

    Raises:
        RunFolderError: for a line that is no table.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    try:
        return [dict(json.loads(line)) for line in _text(path).split("\n")[:-1] if line]
    except (ValueError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged: {error}") from error


def environment() -> dict[str, Any]:
    """What the run was made with: versions and machine."""
    return {
        "reparam": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error


def _canonical(spec: Any) -> str:
    """One text for one description: what TOML cannot say (None) is left out, tuples are lists."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: clean(v) for k, v in value.items() if v is not None}
        return [clean(v) for v in value] if isinstance(value, list | tuple) else value

    return json.dumps(clean(spec), sort_keys=True, default=str)  # str: an altered file may hold TOML's dates
