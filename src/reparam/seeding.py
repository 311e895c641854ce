"""Randomness that belongs to a row: noise decided by the row's content and a seed, and by nothing beside it.

Scores then do not depend on the order of the rows, on how they were cut into batches, or on which other rows were
asked for, while the noise of different rows is independent, as error bars over rows assume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor


def row_keys(x: Tensor, seed: int, purpose: str) -> list[int]:
    """One 63-bit key for each row of x, from its bytes, the seed and the purpose of the noise."""
    rows = x.detach().reshape(len(x), -1).cpu().contiguous().numpy()
    salt = f"{seed}:{purpose}".encode()
    return [int.from_bytes(blake2b(r.tobytes(), digest_size=8, key=salt[:64]).digest(), "big") >> 1 for r in rows]


def _fill(keys: list[int], shape: tuple[int, ...], like: Tensor, fill: Callable[..., Tensor]) -> Tensor:
    """A tensor (rows, *shape), each row filled from a generator with its own key."""
    out = torch.empty(len(keys), *shape, dtype=like.dtype)
    generator = torch.Generator()
    for row, key in zip(out, keys, strict=True):
        generator.manual_seed(key)
        fill(row, generator=generator)
    return out.to(like.device)


def normal(keys: list[int], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normal noise (rows, *shape) with the dtype and device of ``like``."""
    return _fill(keys, shape, like, Tensor.normal_)


def uniform(keys: list[int], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform noise on [0, 1), (rows, *shape), with the dtype and device of ``like``."""
    return _fill(keys, shape, like, Tensor.uniform_)


def derived(seed: int, purpose: str) -> int:
    """A seed of 63 bits for this purpose: its noise has nothing in common with what the seed itself decides."""
    return int.from_bytes(blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generators set to this seed inside the block, and as they were before after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def unmoved() -> Iterator[None]:
    """torch's global generators are after the block where they were before it."""
    with torch.random.fork_rng():
        yield
