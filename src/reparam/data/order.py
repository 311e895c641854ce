"""The order in which an epoch takes rows: of those in memory a permutation, of stored ones blocks and a buffer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


class BlockOrder:
    """Each row once: blocks in random order, and the rows of so many blocks as fill a buffer in random order.

    The order is a function of the generator's state alone and is made one buffer at a time, so that it can be entered
    at any row, and its memory is a few numbers for each block.

    ``ends`` (blocks,) are the numbers of rows up to and with each block, ``buffer`` a number of rows.
    """

    def __init__(self, ends: np.ndarray, buffer: int, generator: torch.Generator) -> None:
        sizes = np.diff(ends, prepend=0)
        shuffled = torch.randperm(len(sizes), generator=generator).numpy()
        self.seed = int(torch.randint(2**62, (), generator=generator))
        self.starts, self.sizes = (ends - sizes)[shuffled], sizes[shuffled]
        self.groups, self.places = [0], [0]  # where each buffer begins: its first block, its first row
        rows = 0
        for block, size in enumerate(self.sizes.tolist(), start=1):
            rows += size
            if rows >= buffer or (rows and block == len(sizes)):
                self.groups.append(block)
                self.places.append(self.places[-1] + rows)
                rows = 0

    def __len__(self) -> int:
        return self.places[-1]

    def __getitem__(self, places: slice) -> Tensor:
        """The numbers of the rows at these places of the order."""
        start, stop, step = places.indices(len(self))
        first = max(0, int(np.searchsorted(self.places, start, side="right")) - 1)
        last = int(np.searchsorted(self.places, stop, side="left"))
        parts = [self._group(g) for g in range(first, max(last, first + 1)) if g + 1 < len(self.groups)]
        rows = torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)
        return rows[start - self.places[first] : stop - self.places[first] : step]

    def spans(self) -> Iterator[tuple[int, int]]:
        """The places from which each buffer goes, and to which."""
        return pairwise(self.places)

    def _group(self, group: int) -> Tensor:
        blocks = slice(self.groups[group], self.groups[group + 1])
        rows = [
            np.arange(a, a + n) for a, n in zip(self.starts[blocks].tolist(), self.sizes[blocks].tolist(), strict=True)
        ]
        whole = torch.from_numpy(np.concatenate(rows))
        return whole[torch.randperm(len(whole), generator=torch.Generator().manual_seed(self.seed + group))]
