"""The angle to the mean direction of von Mises-Fisher: density ∝ sin(θ)^(D-2) exp(kappa cos θ) on [0, π].

One grid gives the normaliser, the mean, the distribution function, its inverse and its derivative by kappa. In the
angle the density is smooth for every D >= 2, and the grid covers 20 of its widths around its mode, so that
Gauss-Legendre with 8 points in each of 32 panels is exact to the rounding of float64 for kappa from 0 to 1e5; nothing
here evaluates a Bessel function. All of it is computed in float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_PANELS, _WIDTHS, _STEPS = 32, 20.0, 40
_NODES, _WEIGHTS = (
    torch.from_numpy((a + s) / 2) for a, s in zip(np.polynomial.legendre.leggauss(8), (1, 0), strict=True)
)


def _log_density(angle: Tensor, kappa: Tensor, dim: int) -> Tensor:
    """log of sin(θ)^(D-2) exp(kappa (cos θ - 1)), without cancellation at small angles."""
    tilt = -2 * kappa * (angle / 2).sin().square()
    return tilt if dim == 2 else tilt + (dim - 2) * angle.sin().clamp_min(1e-300).log()


class _Grid(NamedTuple):
    """Edges (*batch, P+1), angles (*batch, P, 8) and the logarithms of their quadrature weights."""

    edges: Tensor
    angle: Tensor
    log_weight: Tensor


@torch.no_grad()
def _grid(kappa: Tensor, dim: int) -> _Grid:
    n = dim - 2
    cos = 2 * kappa / (n + torch.sqrt(n**2 + 4 * kappa.square()))  # n cos θ = kappa sin² θ at the mode
    sin_squared = (1 - cos.square()).clamp_min(1e-12) if n else torch.ones_like(cos)
    width = (n / sin_squared + kappa * cos).clamp_min(1e-12).rsqrt()
    mode = cos.clamp(-1, 1).acos() if n else torch.zeros_like(cos)
    low, high = (mode - _WIDTHS * width).clamp_min(0), (mode + _WIDTHS * width).clamp_max(math.pi)
    step = (high - low).unsqueeze(-1) / _PANELS
    edges = low.unsqueeze(-1) + step * torch.arange(_PANELS + 1, dtype=kappa.dtype, device=kappa.device)
    nodes, weights = _NODES.to(kappa.device), _WEIGHTS.to(kappa.device)
    angle = edges[..., :-1, None] + step.unsqueeze(-1) * nodes
    return _Grid(edges, angle, (step.unsqueeze(-1) * weights).log().expand_as(angle))


def _log_mass(kappa: Tensor, dim: int) -> tuple[_Grid, Tensor]:
    """The grid, and log of the unnormalised mass at each of its points, differentiable by kappa."""
    grid = _grid(kappa.detach(), dim)
    return grid, grid.log_weight + _log_density(grid.angle, kappa[..., None, None], dim)


def log_mean_exp_cosine(concentration: Tensor, dim: int, shifted: bool = False) -> Tensor:
    """log E exp(kappa w), or with ``shifted`` log E exp(kappa (w - 1)), for w the cosine under the uniform law.

    It is log of Γ(ν+1) (2/kappa)^ν I_ν(kappa) with ν = D/2 - 1. Differentiable to any order.
    """
    kappa = concentration.double()
    log_beta = math.lgamma((dim - 1) / 2) + math.lgamma(0.5) - math.lgamma(dim / 2)
    value = _log_mass(kappa, dim)[1].flatten(-2).logsumexp(-1) - log_beta
    return (value if shifted else value + kappa).to(concentration.dtype)


def mean_cosine(concentration: Tensor, dim: int, shifted: bool = False) -> Tensor:
    """A_D(kappa) = I_{D/2}(kappa) / I_{D/2-1}(kappa), the mean of cos θ, or with ``shifted`` A - 1."""
    grid, log_mass = _log_mass(concentration.double(), dim)
    share = log_mass.flatten(-2).softmax(-1)
    down = -2 * (grid.angle / 2).sin().square().flatten(-2)
    mean = (share * down).sum(-1)
    return (mean if shifted else mean + 1).to(concentration.dtype)


@torch.no_grad()
def polar_angle(concentration: Tensor, dim: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The angle whose distribution function is Φ(-noise), and its derivative by kappa.

    Large noise gives small angles. The panel is found in a table; in it, bracketed Newton steps solve for the angle.

    Shapes: concentration (*batch,) and noise (..., *batch) give two tensors like noise.
    """
    kappa = concentration.double()
    grid, log_mass = _log_mass(kappa, dim)
    share = log_mass.flatten(-2).softmax(-1).unflatten(-1, (_PANELS, 8))
    mass = share.sum(-1)
    down = -2 * (grid.angle / 2).sin().square()
    pull = (share * (down - (share * down).sum((-2, -1), keepdim=True))).sum(-1)  # ∫ (cos θ - A) f over each panel
    shape = noise.shape
    target = torch.special.ndtr(-noise.double())
    ends = mass.cumsum(-1).expand(*shape, _PANELS)
    panel = (target.unsqueeze(-1) > ends[..., :-1]).sum(-1, keepdim=True)
    peak = log_mass.flatten(-2).logsumexp(-1).expand(shape)

    def pick(table: Tensor) -> Tensor:
        return table.expand(*shape, table.shape[-1]).gather(-1, panel).squeeze(-1)

    low, high = pick(grid.edges), pick(grid.edges[..., 1:])
    rest = (target - (pick(mass.cumsum(-1)) - pick(mass))).clamp_min(0)
    start, each = low, kappa.expand(shape).unsqueeze(-1)
    nodes, weights = _NODES.to(kappa.device), _WEIGHTS.to(kappa.device)

    def density(angle: Tensor) -> Tensor:
        return (_log_density(angle, each, dim) - peak.unsqueeze(-1)).exp()

    angle = low + (high - low) * (rest / pick(mass).clamp_min(1e-300)).clamp(0, 1)
    for _ in range(_STEPS):
        inside = start.unsqueeze(-1) + (angle - start).unsqueeze(-1) * nodes
        gap = (density(inside) * weights).sum(-1) * (angle - start) - rest
        low, high = torch.where(gap < 0, angle, low), torch.where(gap < 0, high, angle)
        newton = angle - gap / density(angle.unsqueeze(-1)).squeeze(-1)
        safe = (newton >= low) & (newton <= high)
        new = torch.where(safe, newton, (low + high) / 2)
        done = bool(((new - angle).abs() <= 1e-14 * angle).all())
        angle = new
        if done:
            break
    inside = start.unsqueeze(-1) + (angle - start).unsqueeze(-1) * nodes
    average = (share * down).sum((-2, -1)).expand(shape).unsqueeze(-1)
    excess = -2 * (inside / 2).sin().square() - average
    here = (density(inside) * excess * weights).sum(-1) * (angle - start)
    below = pick(pull.cumsum(-1) - pull) + here
    at = density(angle.unsqueeze(-1)).squeeze(-1).clamp_min(1e-300)
    return angle.to(noise.dtype), (-below / at).to(noise.dtype)
