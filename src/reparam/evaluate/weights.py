"""Log importance weights as they come: their mean, effective sample size and tail, in memory that k does not fill."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from reparam.errors import NonFiniteError
from reparam.evaluate.estimate import Estimate
from reparam.shapes import Float

Progress = Callable[[int, int], None]  # (rows done, rows in all)

_LEAST_TAIL = 5  # fewer weights say nothing about a tail
_EQUAL = 1e-9  # nats: weights that differ by less differ by rounding


def tail_length(k: int) -> int:
    """How many of k weights are its tail, min(k / 5, 3 sqrt k) (Vehtari et al. 2024, algorithm 1); 0 for too few."""
    length = math.ceil(min(0.2 * k, 3 * math.sqrt(k)))
    return length if length >= _LEAST_TAIL else 0


class LogWeights:
    """The k weights of each of some rows, summed in log space and in float64 as they come."""

    def __init__(self, rows: int, k: int) -> None:
        self.k = k
        self.total = torch.full((rows,), -math.inf, dtype=torch.float64)
        self.squares = self.total.clone()
        self.tail = tail_length(k)
        self.largest = torch.empty(rows, 0, dtype=torch.float64)

    def add(self, log_w: Float[Tensor, "s b"]) -> None:
        """Some more weights of each row."""
        log_w = log_w.double()
        self.total = torch.logaddexp(self.total, log_w.logsumexp(0).cpu())
        self.squares = torch.logaddexp(self.squares, (2 * log_w).logsumexp(0).cpu())
        if self.tail:
            known = torch.cat([self.largest, log_w.mT.cpu()], 1)
            self.largest = known.topk(min(self.tail + 1, known.shape[1])).values

    @property
    def log_mean(self) -> Float[Tensor, " b"]:
        """log of the mean weight, in nats."""
        return self.total - math.log(self.k)

    @property
    def ess(self) -> Float[Tensor, " b"]:
        """Kish's effective sample size, between 1 and k."""
        return (2 * self.total - self.squares).exp()

    @property
    def khat(self) -> Float[Tensor, " b"] | None:
        """The Pareto shape of the largest weights, or None where k is below 25."""
        return pareto_shape(self.largest) if self.tail else None


def pareto_shape(largest: Float[Tensor, "b m"]) -> Float[Tensor, " b"]:
    """k-hat: the shape of a generalised Pareto distribution fitted to the excess of weights over the least of them.

    The fit is the empirical Bayes estimate of Zhang & Stephens (2009), shrunk to 1/2 as by ten more observations
    (Vehtari et al. 2024, appendix C). Weights that are equal to rounding have no tail: -inf.

    Shapes: m - 1 tail weights in descending order, then the threshold, as logarithms.
    """
    peak, threshold = largest[:, :1], largest[:, -1:]
    # ascending excesses, in units of the largest weight
    excess = ((largest[:, :-1] - peak).exp() - (threshold - peak).exp()).flip(1).clamp_min(1e-300)
    n = excess.shape[1]
    size = 30 + math.isqrt(n)
    grid = 1 - (size / (torch.arange(1, size + 1, dtype=torch.float64) - 0.5)).sqrt()
    quartile = excess[:, int(n / 4 + 0.5) - 1, None]
    theta = 1 / excess[:, -1:] + grid / (3 * quartile)  # (b, size)
    shape = torch.log1p(-theta.unsqueeze(-1) * excess.unsqueeze(1)).mean(-1)
    profile = n * (torch.log(-theta / shape) - shape - 1)
    best = (theta * profile.softmax(1)).sum(1, keepdim=True)
    k = torch.log1p(-best * excess).mean(1)
    k = (n * k + 10 * 0.5) / (n + 10)
    k = torch.where((peak - threshold)[:, 0] < _EQUAL, -math.inf, k)
    return torch.where(peak[:, 0] == -math.inf, math.inf, k)  # no weight at all is above zero


def collect(
    parts: Iterable[tuple[slice, Tensor]], n: int, k: int, method: str, progress: Progress | None = None
) -> Estimate:
    """The estimate from all the log-weights of n rows, which come rows by rows and in parts (s, rows) of the k.

    What is kept of each row has its place beforehand: small tensors made among large ones that come and go would hold
    the heap open, and a process grow with the number of rows by far more than it keeps.

    Raises:
        NonFiniteError: for a weight that is not a number, naming the row.
    """
    log_mean, ess, khat = torch.full((3, n), math.nan, dtype=torch.float64).unbind()
    for _, same_rows in itertools.groupby(parts, key=lambda part: part[0].start):
        weights: LogWeights | None = None
        for at, log_w in same_rows:
            weights = LogWeights(at.stop - at.start, k) if weights is None else weights
            weights.add(log_w)
            if progress is not None:
                progress(at.stop, n)
        assert weights is not None
        if bool((bad := weights.total.isnan() | (weights.total == math.inf)).any()):
            row = at.start + int(bad.nonzero()[0, 0])
            raise NonFiniteError(f"a weight of row {row} is not finite: the model gives densities that are none there")
        log_mean[at], ess[at] = weights.log_mean, weights.ess
        if (tail := weights.khat) is not None:
            khat[at] = tail
    return Estimate.of(log_mean, k, method, ess, khat if tail_length(k) else None)
