"""Functions from vectors to the nearest of finitely many: a codebook that learns, and a fixed lattice.

A flat vector is a row of ``groups`` groups of ``dim`` numbers, each of which becomes one of ``codes`` vectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from reparam.errors import InputError
from reparam.networks.perceptron import as_shape

_WATCH = 0.99  # decay of the usage of a codebook that is learned by gradient


class Quantizer(nn.Module, ABC):
    """Finitely many vectors for each group, the same for all groups, by their number from 0 to ``codes`` - 1."""

    def __init__(self, groups: int, dim: int, codes: int) -> None:
        super().__init__()
        self.groups, self.dim, self.codes = as_shape((groups, dim, codes), "groups, dimensions and codes")

    def split(self, flat: Tensor) -> Tensor:
        """(..., groups * dim) to (..., groups, dim).

        Raises:
            InputError: for another number of elements.
        """
        if flat.shape[-1] != self.groups * self.dim:
            raise InputError(
                f"{self.groups} groups of {self.dim} numbers are {self.groups * self.dim}; there are {flat.shape[-1]}"
            )
        return flat.unflatten(-1, (self.groups, self.dim))

    @abstractmethod
    def forward(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """What is quantised, (..., groups * dim), and the number of the code of each group, (..., groups)."""

    @abstractmethod
    def vectors(self, index: Tensor) -> Tensor:
        """The codes of these numbers: (..., groups) to (..., groups * dim)."""

    @abstractmethod
    def nearest(self, each: Tensor) -> Tensor:
        """The number of the code nearest to each vector: (..., dim) to (...)."""

    def index(self, z: Tensor) -> Tensor:
        """The number of the code that each group is, -1 where it is none: (..., groups * dim) to (..., groups)."""
        found = self.nearest(self.split(z.detach()))
        hit = self.split(self.vectors(found) == z).all(-1)
        return torch.where(hit, found, -1)

    def absorb(self, encoded: Tensor, index: Tensor) -> None:
        """Learn from one batch of training, in place; a lattice learns nothing."""


class Codebook(Quantizer):
    """Vectors that follow what they stand for: exponential moving means, or a parameter where ``decay`` is None.

    ``table`` (codes, dim) holds the vectors. ``usage`` (codes,) is the moving mean of how often a batch uses each: N.
    ``absorb`` moves it by N <- decay N + (1 - decay) n, and the vectors by e <- e + (1 - decay) (s - n e) / N, with n
    the count and s the sum of the batch's vectors of that code: the update of van den Oord et al. (2017), eq. 6 to 8,
    without its second accumulator, which is N e.

    A code is dead when its usage is below ``dead`` times the mean usage, and so is every code before the first batch.
    It starts again, at the mean usage, from a vector of the batch that no code meets, drawn by torch's generator; where
    there are too few of these, the rest waits for the next batch.

    Raises:
        InputError: for sizes below 1, a decay outside [0, 1), or a ``dead`` outside [0, 1).
    """

    usage: Tensor
    table: Tensor

    def __init__(self, groups: int, dim: int, codes: int, decay: float | None = 0.99, dead: float = 0.03) -> None:
        super().__init__(groups, dim, codes)
        for name, value in (("decay", decay), ("dead", dead)):
            if value is not None and not 0 <= value < 1:
                raise InputError(f"{name} of a codebook is at least 0 and below 1, not {value!r}")
        self.decay, self.dead = decay, dead
        start = torch.randn(codes, dim)
        if decay is None:
            self.table = nn.Parameter(start)
        else:
            self.register_buffer("table", start)
        self.register_buffer("usage", torch.zeros(codes))

    def forward(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors as they are, and the nearest codes."""
        return out, self.nearest(self.split(out))

    def vectors(self, index: Tensor) -> Tensor:
        """Rows of the table, (..., groups * dim)."""
        return self.table[index].flatten(-2)

    @torch.no_grad()
    def nearest(self, each: Tensor) -> Tensor:
        """By differences and not by products: the distance of a code from itself is then zero, without rounding."""
        rows = each.reshape(-1, self.dim)
        distance = torch.cdist(rows, self.table.to(rows), compute_mode="donot_use_mm_for_euclid_dist")
        return distance.argmin(-1).reshape(each.shape[:-1])

    @torch.no_grad()
    def absorb(self, encoded: Tensor, index: Tensor) -> None:
        """One step of the moving means, and new starts for dead codes."""
        rows, found = self.split(encoded).reshape(-1, self.dim), index.reshape(-1)
        hits = one_hot(found, self.codes).to(rows)  # a product of matrices, since scattered sums are in no fixed order
        count, fresh = hits.sum(0), not bool(self.usage.any())
        if not fresh:
            share = 1 - (_WATCH if self.decay is None else self.decay)
            self.usage.lerp_(count, share)
            if self.decay is not None:
                step = (hits.T @ rows - count.unsqueeze(-1) * self.table) / self.usage.clamp_min(1e-30).unsqueeze(-1)
                self.table.add_(step, alpha=share)
        self._revive(rows, found, torch.ones_like(self.usage) if fresh else self.usage < self.dead * self.usage.mean())

    def _revive(self, rows: Tensor, found: Tensor, dead: Tensor) -> None:
        places = dead.nonzero().flatten()
        if not len(places):
            return
        free = rows[(rows != self.table[found]).any(-1)].unique(dim=0)
        chosen = free[torch.randperm(len(free))[: len(places)].to(free.device)]
        self.table[places[: len(chosen)]] = chosen
        self.usage[places[: len(chosen)]] = len(rows) / self.codes


class Lattice(Quantizer):
    """The points of a grid: ``levels`` values, evenly spaced from -1 to 1, in each of ``len(levels)`` dimensions.

    What is quantised is tanh of the output (Mentzer et al. 2024). Spacing is symmetric for even numbers of levels too,
    where the paper shifts it by half a step, so that two levels are -1 and 1.

    Raises:
        InputError: for fewer than 2 levels or sizes below 1.
    """

    top: Tensor
    place: Tensor

    def __init__(self, levels: Sequence[int], groups: int = 1) -> None:
        self_levels = as_shape(tuple(levels), "levels")
        if min(self_levels) < 2:
            raise InputError(f"a quantised number has at least 2 levels, not {min(self_levels)}")
        super().__init__(groups, len(self_levels), math.prod(self_levels))
        self.levels = self_levels
        self.register_buffer("top", torch.tensor(self_levels) - 1.0, persistent=False)
        places = [math.prod(self_levels[:i]) for i in range(len(self_levels))]
        self.register_buffer("place", torch.tensor(places), persistent=False)

    def forward(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """tanh, and the nearest points."""
        bounded = out.tanh()
        return bounded, self.nearest(self.split(bounded))

    def vectors(self, index: Tensor) -> Tensor:
        """The digits of the number, the first the fastest, as values from -1 to 1."""
        digits = index.unsqueeze(-1) // self.place % (self.top.long() + 1)
        return ((2 * digits - self.top) / self.top).flatten(-2)

    @torch.no_grad()
    def nearest(self, each: Tensor) -> Tensor:
        """By rounding, each dimension alone."""
        digits = ((each.clamp(-1, 1) + 1) / 2 * self.top).round().long()
        return (digits * self.place).sum(-1)
