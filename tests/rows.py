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
from reparam.distributions import unwrap

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


def cells(*columns: list[float]) -> Callable[[Distribution], tuple[Tensor, Tensor]]:
    """Every value of a discrete family, or so many that the rest holds less than 1e-13."""
    points = torch.tensor(list(product(*columns)), dtype=torch.float64)
    return lambda d: (points, torch.ones(len(points)))


def counted(n: int, total: int | None = None) -> Callable[[Distribution], tuple[Tensor, Tensor]]:
    """Counts below n, or those with this sum."""
    if total is None:
        return cells([*range(n)], [*range(n)])
    points = torch.tensor([[float(i), float(total - i)] for i in range(total + 1)], dtype=torch.float64)
    return lambda d: (points, torch.ones(len(points)))


Line = tuple[Tensor, Tensor]  # points and weights for one element


def plane_of(*lines: Line) -> tuple[Tensor, Tensor]:
    """The product rule of one rule for each element."""
    points = torch.cartesian_prod(*(x for x, _ in lines))
    return points, torch.cartesian_prod(*(w for _, w in lines)).prod(-1)


def panel(low: float, high: float, nodes: int = 100) -> Line:
    """Gauss-Legendre on an interval."""
    x, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
    return low + (high - low) * (x + 1) / 2, w * (high - low) / 2


def kinked(d: Distribution) -> tuple[Tensor, Tensor]:
    """Both sides of a kink at the mean, to 30 deviations: exp(-30 sqrt 2) < 1e-18 lies beyond."""
    x, w = (torch.cat(t) for t in zip(panel(-30, 0), panel(0, 30), strict=True))
    return plane_of(*((m + s * x, s * w) for m, s in zip(d.mean, d.stddev, strict=True)))


def heavy(d: Distribution) -> tuple[Tensor, Tensor]:
    """The plane by x = mean + width sinh(u), which makes power tails exponential: |u| to 26, |x| to 1e11."""
    u, w = panel(-26, 26, 500)
    scales = unwrap(d).parameters[2]
    return plane_of(*((m + s * u.sinh(), w * s * u.cosh()) for m, s in zip(d.mean, scales, strict=True)))


def quadrant(d: Distribution) -> tuple[Tensor, Tensor]:
    """Positive numbers by their logarithm, to 13 deviations of it."""
    u, w = panel(-13, 13, 100)
    lines = [(m + s * u, w * s) for m, s in zip(*unwrap(d).parameters, strict=True)]
    return plane_of(*((x.exp(), v * x.exp()) for x, v in lines))


def open_square(d: Distribution) -> tuple[Tensor, Tensor]:
    """The unit square by logits, to ±28: for concentrations above 1.1 less than 1e-13 lies beyond."""
    u, w = panel(-28, 28, 300)
    x = u.sigmoid()
    return plane_of((x, w * x * (-u).sigmoid()), (x, w * x * (-u).sigmoid()))


def real_and(values: list[float]) -> Callable[[Distribution], tuple[Tensor, Tensor]]:
    """A Gaussian column within 12 deviations, then a discrete one."""

    def grid(d: Distribution) -> tuple[Tensor, Tensor]:
        m, s = float(d.mean[0]), float(d.stddev[0])
        return plane_of(panel(m - 12 * s, m + 12 * s), (torch.tensor(values), torch.ones(len(values))))

    return grid


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
    unexpected: tuple[tuple[float, float], ...] = ((0.0, 1.0), (1.0, 0.0))  # data in the support, however improbable

    def make(self) -> nn.Module:
        return self.wrap(rp.networks.mlp(2, self.outputs, (3,), "tanh"))

    def flat(self, value: Tensor) -> nn.Module:
        """With a net that gives the same output everywhere."""
        return self.wrap(Constant(value))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.outputs,) if isinstance(self.outputs, int) else self.outputs
