"""Files to arrays. Each reader either gives the whole of a file or one line that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reparam.data import formats
from reparam.errors import InputError, require

BUNDLED = ("digits",)
_LABEL_KEYS = ("y", "labels", "label", "target", "targets")
_DATA_KEYS = ("x", "X", "data", "images", "arr_0")


@dataclass(frozen=True)
class Source:
    """What a reader found.

    Shapes: x (N, *event), in the dtype of the file; labels (N,) or None. ``pixel_max`` is the value of white where
    the format defines one; ``is_image`` where rows are pictures.
    """

    x: np.ndarray
    name: str
    labels: np.ndarray | None = None
    columns: list[str] | None = None
    pixel_max: float | None = None

    @property
    def is_image(self) -> bool:
        """Whether a row is a picture: (H, W), (C, H, W) or (H, W, C)."""
        return self.x.ndim in (3, 4)


def read(data: str | Path, labels: str | Path | None = None) -> Source:
    """Read .npy, .npz, .csv, .tsv, .parquet, idx (.gz too), a folder of images, or the bundled ``digits``.

    ``labels`` is a file of one label for each row, or the name of a column of a table, which is then left out of
    the data. Without it, labels are found where they have a usual place: an array ``y`` or ``labels`` in an .npz, the
    idx file of labels beside one of images, the subfolders of a folder of images.

    Raises:
        InputError: in one line, for a missing, truncated, foreign or ragged file, or an unknown ending.
        MissingExtraError: where a format needs a package that is not installed.
    """
    path = Path(data)
    if str(data) in BUNDLED and not path.exists():
        source = _digits()
    elif not path.exists():
        raise InputError(f"no such file or folder: {data}; bundled data: {', '.join(BUNDLED)}")
    elif path.is_dir():
        source = _images(path)
    else:
        source = _reader_of(path)(path)
    return source if labels is None else _with_labels(source, str(labels))


def _reader_of(path: Path) -> Callable[[Path], Source]:
    name = path.name.lower().removesuffix(".gz")
    readers: dict[str, Callable[[Path], Source]] = {
        ".npy": _npy, ".npz": _npz, ".csv": _table, ".tsv": _table, ".parquet": _parquet,
        ".idx": _idx, "ubyte": _idx,
    }  # fmt: skip
    for ending, reader in readers.items():
        if name.endswith(ending):
            return reader
    if formats.looks_like_idx(path):
        return _idx
    raise InputError(
        f"no reader knows {path.name!r}: DATA is .npy, .npz, .csv, .tsv, .parquet, an idx file (.gz too), "
        "a folder of images, or digits"
    )


def _npy(path: Path) -> Source:
    return Source(formats.load_npy(path), path.name)


def _npz(path: Path) -> Source:
    arrays = formats.load_npz(path)
    key = next((k for k in _DATA_KEYS if k in arrays), None)
    if key is None:
        rest = [k for k in arrays if k not in _LABEL_KEYS]
        if len(rest) != 1:
            raise InputError(f"{path.name} holds the arrays {', '.join(arrays)}: name the one to use 'x'")
        key = rest[0]
    x = arrays[key]
    labels = next((arrays[k] for k in _LABEL_KEYS if k in arrays and k != key), None)
    usable = labels is not None and labels.ndim == 1 and x.ndim > 0 and len(labels) == len(x)
    return Source(x, path.name, labels if usable else None)


def _idx(path: Path) -> Source:
    x = formats.load_idx(path)
    labels = None
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if beside != path and beside.exists():
        labels = formats.load_idx(beside)
        labels = labels if len(labels) == len(x) and labels.ndim == 1 else None
    return Source(x, path.name, labels)


def _table(path: Path) -> Source:
    x, columns = formats.load_csv(path)
    return Source(x, path.name, columns=columns)


def _parquet(path: Path) -> Source:
    x, columns = formats.load_parquet(path)
    return Source(x, path.name, columns=columns)


def _images(path: Path) -> Source:
    x, labels = formats.load_images(path)
    return Source(x, path.name, labels, pixel_max=255)


def _digits() -> Source:
    datasets = require("sklearn.datasets", "sklearn", "the bundled digits")
    bunch = datasets.load_digits()
    return Source(bunch.images.astype(np.uint8), "digits", bunch.target, pixel_max=16)


def _with_labels(source: Source, labels: str) -> Source:
    if source.columns and labels in source.columns:
        at = source.columns.index(labels)
        kept = [c for c in source.columns if c != labels]
        return replace(source, x=np.delete(source.x, at, axis=1), columns=kept, labels=source.x[:, at])
    if not Path(labels).exists():
        place = "nor a column of the table" if source.columns else ""
        raise InputError(f"--labels {labels}: no such file {place}".rstrip())
    read_labels = read(labels).x
    flat = read_labels.reshape(len(read_labels), -1)
    if flat.shape[1] != 1 or len(flat) != len(source.x):
        raise InputError(
            f"{labels} has shape {read_labels.shape}; one label for each of {len(source.x)} rows is needed"
        )
    return replace(source, labels=flat[:, 0])
