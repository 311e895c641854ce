"""What a row of the table of laws (test_laws.py) is, and grids that sum or integrate densities of two elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import reparam as rp
from models import Constant

NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(100))
LATENT, EVENT = 2, (2,)


def bits(d: Distribution) -> tuple[Tensor, Tensor]:
    return torch.tensor(list(product([0.0, 1.0], repeat=2))), torch.ones(4)


def box(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """A product rule of 100 x 100 points."""
    points = torch.cartesian_prod(*(a + (b - a) * (NODES + 1) / 2 for a, b in zip(low, high, strict=True)))
    return points, torch.cartesian_prod(WEIGHTS, WEIGHTS).prod(-1) * (high - low).prod() / 4


def square(d: Distribution) -> tuple[Tensor, Tensor]:
    return box(torch.zeros(2), torch.ones(2))


def plane(d: Distribution) -> tuple[Tensor, Tensor]:
    """The plane within 12 standard deviations: less than 1e-30 of a Gaussian lies beyond."""
    return box(d.mean - 12 * d.stddev, d.mean + 12 * d.stddev)


def atom(d: Distribution) -> tuple[Tensor, Tensor]:
    """A point mass is a density with respect to counting."""
    return torch.stack([d.mean, d.mean + 1e-9]), torch.ones(2)


@dataclass(frozen=True)
class Row:
    """A class with one choice of its options: how it is made from a net, and what its net gives."""

    cls: type
    wrap: Callable[..., nn.Module]
    outputs: int | tuple[int, ...]
    grid: Callable[[Distribution], tuple[Tensor, Tensor]]
    outside: tuple[float, ...] = ()

    def make(self) -> nn.Module:
        return self.wrap(rp.networks.mlp(2, self.outputs, (3,), "tanh"))

    def flat(self, value: Tensor) -> nn.Module:
        """With a net that gives the same output everywhere."""
        return self.wrap(Constant(value))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.outputs,) if isinstance(self.outputs, int) else self.outputs
