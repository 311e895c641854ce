"""Stores of files that are decoded one by one: a folder of images, and tar shards of images or arrays."""

from __future__ import annotations

import io
import os
import tarfile
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reparam.data import formats, pictures
from reparam.data.stored import Store, even_cuts, known
from reparam.errors import InputError


class _Decoded(Store):
    """Rows that are files of their own; the first decides size, depth, and whether all are in colour."""

    drawn: bool  # whether rows are pictures

    def _begin(self, count: int) -> None:
        self.first_name, self.first = self._decoded(0)
        self.shape, self.dtype = (count, *self.first.shape), known(self.first.dtype, self.first_name)

    @property
    def white(self) -> float | None:
        """The value of white, where rows are pictures."""
        return float(np.iinfo(self.first.dtype).max) if self.drawn else None

    @abstractmethod
    def _decoded(self, number: int) -> tuple[str, np.ndarray]:
        """The name of a row, and the row."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from ``start`` on and before ``stop``."""
        rows = np.stack([self._alike(*self._decoded(i)) for i in range(start, stop)])
        return rows.astype(self.dtype, copy=False)

    def _alike(self, name: str, row: np.ndarray) -> np.ndarray:
        if self.white is None:
            if (row.shape, row.dtype) != (self.first.shape, self.first.dtype):
                raise InputError(
                    f"{name} is {row.dtype} of shape {row.shape}, {self.first_name} is {self.first.dtype} of shape "
                    f"{self.first.shape}: make all arrays alike"
                )
            return row
        pictures.check_alike(self.first, self.first_name, row, name)
        if row.ndim > self.first.ndim:
            raise InputError(
                f"{name} is in colour, and {self.first_name} is grey: the first picture decides; make all alike"
            )
        return row if row.ndim == self.first.ndim else pictures.in_colour(row)


class Folder(_Decoded):
    """The pictures of a folder; what is kept of each is its name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.names, self.drawn = pictures.names_of(folder), True
        self._begin(len(self.names))
        self.cuts = even_cuts(len(self.names), self.row_bytes)

    def _decoded(self, number: int) -> tuple[str, np.ndarray]:
        name = self.names[number]
        return name, pictures.picture(self.folder / name, name)


class Shards(_Decoded):
    """Tar files of samples, the rows in the order of their names and within: of each sample its picture or its .npy.

    What is kept of each row is where it begins and how long it is. Other files of a sample are not read.
    """

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self.paths, self.name = list(paths), name
        kinds: set[bool] = set()
        places = [self._places(path, kinds) for path in self.paths]
        self.ends = np.cumsum([len(p) for p in places]).tolist()
        if not self.ends[-1]:
            raise InputError(f"{name} holds neither images nor .npy files")
        self.places, self.drawn = np.concatenate(places), kinds.pop()
        self._begin(self.ends[-1])
        self.cuts = even_cuts(self.ends[-1], self.row_bytes, np.unique([0, *self.ends]))

    def _places(self, path: Path, kinds: set[bool]) -> np.ndarray:
        """Where each row of a shard begins, and its length, (n, 2)."""
        found = []
        try:
            with tarfile.open(path, "r:") as shard:
                for member in shard:
                    picture = pictures.is_picture(member.name)
                    if not member.isfile() or not (picture or member.name.endswith(".npy")):
                        continue
                    kinds.add(picture)
                    if len(kinds) > 1:
                        raise InputError(f"{path.name} holds images and .npy files, {member.name!r} too: keep one kind")
                    found.append((member.offset_data, member.size))
                    shard.members = []  # type: ignore[attr-defined] # else all heads stay in memory
        except (tarfile.TarError, OSError, EOFError) as error:
            raise InputError(f"{path.name} is no tar file that is whole and not packed: {error}") from error
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def _decoded(self, number: int) -> tuple[str, np.ndarray]:
        path = self.paths[bisect_right(self.ends, number)]
        offset, size = (int(n) for n in self.places[number])
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            content = file.read(size)
        within = number - self.ends[bisect_right(self.ends, number) - 1] if number >= self.ends[0] else number
        if len(content) < size:
            raise InputError(f"{path.name} is truncated at its row {within}: get the file again")
        what = f"{'picture' if self.drawn else 'array'} {within} of {path.name}"
        if self.drawn:
            return what, pictures.picture(io.BytesIO(content), what)
        with formats.numpy_errors(path, what):
            return what, np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def shards_of(path: Path) -> list[Path]:
    """The tar files of a path: itself, or those in the folder, by name; none for what holds none."""
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix.lower() == ".tar" and not p.name.startswith("."))
    return [path] if path.suffix.lower() == ".tar" and os.path.isfile(path) else []
