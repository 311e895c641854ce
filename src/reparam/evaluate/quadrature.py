"""Integrals over the plane and the line, by panels that are split until the integral settles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from reparam.errors import InputError
from reparam.shapes import Float

_NODES = 8  # of the Gauss-Legendre rule of a panel, along each axis
_PANELS = {1: 64, 2: 16}  # at first, along each axis
_SETTLED = 5e-7  # nats by which the last halving of the panels may have changed the integral
_LEFT = 0.05  # the share of that which panels that are halved no more at one level may have changed together
_SMOOTH = 1.0  # nats from a highest node to the next: as little, and the peak between them is seen
_MATTERS = 30.0  # nats below the integral, from where a peak is of no account
_BUDGET = 1 << 23  # nodes

LogDensity = Callable[[Tensor], tuple[Tensor, Tensor]]  # (m, D) to log p(z) and log p(x|z), (m,) each


def log_integral(log_f: LogDensity, loc: Float[Tensor, " d"], scale: Float[Tensor, " d"], call: int) -> float:
    """log of the integral of p(z) p(x|z) over all of R^D for D = 1 or 2, to less than 1e-6 nats; all in float64.

    z = loc + scale v / (1 - v²) brings R^D to (-1, 1)^D. Panels of 8 Gauss-Legendre nodes along each axis are halved
    until halving changes the integral by less than 5e-7 of itself and, so that no mode is missed that is narrower
    than a panel, until no highest node stands out from the nodes beside it by more than a nat, unless what may be
    hidden there is below e^-30 of the whole, also if p(x|z) were e^30 times the highest that was seen.

    Raises:
        InputError: unless 8 million nodes are enough.
    """
    dim = len(loc)
    panels = _Panels(log_f, loc, scale, call)
    steps = _PANELS[dim]
    edge = torch.arange(steps, dtype=torch.float64) * 2 / steps - 1 + 1 / steps
    centres, half = torch.cartesian_prod(*[edge] * dim).reshape(-1, dim), 1 / steps
    before, _ = panels(centres, half)
    settled = torch.tensor(-math.inf, dtype=torch.float64)
    shifts = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=dim)), dtype=torch.float64)
    while len(centres):
        if panels.used + len(centres) * len(shifts) * _NODES**dim > _BUDGET:
            raise InputError(
                f"the integral over z has not settled to {_SETTLED:g} nats within {_BUDGET} points: choose method='ais'"
            )
        centres, half = (centres.unsqueeze(1) + half * shifts).reshape(-1, dim), half / 2
        after, peak = panels(centres, half)
        split = after.reshape(-1, len(shifts))
        whole = torch.logaddexp(settled, after.logsumexp(0))
        change = ((split.logsumexp(1) - whole).exp() - (before - whole).exp()).abs()
        hidden = (peak > whole - _MATTERS).reshape(split.shape).any(1)
        if not bool(hidden.any()) and float(change.sum()) < _SETTLED:
            return float(whole)
        ascending, order = change.sort()
        again = hidden.clone()
        again[order[ascending.cumsum(0) > _LEFT * _SETTLED]] = True
        settled = torch.logaddexp(settled, split[~again].flatten().logsumexp(0)) if bool((~again).any()) else settled
        keep = again.repeat_interleave(len(shifts))
        centres, before = centres[keep], after[keep]
    return float(settled)


class _Panels:
    """The log integral of each of some cubes of (-1, 1)^D, and how high a peak may be that their nodes do not show."""

    def __init__(self, log_f: LogDensity, loc: Tensor, scale: Tensor, call: int) -> None:
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_NODES))
        self.dim = len(loc)
        self.nodes = torch.cartesian_prod(*[nodes] * self.dim).reshape(-1, self.dim)
        self.log_weights = torch.cartesian_prod(*[weights] * self.dim).reshape(-1, self.dim).log().sum(1)
        self.log_f, self.loc, self.scale, self.call, self.used = log_f, loc, scale, call, 0
        self.highest = -math.inf  # log p(x|z) seen so far

    def __call__(self, centres: Float[Tensor, "m d"], half: float) -> tuple[Tensor, Tensor]:
        """(m,) and (m,), for cubes of this half width."""
        v = centres.unsqueeze(1) + half * self.nodes
        z = self.loc + self.scale * v / (1 - v.square())
        jacobian = (self.scale.log() + torch.log1p(v.square()) - 2 * torch.log1p(-v.square())).sum(-1)
        flat = z.reshape(-1, self.dim)
        self.used += len(flat)
        parts = [self.log_f(part) for part in flat.split(self.call)]
        prior, likelihood = (torch.cat(t).reshape(jacobian.shape) for t in zip(*parts, strict=True))
        values = prior + likelihood + jacobian
        if bool((values.isnan() | (values == math.inf)).any()):
            raise InputError("the model's density is not finite everywhere in z: choose method='ais'")
        log_half = self.dim * math.log(half)
        self.highest = max(self.highest, float(likelihood.max()))
        most = (prior + jacobian).amax(1) + self.highest + _MATTERS
        return (values + self.log_weights).logsumexp(1) + log_half, torch.minimum(self._hidden(values), most) + log_half

    def _hidden(self, values: Float[Tensor, "m n"]) -> Float[Tensor, " m"]:
        """How high each panel's density may rise at a peak between its nodes; -inf where the nodes show all peaks."""
        grid = values.reshape(-1, *[_NODES] * self.dim)
        highest, slope = torch.ones_like(grid, dtype=torch.bool), torch.zeros_like(grid)
        for axis in range(1, self.dim + 1):
            rise = grid.diff(dim=axis)
            rise = torch.where(rise.isfinite(), rise, 0.0)  # the density may be zero at a node
            end = torch.zeros_like(grid.narrow(axis, 0, 1))
            to_next, from_last = torch.cat([rise, end], axis), torch.cat([end, rise], axis)
            highest &= (to_next <= 0) & (from_last >= 0)
            slope = torch.maximum(slope, torch.maximum(to_next.abs(), from_last.abs()))
        bound = torch.where(highest & (slope > _SMOOTH), grid + slope, -math.inf)
        return bound.flatten(1).amax(1)
