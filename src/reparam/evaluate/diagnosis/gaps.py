"""How far the ELBO is from log p(x), and whose fault it is: the encoder's, the family's of q, or nobody's."""

from __future__ import annotations

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
from reparam.evaluate.refine import refined
from reparam.evaluate.weights import LogWeights, Progress
from reparam.objectives import require_density
from reparam.shapes import Float
from reparam.vae import VAE, reference

STEPS = 100  # of the search for the best q of each datum
EVEN = 0.9  # of the samples: with more effective ones weights are as good as equal
_TOGETHER = 64  # rows that are examined at once


class Gaps(NamedTuple):
    """The distance from the ELBO to log p(x), in two parts, for each datum, in nats (Cremer et al. 2018).

    ``amortisation`` is what the encoder loses against the best q of its family found for each datum alone;
    ``approximation`` is what that best q loses against p(z|x). Their sum is the gap. Both ELBOs are read with the
    same noise, which the search for the best q has not seen, so that no gap is lifted by it.

    Shapes: all (N,), float64; ``heavy`` says where k-hat of the importance weights is above 0.7, and log p(x) too low,
    unless the weights are as good as equal (an effective sample size above 0.9 k).
    """

    elbo: Tensor
    best: Tensor
    log_p: Tensor
    heavy: Tensor

    @property
    def amortisation(self) -> Float[Tensor, " n"]:
        """The best ELBO of the family less the encoder's."""
        return self.best - self.elbo

    @property
    def approximation(self) -> Float[Tensor, " n"]:
        """log p(x) less the best ELBO of the family."""
        return self.log_p - self.best

    def numbers(self, suffix: str = "") -> dict[str, Number]:
        """The means with their errors, differences paired by row."""
        parts = {
            "elbo": self.elbo,
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
    progress: Progress | None = None,
) -> Gaps:
    """The gaps of these rows: :func:`reparam.evaluate.refined` finds the best q, ``samples`` draws make every number.

    log p(x) is estimated by importance sampling from an equal mixture of the encoder's q and the best one found (the
    balance heuristic), a lower bound in expectation. A row's value depends on the row, the seed and the options alone.

    Raises:
        InputError: for a posterior without density, one that cannot be refined, and one whose draws no given noise
            decides.
    """
    parts, settled = [], refined(vae, steps, seed=seed)
    with evaluating(vae):
        for at, x, c in batches(data, reference(vae), _TOGETHER, seed):
            vae.check(x, *c, columns=data.columns, first_row=at.start)
            parts.append(_of_rows(vae, settled, x, c, seed, samples))
            if progress is not None:
                progress(at.stop, len(data))
    return Gaps(*(torch.cat(t) for t in zip(*parts, strict=True)))


def _of_rows(vae: VAE, settled: VAE, x: Tensor, c: tuple[Tensor, ...], seed: int, samples: int) -> Sequence[Tensor]:
    q = vae.posterior(x, *c)
    require_density(q, "a gap of the ELBO")
    best = settled.posterior(x, *c)
    half = max(1, samples // 2)
    elbos, weights = [torch.zeros(len(x), dtype=torch.float64) for _ in range(2)], LogWeights(len(x), 2 * half)
    piece = max(1, 4096 // len(x))
    keys = seeding.row_keys(x, seed, "gaps")
    for eps in seeding.normal(keys, (half, q.event_shape[-1]), x).movedim(0, 1).split(piece):
        for i, (own, other) in enumerate(((q, best), (best, q))):
            z = from_standard_normal(own, eps)
            if z is None:
                raise InputError(f"no map from noise to draws of {type(own).__name__} is known")
            draw = vae.at(z, x, *c, q=own, check=False)
            share = len(eps) / half
            elbos[i] += share * (draw.reconstruction - draw.kl).double().cpu()
            both = torch.logaddexp(draw.log_qz.double(), other.log_prob(z).double()) - torch.tensor(2.0).double().log()
            weights.add(draw.log_px.double() + draw.log_pz.double() - both)
    # nearly equal weights have a tail too, in units of their spread, and it moves nothing
    spread = weights.ess < EVEN * weights.k
    heavy = spread & (weights.khat > HEAVY) if weights.khat is not None else torch.zeros_like(spread)
    return elbos[0], elbos[1], weights.log_mean, heavy
