"""Where discrete latents live: one-hot codes of some groups of classes, or bits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam.distributions.noise import element_support
from reparam.errors import InputError


class Codes(constraints.Constraint):
    """Vectors that are ``groups`` one-hot vectors of ``classes`` elements each, or with classes None so many bits.

    Raises:
        InputError: for fewer than 1 group or 2 classes.
    """

    is_discrete = True
    event_dim = 1

    def __init__(self, groups: int, classes: int | None = None) -> None:
        whole = [("groups", groups, 1), ("classes", classes, 2)]
        for name, number, least in whole[: 1 if classes is None else 2]:
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise InputError(f"{name} must be a whole number of at least {least}, not {number!r}")
        self.groups, self.classes = groups, classes

    @property
    def size(self) -> int:
        """The number of elements of a vector."""
        return self.groups * (self.classes or 1)

    @property
    def count(self) -> int:
        """How many such vectors there are."""
        return (self.classes or 2) ** self.groups

    def check(self, value: Tensor) -> Tensor:
        """Whether each vector is one of them: (..., size) to (...)."""
        bits = ((value == 0) | (value == 1)).all(-1)
        if self.classes is None:
            return bits
        return bits & (value.unflatten(-1, (self.groups, self.classes)).sum(-1) == 1).all(-1)

    def values(self, start: int, stop: int, like: Tensor) -> Tensor:
        """The vectors of numbers ``start`` to ``stop`` in one order of all, (stop - start, size)."""
        base = self.classes or 2
        number = torch.arange(start, stop, device=like.device).unsqueeze(-1)
        digits = number // base ** torch.arange(self.groups - 1, -1, -1, device=like.device) % base
        if self.classes is None:
            return digits.to(like.dtype)
        return torch.nn.functional.one_hot(digits, base).flatten(1).to(like.dtype)

    def __repr__(self) -> str:
        if self.classes is None:
            return "bits, each 0 or 1"
        return f"one-hot codes ({self.groups} group{'s' * (self.groups > 1)} of {self.classes} classes)"


def codes_of(d: Distribution) -> Codes | None:
    """The codes that the values (D,) of ``d`` are, or None where they are something else, or it does not tell."""
    support = element_support(d)
    if isinstance(support, Codes):
        return support
    if len(d.event_shape) != 1:
        return None
    if support is constraints.boolean:
        return Codes(d.event_shape[0])
    return Codes(1, d.event_shape[0]) if support is constraints.one_hot else None
