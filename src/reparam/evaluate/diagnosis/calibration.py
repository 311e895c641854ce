"""Whether probabilities mean what they say: of q about z, and of p(x|z) about x."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset
from reparam.data.table import TableSchema
from reparam.evaluate.diagnosis.finding import Number
from reparam.evaluate.diagnosis.subject import Subject, posterior_draws, simulate
from reparam.evaluate.draws import batches, evaluating, rows_per_call
from reparam.shapes import Float
from reparam.vae import VAE, reference

_DRAWS = 63  # of x or z beside the one whose rank is taken: 64 ranks
_ELEMENTS = 1 << 24


def sbc(
    vae: VAE, data: Dataset, n: int = 1000, seed: int = 0, *, k: int = 1, table: TableSchema | None = None
) -> Float[Tensor, "n d"]:
    """Simulation-based calibration (Talts et al. 2018): where z lies among draws of q(z|x), in (0, 1).

    z is from the prior and x from p(x|z), so that z is an exact draw of p(z|x). Where q(z|x) is p(z|x), its rank among
    63 draws of q is uniform: the result, (rank + 1/2) / 64, in each dimension. Heaped at both ends, q is too narrow;
    in the middle, too wide; at one end, shifted. Contexts and holes, where the model has them, are those of ``data``.
    With ``k`` the draws are those of :func:`reparam.evaluate.diagnosis.subject.posterior_draws`.
    """
    simulated, z = simulate(vae, data, n, seed, table)
    ranks = []
    with evaluating(vae):
        for at, x, c in batches(simulated, reference(vae), max(1, rows_per_call(vae, data) // 8), seed):
            draws = posterior_draws(vae, x, c, seed, "sbc", _DRAWS, k)
            ranks.append((draws < z[at]).sum(0).double().cpu())
    return (torch.cat(ranks) + 0.5) / (_DRAWS + 1)


class Fit(NamedTuple):
    """How p(x|z) meets x, one value for each of N rows, float64; missing elements play no part.

    ``pit`` (N, E) is the probability integral transform of elements of x, NaN where they are missing; ``inside`` (N,)
    how many elements are in the central 80% of p(x|z), of ``seen`` (N,); ``square`` the sum of (x - E[x|z])² and
    ``variance`` that of Var[x|z], both (N,), None where the likelihood gives no moments.
    """

    pit: Tensor
    inside: Tensor
    seen: Tensor
    square: Tensor | None
    variance: Tensor | None

    @property
    def coverage(self) -> Number:
        """The share of the data in the central 80% of what is predicted for them: 0.8 where the model is right."""
        return Number.ratio(self.inside, self.seen)

    @property
    def dispersion(self) -> Number | None:
        """E (x - E[x|z])² / E Var[x|z]: 1 where the model is right, below where its scale is too large."""
        if self.square is None or self.variance is None or not bool(self.variance.sum() > 0):
            return None
        return Number.ratio(self.square, self.variance)


def fit_of(subject: Subject, elements: int = 200) -> Fit:
    """The fit of the likelihood to the subject's rows.

    If the model is right, (x, z) with z from p(z|x) is a draw of p(x, z), and the rank of x among draws of p(x|z), ties
    broken at random, is uniform: for discrete data that is the randomised transform (Czado et al. 2009).
    ``pit`` keeps that many elements, evenly spaced. Columns of a table come in units of the standard deviation that is
    predicted for them, a mean over rows, so that none counts for more by its unit.
    """
    pit, inside, seen, square, variance = [], [], [], [], []
    moments, table = True, len(subject.data.event_shape) == 1
    for _, x, p_x in subject.explained():
        flat = x.flatten(1)
        there = ~flat.isnan()
        u = _ranks(p_x, x, seeding.row_keys(x, subject.seed, "pit")).flatten(1)
        inside.append(((u > 0.1) & (u < 0.9) & there).double().sum(1).cpu())
        seen.append(there.double().sum(1).cpu())
        kept = torch.linspace(0, u.shape[1] - 1, min(elements, u.shape[1])).long()
        pit.append(torch.where(there, u, torch.nan)[:, kept].double().cpu())
        try:
            off, var = (flat - p_x.mean.flatten(1)).square().double(), p_x.variance.flatten(1).double()
        except NotImplementedError:
            moments = False
            continue
        off, var = (torch.where(there, t, 0.0).cpu() for t in (off, var))
        square.append(off if table else off.sum(1, keepdim=True))
        variance.append(var if table else var.sum(1, keepdim=True))
    known = moments and all(bool(v.isfinite().all()) for v in variance)
    whole = (torch.cat(pit), torch.cat(inside), torch.cat(seen))
    if not known:
        return Fit(*whole, None, None)
    every, expected = torch.cat(square), torch.cat(variance)
    mean = expected.mean(0)
    unit = torch.where(mean > 0, mean, torch.inf)
    return Fit(*whole, (every / unit).sum(1), (expected / unit).sum(1))


def _ranks(p_x: torch.distributions.Distribution, x: Tensor, keys: list[int]) -> Tensor:
    """(rank + uniform) / 64 of each element of x among 63 draws, with ties broken at random: uniform on (0, 1)."""
    below, ties = torch.zeros_like(x), torch.zeros_like(x)
    with seeding.seeded(keys[0] % 2**63):
        step = max(1, _ELEMENTS // x.numel())
        for start in range(0, _DRAWS, step):
            drawn = p_x.sample((min(step, _DRAWS - start),))
            below += (drawn < x).sum(0)
            ties += (drawn == x).sum(0)
        split = torch.rand_like(x)
        rank = below + (split * (ties + 1)).floor().clamp_max(ties)
        return (rank + torch.rand_like(x)) / (_DRAWS + 1)


class Distance(NamedTuple):
    """The largest distance between the distribution of some numbers and the uniform one, and what chance gives."""

    value: float
    chance: float
    where: int

    @property
    def number(self) -> Number:
        """The distance, with a standard error such that 4 of them are what chance gives once in 10,000."""
        return Number(self.value, self.chance / 4)


def from_uniform(u: Float[Tensor, "n d"], count: int | None = None) -> Distance:
    """Kolmogorov's distance from uniform, of the dimension where it is largest.

    ``count`` is the number of independent rows, N unless given. ``chance`` is the distance that one of D dimensions
    exceeds with probability 1e-4: 2 D exp(-2 n d²) = 1e-4 (Massart 1990).
    """
    n, dim = u.shape
    ordered = u.sort(0).values
    steps = torch.arange(1, n + 1, dtype=u.dtype).unsqueeze(1) / n
    gap = torch.maximum((steps - ordered).amax(0), (ordered - (steps - 1 / n)).amax(0))
    where = int(gap.argmax())
    return Distance(float(gap[where]), math.sqrt(math.log(2e4 * dim) / 2 / (count or n)), where)
