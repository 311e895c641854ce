"""Files whose rows stay where they are, and when the command leaves them there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reparam.data import formats, shards, stores
from reparam.data.dataset import Dataset
from reparam.data.readers import ENDING, Source, read
from reparam.data.stored import BUFFER, Store, StoredRows
from reparam.errors import InputError

SHARE = 0.3  # of the memory that a file may have before its rows stay on disk
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def open(
    path: str | Path, *, pixel_max: float | None = None, binarize: str | None = None, buffer: float = BUFFER,
    without: Sequence[str] = (),
) -> Dataset:  # fmt: skip
    """Data that stay in their file: rows are read when they are needed, in memory that does not grow with their number.

    ``path`` is an .npy or idx file that is not packed; a Parquet file whose columns are numbers, but for those to leave
    out (``without``); a folder of images; a .tar file or a folder of them, whose samples are images or .npy arrays; or
    an .h5ad file, whose counts are kept in temporary files. What is given back stands wherever a Dataset does: in
    :func:`reparam.fit`, in every estimate of ``reparam.evaluate``, and rows of it are ``data[i:j]``.

    Training takes blocks of rows in random order and mixes rows within ``buffer`` megabytes of them. A row group of
    Parquet is one block: where files are sorted, write many small row groups. The next buffer is read while one is
    used, so that training holds two.

    ``pixel_max`` and ``binarize`` are those of :class:`reparam.Dataset`.

    Raises:
        InputError: in one line, for a file that is missing, damaged, packed, or of another format.
        MissingExtraError: where a format needs a package that is not installed.
    """
    if str(path).lower().endswith(ENDING):
        source = read(path)
        return Dataset(source.x, columns=source.columns)
    source = open_source(path, buffer, without)
    white = source.pixel_max if pixel_max is None else pixel_max
    return Dataset(source.x, pixel_max=white, binarize=binarize, columns=source.columns)


def open_source(path: str | Path, buffer: float = BUFFER, without: Sequence[str] = ()) -> Source:
    """What :func:`reparam.data.read` gives, with rows that stay in their file.

    Raises:
        InputError: as ``open`` does.
    """
    if not 0 < buffer < float("inf"):
        raise InputError(f"buffer is a positive number of megabytes, not {buffer:g}")
    try:
        store = _store(Path(path), without)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    white = store.white if isinstance(store, shards.Folder | shards.Shards) else None
    columns = store.columns if isinstance(store, stores.Parquet) else None
    return Source(StoredRows(store, buffer), store.name, columns=columns, pixel_max=white)


def _store(path: Path, without: Sequence[str]) -> Store:
    if not path.exists():
        raise InputError(f"no such file or folder: {path}")
    name = path.name.lower()
    if without and not name.endswith(".parquet"):
        raise InputError(f"{path.name} has no named columns to leave out")
    if parts := shards.shards_of(path):
        return shards.Shards(parts, path.name)
    if path.is_dir():
        return shards.Folder(path)
    if name.endswith(".npy"):
        return stores.npy(path)
    if name.endswith(".parquet"):
        return stores.Parquet(path, without)
    if formats.looks_like_idx(path):
        return stores.idx(path)
    raise InputError(
        f"rows of {path.name!r} cannot be read one by one: that can be of .npy, idx, .parquet, .tar, and folders of "
        "images or of .tar; save it as one of these"
    )


def memory() -> int:
    """The bytes of memory that this process may have: of the machine, or of its container where that has fewer."""
    found = [_physical()]
    for limit in _LIMITS:
        try:
            found.append(int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return min((n for n in found if n > 0), default=0)


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def too_large(path: str | Path) -> str | None:
    """Why the rows of this file should stay on disk, in words; None where it may be read as a whole, or must be.

    Formats whose rows cannot be read one by one are always read as a whole.
    """
    file, here = Path(path), memory()
    if not here or not (shards.shards_of(file) or (file.is_file() and _by_number(file))):
        return None
    if shards.shards_of(file):
        return f"{file.name} holds shards: its rows are read when they are needed"
    size = file.stat().st_size
    if size <= SHARE * here:
        return None
    return (
        f"{file.name} is {size / 1e9:.1f} GB, more than {SHARE:.0%} of the {here / 1e9:.1f} GB of memory: its rows "
        "are read when they are needed (--stream)"
    )


def _by_number(file: Path) -> bool:
    with file.open("rb") as opened:
        packed = opened.read(2) == b"\x1f\x8b"
    name = file.name.lower()
    return not packed and (name.endswith((".npy", ".parquet")) or formats.looks_like_idx(file))


__all__ = ["SHARE", "memory", "open", "open_source", "too_large"]
