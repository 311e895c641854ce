"""Distribution functions that torch lacks, and their inverses by bisection: in float64, without gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reparam.distributions.saddle import log_binomial

_TERMS = 10_000  # of the continued fraction: it needs about the square root of the larger parameter
_LARGEST = 2.0**60  # a count beyond which none is looked for


def beta_cdf(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The regularised incomplete beta function I_x(a, b), with y = 1 - x: the distribution function of Beta(a, b).

    By its continued fraction (Abramowitz & Stegun 26.5.8), on the side of the mean where it converges fast.
    """
    a, b, x, y = torch.broadcast_tensors(a.double(), b.double(), x.double(), y.double())
    swap = x * (a + b + 2) > a + 1
    p, q = torch.where(swap, b, a), torch.where(swap, a, b)
    u, v = torch.where(swap, y, x), torch.where(swap, x, y)
    tail = (log_binomial(p, q, u.log(), v.log()) + q.log() - (p + q).log()).exp() * _fraction(p, q, u)
    tail = torch.where(u <= 0, 0.0, tail)
    return torch.where(swap, 1 - tail, tail).clamp(0, 1)


def _fraction(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """The continued fraction from its first term on, by Lentz's method."""
    c, d = torch.ones_like(x), 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + term * d), 1 + term / c
            value = value * d * c
        if m % 8 == 0 and bool(((d * c - 1).abs() < 1e-15).all()):
            break
    return value


@torch.no_grad()
def smallest_count(cdf: Callable[[Tensor], Tensor], u: Tensor, shape: torch.Size, top: float = torch.inf) -> Tensor:
    """The smallest whole number k from 0 to ``top`` with cdf(k) >= u; infinite where u is 1 and there is no largest.

    Shapes: u broadcasts to ``shape``, which cdf maps to itself.
    """
    u = u.double().expand(shape)
    low, high = torch.full_like(u, -1.0), torch.full_like(u, min(1.0, top))
    while bool((short := (cdf(high) < u) & (high < min(top, _LARGEST))).any()):
        low, high = torch.where(short, high, low), torch.where(short, (2 * high).clamp_max(top), high)
    while bool((apart := high - low > 1).any()):
        middle = ((low + high) / 2).floor().clamp_min(0)
        enough = cdf(middle) >= u
        low = torch.where(apart & ~enough, middle, low)
        high = torch.where(apart & enough, middle, high)
    return high if top < torch.inf else torch.where((u >= 1) | (high >= _LARGEST), torch.inf, high)


@torch.no_grad()
def root(increasing: Callable[[Tensor], Tensor], u: Tensor, reach: float, steps: int = 80) -> Tensor:
    """Where an increasing function of one number, defined between -reach and reach, is u."""
    return between(increasing, u, torch.full_like(u, -reach), torch.full_like(u, reach), steps)


@torch.no_grad()
def between(increasing: Callable[[Tensor], Tensor], u: Tensor, low: Tensor, high: Tensor, steps: int = 80) -> Tensor:
    """Where an increasing function is u, known to be between ``low`` and ``high``: all of one shape."""
    for _ in range(steps):
        middle = (low + high) / 2
        below = increasing(middle) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
