"""The output of a net cut into two parameters for each dimension."""

from __future__ import annotations

from torch import Tensor

from reparam.errors import InputError


def halves(out: Tensor, name: str, first: str, second: str) -> tuple[Tensor, Tensor]:
    """The two halves of the last dimension.

    Raises:
        InputError: if it is odd, saying what the posterior ``name`` needs.
    """
    if out.shape[-1] % 2:
        raise InputError(
            f"{name} needs D {first} and D {second}, an even number of outputs; its net gives {out.shape[-1]}"
        )
    a, b = out.chunk(2, -1)
    return a, b
