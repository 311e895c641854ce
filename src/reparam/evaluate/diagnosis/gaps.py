"""How far the bound is from log p(x), and whose fault it is: the encoder's, the family's of q, or nobody's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset
from reparam.distributions import from_standard_normal
from reparam.errors import InputError
from reparam.evaluate.diagnosis.finding import Number
from reparam.evaluate.draws import batches, evaluating
from reparam.evaluate.estimate import HEAVY
from reparam.evaluate.importance import grouped
from reparam.evaluate.likelihood import log_likelihood
from reparam.evaluate.refine import refined
from reparam.evaluate.weights import LogWeights, Progress
from reparam.objectives import require_density
from reparam.shapes import Float
from reparam.vae import VAE, reference

STEPS = 100  # of the search for the best q of each datum
EVEN = 0.9  # of the samples: with more effective ones weights are as good as equal
ANNEALING, CHAINS = 100, 16  # steps and chains, for rows that importance sampling cannot give
MANY = 0.2  # the share of such rows above which all rows are annealed
_TOGETHER = 64  # rows that are examined at once


class Gaps(NamedTuple):
    """The distance from a bound to log p(x), in two parts, for each datum, in nats (Cremer et al. 2018).

    ``amortisation`` is what the encoder loses against the best q of its family found for each datum alone;
    ``approximation`` is what that best q loses against p(z|x). Their sum is the gap. Both bounds are read with the
    same noise, which the search for the best q has not seen, so that no gap is lifted by it. The bound is the ELBO, or
    that of k samples for a model that was trained for it, whose q need not be good alone.

    Shapes: all (N,), float64; ``heavy`` says where k-hat of the importance weights is above 0.7, and log p(x) too low,
    unless the weights are as good as equal (an effective sample size above 0.9 k).
    """

    bound: Tensor
    best: Tensor
    log_p: Tensor
    heavy: Tensor

    @property
    def amortisation(self) -> Float[Tensor, " n"]:
        """The best bound of the family less the encoder's."""
        return self.best - self.bound

    @property
    def approximation(self) -> Float[Tensor, " n"]:
        """log p(x) less the best bound of the family."""
        return self.log_p - self.best

    def numbers(self, suffix: str = "") -> dict[str, Number]:
        """The means with their errors, differences paired by row."""
        parts = {
            "bound": self.bound,
            "log_likelihood": self.log_p,
            "amortisation_gap": self.amortisation,
            "approximation_gap": self.approximation,
        }
        return {f"{name}{suffix}": Number.mean(values) for name, values in parts.items()}


def gaps(
    vae: VAE,
    data: Dataset,
    seed: int = 0,
    *,
    steps: int = STEPS,
    samples: int = 1000,
    k: int = 1,
    progress: Progress | None = None,
) -> Gaps:
    """The gaps of these rows: :func:`reparam.evaluate.refined` finds the best q, ``samples`` draws make every number.

    log p(x) is estimated by importance sampling from an equal mixture of the encoder's q and the best one found (the
    balance heuristic), a lower bound in expectation. With ``k`` the bounds are the importance-weighted ones of k
    samples. A row's value depends on the row, the seed and the options alone.

    Raises:
        InputError: for a posterior without density, one that cannot be refined, and one whose draws no given noise
            decides.
    """
    parts, settled = [], refined(vae, steps, seed=seed)
    with evaluating(vae):
        for at, x, c in batches(data, reference(vae), _TOGETHER, seed):
            vae.check(x, *c, columns=data.columns, first_row=at.start)
            parts.append(_of_rows(vae, settled, x, c, seed, max(samples, 8 * k if k > 1 else 1), k))
            if progress is not None:
                progress(at.stop, len(data))
    return Gaps(*(torch.cat(t) for t in zip(*parts, strict=True)))


def annealed(vae: VAE, data: Dataset, found: Gaps, seed: int = 0) -> tuple[Gaps, int]:
    """The gaps, with log p(x) by annealed importance sampling where the weights of both q are too heavy; how many rows.

    The path starts at the best q, which is near where p(z|x) is. k-hat does not see all of the rows that are far off,
    so that where a fifth of them are heavy all are annealed; of two lower bounds in expectation the higher is kept. A
    row takes 16 chains of 100 transitions of 10 leapfrog steps, and a pilot of about as much: some 30,000 gradients of
    the decoder.
    """
    rows = found.heavy.nonzero().flatten()
    if len(rows) == 0:
        return found, 0
    if len(rows) > MANY * len(data):
        rows = torch.arange(len(data))
    best = refined(vae, STEPS, seed=seed)
    estimate = log_likelihood(best, data[rows], CHAINS, "ais", seed, steps=ANNEALING, start="posterior")
    log_p = found.log_p.clone()
    if estimate.value > float(log_p[rows].mean()):
        log_p[rows] = estimate.per_datum
    return found._replace(log_p=log_p), len(rows)


def _of_rows(
    vae: VAE, settled: VAE, x: Tensor, c: tuple[Tensor, ...], seed: int, samples: int, k: int
) -> Sequence[Tensor]:
    q = vae.posterior(x, *c)
    require_density(q, "a gap of the ELBO")
    best = settled.posterior(x, *c)
    half = max(1, samples // 2)
    bounds, weights = _Bounds(len(x), half, k), LogWeights(len(x), 2 * half)
    piece = max(1, 4096 // len(x))
    keys = seeding.row_keys(x, seed, "gaps")
    for eps in seeding.normal(keys, (half, q.event_shape[-1]), x).movedim(0, 1).split(piece):
        for i, (own, other) in enumerate(((q, best), (best, q))):
            z = from_standard_normal(own, eps)
            if z is None:
                raise InputError(f"no map from noise to draws of {type(own).__name__} is known")
            draw = vae.at(z, x, *c, q=own, check=False)
            bounds.add(i, len(eps), draw.reconstruction - draw.kl if k == 1 else draw.log_w)
            both = torch.logaddexp(draw.log_qz.double(), other.log_prob(z).double()) - math.log(2)
            weights.add(draw.log_px.double() + draw.log_pz.double() - both)
    # nearly equal weights have a tail too, in units of their spread, and it moves nothing
    spread = weights.ess < EVEN * weights.k
    heavy = spread & (weights.khat > HEAVY) if weights.khat is not None else torch.zeros_like(spread)
    return *bounds.means(), weights.log_mean, heavy


class _Bounds:
    """The bounds of two q, from pieces of their draws: of k = 1 the ELBO, with its KL in closed form."""

    def __init__(self, rows: int, draws: int, k: int) -> None:
        self.draws, self.k = draws, k
        self.elbos = [torch.zeros(rows, dtype=torch.float64) for _ in range(2)]
        self.log_w: list[list[Tensor]] = [[], []]

    def add(self, i: int, count: int, values: Tensor) -> None:
        """Of the i-th q, for so many draws more: the ELBO by them, (B,), or, for k > 1, their log-weights."""
        if self.k == 1:
            self.elbos[i] += count / self.draws * values.double().cpu()
        else:
            self.log_w[i].append(values.double().cpu())

    def means(self) -> tuple[Tensor, Tensor]:
        """Both bounds, (B,) each.

        The q of highest ELBO need not have the higher bound of k samples: half of the draws choose between it and the
        encoder's, and the other half give the value.
        """
        if self.k == 1:
            return self.elbos[0], self.elbos[1]
        own, best = (torch.cat(t) for t in self.log_w)
        middle = self.draws // 2
        chosen = grouped(best[:middle], self.k) > grouped(own[:middle], self.k)
        values = [grouped(t[middle:], self.k) for t in (own, best)]
        return values[0], torch.where(chosen, values[1], values[0])
