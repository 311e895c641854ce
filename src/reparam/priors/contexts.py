"""Contexts of priors that read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reparam.errors import InputError


def joined(contexts: Sequence[Tensor], size: int, like: Tensor) -> Tensor | None:
    """The contexts as one vector for each datum, (B, size), or None for a size of 0, where they are ignored.

    Raises:
        InputError: for contexts of another size in all.
    """
    if not size:
        return None
    c = torch.cat([t.flatten(1) for t in contexts], -1).to(like) if contexts else like[:0]
    if c.shape[-1] != size:
        raise InputError(f"this prior takes contexts of {size} numbers in all, not {c.shape[-1]}")
    return c
