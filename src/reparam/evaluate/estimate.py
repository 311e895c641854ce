"""An estimate and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reparam.shapes import Float

HEAVY = 0.7  # above this k-hat, importance sampling cannot be trusted at any practical k (Vehtari et al. 2024, 3.2.4)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over data, in nats per datum, with what it was made of.

    ``stderr`` is the standard error of the mean over data. The noise of different rows is independent, so that it
    holds the sampling of the data and the Monte Carlo noise alike; it does not hold a bias, such as that of a lower
    bound. It is NaN for one datum. ``stderr_repeats`` is that of the Monte Carlo noise alone, with the data as they
    are, from independent repeats; None without repeats.

    ``khat`` is the Pareto shape of each row's largest weights, None where there are too few weights or none, or where z
    is discrete: weights have finite moments up to order 1 / khat, and above 0.7 the estimate of that row is far too low
    more often than its noise shows.

    Shapes: per_datum, ess and khat (N,), float64; ess is the effective sample size, between 1 and k.
    """

    value: float
    stderr: float
    per_datum: Float[Tensor, " n"]
    k: int
    ess: Float[Tensor, " n"]
    method: str
    khat: Float[Tensor, " n"] | None = None
    stderr_repeats: float | None = None

    @staticmethod
    def of(per_datum: Tensor, k: int, method: str, ess: Tensor | None = None, khat: Tensor | None = None) -> Estimate:
        """The mean of these values and its standard error."""
        n = len(per_datum)
        stderr = float(per_datum.std()) / math.sqrt(n) if n > 1 else math.nan
        full = per_datum.new_full((n,), k)
        return Estimate(float(per_datum.mean()), stderr, per_datum, k, full if ess is None else ess, method, khat)

    @staticmethod
    def over(repeats: Sequence[Estimate]) -> Estimate:
        """The mean of independent repeats on the same data: values and ess are averaged, k-hat is the worst."""
        first = repeats[0]
        if len(repeats) == 1:
            return first
        per_datum, ess = (torch.stack([getattr(e, name) for e in repeats]).mean(0) for name in ("per_datum", "ess"))
        tails = [e.khat for e in repeats if e.khat is not None]
        khat = torch.stack(tails).amax(0) if tails else None
        mean = Estimate.of(per_datum, first.k, first.method, ess, khat)
        values = torch.tensor([e.value for e in repeats], dtype=torch.float64)
        noise = float(values.std()) / math.sqrt(len(repeats))
        return Estimate(mean.value, mean.stderr, per_datum, mean.k, ess, mean.method, khat, noise)

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        n = len(self.per_datum)
        words = [f"{self.value:.4f} ± {self.stderr:.4f} nats", self.method, f"k={self.k}", f"n={n}"]
        if self.stderr_repeats is not None:
            words.append(f"± {self.stderr_repeats:.4f} over repeats")
        if self.khat is not None and (heavy := int((self.khat > HEAVY).sum())):
            words.append(f"k-hat > {HEAVY} in {heavy} row{'s' * (heavy > 1)}")
        return f"Estimate({', '.join(words)})"
