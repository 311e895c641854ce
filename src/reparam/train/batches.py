"""The batches of an epoch, from any row of it on: gathered for many steps at once, and read ahead from files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.data.order import BlockOrder
from reparam.train.crew import Crew, Share

_GATHERED_ROWS = 8192
T = TypeVar("T")
Order = Tensor | BlockOrder


def order_of(data: Dataset, seed: int, epoch: int) -> Order:
    """The order in which an epoch takes the rows."""
    return data.order(torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def batches(
    data: Dataset, size: int, order: Order, begun: int, crew: Crew | None = None
) -> Iterator[tuple[tuple[Tensor, ...], Share]]:
    """This process's share of the batches (x, *contexts) of ``size`` rows in this order, from place ``begun`` on.

    A batch starts there. They are rows as the data hold them, cut from what was gathered at the same place whether the
    epoch was entered there or went through it.
    """
    crew = Crew() if crew is None else crew
    pieces = _pieces(data, size, order, begun, crew)
    parts: list[tuple[Tensor, ...]] = []
    held, share = 0, crew.share(min(size, len(data) - begun))
    for before, piece in ahead(pieces) if data.stored else pieces:
        at = before
        while at < len(piece):
            count = min(share.rows - held, len(piece) - at)
            parts.append(tuple(t[at : at + count] for t in (piece.x, *piece.contexts)))
            at, held = at + count, held + count
            if held == share.rows:
                yield _joined(parts, data.stored), share
                begun += share.total
                parts, held, share = [], 0, crew.share(min(size, max(1, len(data) - begun)))


def _pieces(data: Dataset, size: int, order: Order, begun: int, crew: Crew) -> Iterator[tuple[int, Dataset]]:
    """Of each piece of the order this process's rows, at hand, and how many of them were before ``begun``.

    Of rows in files a piece is a buffer.
    """
    if isinstance(order, BlockOrder):
        spans = order.spans()
    else:
        block = size * max(1, _GATHERED_ROWS // size)
        spans = ((start, start + block) for start in range(0, len(data), block))
    for start, stop in spans:
        if stop <= begun:
            continue
        rows, before = order[start:stop], max(0, begun - start)
        if not crew.alone:
            mine = _mine(start, start + len(rows), size, len(data), crew)
            rows, before = rows[mine], int(mine[:before].sum())
        yield before, data.near(rows)


def _mine(start: int, stop: int, size: int, total: int, crew: Crew) -> Tensor:
    """Which places of the order, from ``start`` on and before ``stop``, this process reads."""
    full, last = crew.share(size), crew.share(total % size or size)
    places = torch.arange(start, stop)
    ragged, within = places >= total - total % size, places % size
    first, rows = (torch.where(ragged, getattr(last, n), getattr(full, n)) for n in ("first", "rows"))
    return (within >= first) & (within < first + rows)


def _joined(parts: list[tuple[Tensor, ...]], copied: bool) -> tuple[Tensor, ...]:
    """One batch of its parts; copied, where a view would keep a whole buffer in memory for as long as it lives."""
    return parts[0] if len(parts) == 1 and not copied else tuple(torch.cat(t) for t in zip(*parts, strict=True))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, of which a thread makes the next one while one is used."""
    with ThreadPoolExecutor(1, "reparam-reader") as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item
            del item  # else three are held while the one after next is made
