"""Files to arrays. Each reader either gives the whole of a file or one line that says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from reparam.data import counts, formats, pictures, tables
from reparam.data.counts import Counting
from reparam.data.sparse import SparseRows
from reparam.errors import InputError, nearest, require

BUNDLED = ("digits",)
ENDING = ".h5ad"  # of files of AnnData
_LABEL_KEYS = ("y", "labels", "label", "target", "targets")
_DATA_KEYS = ("x", "X", "data", "images", "arr_0")


@dataclass(frozen=True)
class Source:
    """What a reader found.

    Shapes: x (N, *event), in the dtype of the file; labels (N,) or None; contexts (N, ...), by name. ``pixel_max`` is
    the value of white where the format defines one; ``is_image`` where rows are pictures; ``counting`` says of counts
    of cells how they were read.
    """

    x: np.ndarray | Any  # or SparseRows
    name: str
    labels: np.ndarray | None = None
    columns: list[str] | None = None
    contexts: Mapping[str, np.ndarray] = field(default_factory=dict)
    pixel_max: float | None = None
    counting: Counting | None = None

    @property
    def is_image(self) -> bool:
        """Whether a row is a picture: (H, W), (C, H, W) or (H, W, C)."""
        return self.x.ndim in (3, 4)


def read(
    data: str | Path,
    labels: str | Path | None = None,
    contexts: Sequence[str] = (),
    partial: Sequence[str] = (),
    counting: Counting | None = None,
) -> Source:
    """Read .npy, .npz, .csv, .tsv, .parquet, .h5ad, idx (.gz too), a folder of images, or the bundled ``digits``.

    ``labels`` is the name of a column of a table, of text or numbers, which is then left out of the data, or a file
    of one label for each row. Without it, labels are found where they have a usual place: an array ``y`` or ``labels``
    in an .npz, the idx file of labels beside one of images, the subfolders of a folder of images.

    ``contexts`` are names of columns of a table, which are then left out of the data, of arrays of an .npz, or
    "labels" for the labels. Those that are ``partial`` too may be missing, of some rows or of all. ``counting`` says
    how the counts of an .h5ad are read; its labels and contexts are columns of obs, and complete.

    Raises:
        InputError: in one line, for a missing, truncated, foreign or ragged file, an unknown ending, or labels or
            contexts that are not one for each row.
        MissingExtraError: where a format needs a package that is not installed.
    """
    try:
        if str(data).lower().endswith(ENDING) and Path(data).is_file():
            return _cells(Path(data), None if labels is None else str(labels), contexts, counting or Counting())
        wanted = {name: name in partial for name in contexts}
        source = _read(data, None if labels is None else str(labels), wanted)
        return replace(source, contexts=_found(source, wanted)) if contexts else source
    except OSError as error:
        raise InputError(f"{data} cannot be read: {error.strerror or error}") from error


def _found(source: Source, contexts: tables.Contexts) -> dict[str, np.ndarray]:
    """The contexts by name: columns or arrays that the reader took, or the labels; partial ones as far as known."""
    found = {}
    for name, partial in contexts.items():
        values = source.contexts.get(name, source.labels if name == "labels" else None)
        if values is None and partial:
            continue
        if values is None:
            known = [*(source.columns or ()), *source.contexts, *(["labels"] if source.labels is not None else [])]
            raise InputError(
                f"{source.name} has no context {name!r}: {nearest(name, known) if known else 'it has none'}"
            )
        if values.ndim < 1 or len(values) != len(source.x):
            raise InputError(f"context {name!r} has shape {values.shape}, and the data have {len(source.x)} rows")
        missing = np.isnan(values) if values.dtype.kind == "f" else values == ""
        if not partial and values.ndim == 1 and missing.any():
            row = int(missing.argmax())
            raise InputError(f"context {name!r} of row {row} is missing: remove such rows or fill them in first")
        found[name] = values
    return found


def bundled(data: str | Path) -> bool:
    """Whether these are the bundled data: a file or folder of that name goes before, but a run is no data."""
    return str(data) in BUNDLED and (not Path(data).exists() or (Path(data) / "config.toml").exists())


def _read(data: str | Path, labels: str | None, contexts: tables.Contexts) -> Source:
    path = Path(data)
    if bundled(data):
        source = _digits()
    elif not path.exists():
        raise InputError(f"no such file or folder: {data}; bundled data: {', '.join(BUNDLED)}")
    elif path.is_dir():
        source = _images(path)
    else:
        source = _reader_of(path)(path, labels, contexts)
    if labels is None or (source.columns is not None and source.labels is not None):  # a column of the table
        return source
    return replace(source, labels=_labels_from(labels, len(source.x) if source.x.ndim else 0))


def _cells(path: Path, labels: str | None, contexts: Sequence[str], counting: Counting) -> Source:
    """Counts of an .h5ad file; labels are a column of obs, or a file."""
    beside = labels is not None and Path(labels).exists()
    columns = [*contexts, *([labels] if labels is not None and not beside else [])]
    x, genes, obs = counts.of_file(path, counting, columns)
    source = _cells_source(x, genes, obs, path.name, contexts, counting)
    if labels is None:
        return source
    return replace(source, labels=_labels_from(labels, len(x)) if beside else obs[labels])


def _cells_source(
    x: SparseRows, genes: list[str], obs: dict[str, np.ndarray], name: str, contexts: Sequence[str],
    counting: Counting,
) -> Source:  # fmt: skip
    """Counts of cells as a source."""
    kept = {n: v for n, v in obs.items() if n in contexts or n == counting.column}
    return Source(x, name, columns=counts.distinct(genes), contexts=kept, counting=counting)


_Reader = Callable[[Path, "str | None", tables.Contexts], Source]


def _reader_of(path: Path) -> _Reader:
    name = path.name.lower().removesuffix(".gz")
    readers: dict[str, _Reader] = {
        ".npy": _npy, ".npz": _npz, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".idx": _idx, "ubyte": _idx,
    }  # fmt: skip
    for ending, reader in readers.items():
        if name.endswith(ending):
            return reader
    if formats.looks_like_idx(path):
        return _idx
    raise InputError(
        f"no reader knows {path.name!r}: DATA is .npy, .npz, .csv, .tsv, .parquet, an idx file (.gz too), "
        "an .h5ad file, a folder of images, or digits"
    )


def _npy(path: Path, *_: Any) -> Source:
    return Source(formats.load_npy(path), path.name)


def _npz(path: Path, labels: str | None, contexts: tables.Contexts) -> Source:
    """The arrays of data and contexts, and of labels unless others are given; what else there may be is not read."""

    def choose(names: Sequence[str]) -> list[str]:
        usual = [k for k in _DATA_KEYS if k in names] or [k for k in names if k not in (*_LABEL_KEYS, *contexts)]
        if not usual or (len(usual) > 1 and usual[0] not in _DATA_KEYS):
            raise InputError(f"{path.name} holds {_listed(names)}: name the array to use 'x'")
        beside = [] if labels else [k for k in _LABEL_KEYS if k in names][:1]
        return list(dict.fromkeys([usual[0], *beside, *(k for k in contexts if k in names)]))

    (_, x), *others = formats.load_npz(path, choose).items()
    given = {key: array for key, array in others if key in contexts}
    key, found = others[0] if others else ("", x)
    if labels or key not in _LABEL_KEYS:
        return Source(x, path.name, contexts=given)
    found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    if found.ndim != 1 or x.ndim == 0:  # a target of another kind
        return Source(x, path.name, contexts=given)
    return Source(x, path.name, _fitting(found, len(x), f"the array {key!r} of {path.name}"), contexts=given)


def _listed(names: Sequence[str]) -> str:
    return f"the arrays {', '.join(names)}" if names else "no arrays"


def _fitting(labels: np.ndarray, rows: int, what: str) -> np.ndarray:
    if len(labels) != rows:
        raise InputError(f"{what} holds {len(labels)} labels, and the data have {rows} rows: give one for each row")
    return labels


def _idx(path: Path, labels: str | None, *_: Any) -> Source:
    x = formats.load_idx(path)
    beside = None if labels else _idx_labels(path)
    if beside is None:
        return Source(x, path.name)
    found = formats.load_idx(beside)
    if found.ndim != 1:
        raise InputError(f"{beside.name} has shape {found.shape}; labels have one dimension: move it away or mend it")
    return Source(x, path.name, _fitting(found, len(x), beside.name))


def _idx_labels(path: Path) -> Path | None:
    """The file of labels beside one of images, named as MNIST's are, packed or not."""
    name = re.sub(r"images([-.])idx3", r"labels\1idx1", path.name)
    if name == path.name:
        return None
    plain = name.removesuffix(".gz")
    return next((p for n in (name, plain, f"{plain}.gz") if (p := path.with_name(n)).is_file()), None)


def _csv(path: Path, labels: str | None, contexts: tables.Contexts) -> Source:
    return _of_table(path, tables.load_csv(path, labels, contexts))


def _parquet(path: Path, labels: str | None, contexts: tables.Contexts) -> Source:
    return _of_table(path, tables.load_parquet(path, labels, contexts))


def _of_table(path: Path, table: tables.Table) -> Source:
    return Source(table.x, path.name, table.labels, table.columns, table.contexts or {})


def _images(path: Path) -> Source:
    found = pictures.load_images(path)
    return Source(found.x, path.name, found.labels, pixel_max=found.white)


def _digits() -> Source:
    datasets = require("sklearn.datasets", "sklearn", "reading the bundled digits")
    bunch = datasets.load_digits()
    return Source(bunch.images.astype(np.uint8), "digits", bunch.target, pixel_max=16)


def _labels_from(file: str, rows: int) -> np.ndarray:
    """The labels of a file: a text of one column, with or without its name, or an array."""
    path = Path(file)
    if not path.exists():
        raise InputError(f"labels {file!r}: there is no such file")
    if path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt")):
        cells = tables.load_cells(path)
        return _fitting(tables.as_labels(cells[len(cells) == rows + 1 :]), rows, path.name)
    found = read(path).x
    if found.ndim == 0 or found.size != found.shape[0]:
        raise InputError(f"{path.name} has shape {found.shape}: one label for each of {rows} rows is needed")
    return _fitting(found.reshape(-1), rows, path.name)
