"""An estimate and how far it can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from reparam.shapes import Float


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over data, in nats per datum, with what it was made of.

    ``stderr`` is the standard error of the mean over data. The noise of different rows is independent, so that it
    holds the sampling of the data and the Monte Carlo noise alike; it does not hold a bias, such as that of a lower
    bound. It is NaN for one datum.

    Shapes: per_datum and ess (N,), float64; ess is the effective sample size, between 1 and k.
    """

    value: float
    stderr: float
    per_datum: Float[Tensor, " n"]
    k: int
    ess: Float[Tensor, " n"]
    method: str

    @staticmethod
    def of(per_datum: Tensor, k: int, method: str, ess: Tensor | None = None) -> Estimate:
        """The mean of these values and its standard error."""
        n = len(per_datum)
        stderr = float(per_datum.std()) / math.sqrt(n) if n > 1 else math.nan
        full = per_datum.new_full((n,), k)
        return Estimate(float(per_datum.mean()), stderr, per_datum, k, full if ess is None else ess, method)

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        n = len(self.per_datum)
        return f"Estimate({self.value:.4f} ± {self.stderr:.4f} nats, {self.method}, k={self.k}, n={n})"
