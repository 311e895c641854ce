"""Penalties that compare the rows of a batch with each other.

Their values depend on the batch, as the estimates of the papers do: they converge as it grows. A batch of one row tells
nothing of this kind and is not penalised.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from reparam.errors import InputError
from reparam.objectives.penalties.base import Penalty
from reparam.shapes import Float
from reparam.vae import Draw, has_density


class Terms(NamedTuple):
    """The mean KL over data as three parts (Hoffman & Johnson 2016; Chen et al. 2018, eq. 2), scalars in nats."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def log_stratified_weights(batch: int, rows: int, like: Tensor) -> Float[Tensor, "b b"]:
    """Log weights by which the mean of q(z_i|x_j) over j estimates q(z_i), for a batch of ``rows`` data, (B, B).

    x_i itself is always in the sum, as 1 of ``rows`` data; the others stand for all the rest: 1/N on the diagonal and
    (N - 1) / (N (B - 1)) elsewhere, so rows sum to one. This is the mean of the minibatch-stratified weights of Chen et
    al. (2018, appendix C.2) over the orders of the batch: as unbiased, with less variance, and blind to the order.
    """
    if batch < 2:
        raise InputError("the aggregate posterior of a batch needs at least 2 rows")
    n = max(rows, batch)
    log_w = like.new_full((batch, batch), math.log((n - 1) / (n * (batch - 1))))
    return log_w.fill_diagonal_(-math.log(n))


def decompose(draw: Draw, rows: int) -> Terms:
    """The batch's estimates of I(x; z), of the total correlation of q(z) and of Σ_j KL(q(z_j) || p(z_j)).

    Their sum is the Monte Carlo KL where the prior is independent over dimensions. Work and memory grow with K B² D.

    Raises:
        InputError: for a batch of one, a q without density or known marginals, or a prior that is not independent.
    """
    log_q, log_q_each = _log_aggregate(draw, rows), _log_aggregate_marginals(draw, rows)
    log_p_each = _marginals(draw.p, "the prior", independent=True).log_prob(draw.z)
    return Terms(
        (draw.log_qz - log_q).mean(),
        (log_q - log_q_each.sum(-1)).mean(),
        (log_q_each - log_p_each).sum(-1).mean(),
    )


def _log_aggregate(draw: Draw, rows: int) -> Tensor:
    """log q(z) of each sample, (K, B), by the batch."""
    if not has_density(draw.q):
        raise InputError("the aggregate posterior needs a density of q(z|x), and a Point posterior has none")
    log_w = log_stratified_weights(draw.z.shape[1], rows, draw.log_qz)
    # z of (K, B, 1, D) against q of batch (B,): [k, i, j] is log q(z_ki | x_j)
    return (draw.q.log_prob(draw.z.unsqueeze(2)) + log_w).logsumexp(2)


def _log_aggregate_marginals(draw: Draw, rows: int) -> Tensor:
    """log q(z_j) of each element of each sample, (K, B, D), by the batch."""
    log_w = log_stratified_weights(draw.z.shape[1], rows, draw.log_qz)
    return (_marginals(draw.q, "q(z|x)").log_prob(draw.z.unsqueeze(2)) + log_w.unsqueeze(-1)).logsumexp(2)


class TotalCorrelation(Penalty):
    """KL(q(z) || Π_j q(z_j)) of the aggregate posterior, in nats (Chen et al. 2018): see ``decompose``.

    The beta-TCVAE with weight beta is the ELBO with this penalty weighted beta - 1.
    """

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The second term of the KL, a scalar in nats."""
        return (_log_aggregate(draw, rows) - _log_aggregate_marginals(draw, rows).sum(-1)).mean()


class MutualInformation(Penalty):
    """I(x; z) under q, in nats, at most log of the number of data (Chen et al. 2018): see ``decompose``."""

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The first term of the KL, a scalar in nats."""
        return (draw.log_qz - _log_aggregate(draw, rows)).mean()


class DimensionwiseKL(Penalty):
    """Σ_j KL(q(z_j) || p(z_j)) of the aggregate posterior, in nats (Chen et al. 2018): see ``decompose``."""

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The third term of the KL, a scalar in nats."""
        return decompose(draw, rows).dimension_wise_kl


class DIP(Penalty):
    """Σ_i≠j C_ij² + diagonal Σ_i (C_ii - 1)², C a covariance over data (Kumar et al. 2018).

    ``kind`` "I": C is that of the means of q(z|x); "II": that of z, with the mean covariance of q(z|x) added.
    ``diagonal`` is 10 for I and 1 for II unless given, as in the paper; the weight of the penalty is its λ_od.

    Raises:
        InputError: for another kind or a negative diagonal; at the first draw, for "II", where the covariance of q is
            not known.
    """

    def __init__(self, kind: Literal["I", "II"] | str = "II", diagonal: float | None = None) -> None:
        if kind not in ("I", "II"):
            raise InputError(f"kind is 'I' or 'II', not {kind!r}")
        self.kind, self.diagonal = kind, (10.0 if kind == "I" else 1.0) if diagonal is None else float(diagonal)
        if not 0 <= self.diagonal < math.inf:
            raise InputError(f"diagonal must not be negative: {diagonal}")

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The weighted squares of C - I, a scalar."""
        covariance = draw.q.mean.mT.cov().reshape(draw.z.shape[-1], -1)
        if self.kind == "II":
            covariance = covariance + _covariance(draw.q).mean(0)
        squares = (covariance - torch.eye(len(covariance)).to(covariance)).square()
        on = squares.diagonal().sum()
        return squares.sum() - on + self.diagonal * on


class MMD(Penalty):
    """The squared maximum mean discrepancy of q(z) and p(z), by one sample of z for each datum (Gretton et al. 2012).

    The unbiased U-statistic so it may be negative. Kernels of the squared distance r: "rbf" exp(-r / 2s) and
    "imq" s / (s + r), with s = scale D for each of ``scales``, summed over them; with D dimensions, s = 2 D is the
    mean squared distance of two draws of N(0, I) (Tolstikhin et al. 2018; Zhao et al. 2019).

    Raises:
        InputError: for an unknown kernel, no scale, or a scale that is not positive.
    """

    def __init__(self, kernel: Literal["imq", "rbf"] | str = "imq", scales: tuple[float, ...] = (2.0,)) -> None:
        if kernel not in ("imq", "rbf"):
            raise InputError(f"kernel is 'imq' or 'rbf', not {kernel!r}")
        if not scales or not all(0 < s < math.inf for s in scales):
            raise InputError(f"scales must be positive numbers: {scales}")
        self.kernel, self.scales = kernel, tuple(float(s) for s in scales)

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The mean over k of the statistic of (B, D) samples of q(z) against as many of the prior, a scalar."""
        shape = draw.z.shape[: 1 if draw.p.batch_shape else 2]
        y = draw.p.rsample(shape) if draw.p.has_rsample else draw.p.sample(shape)
        return self.statistic(draw.z, y).mean()

    def statistic(self, x: Float[Tensor, "*k n d"], y: Float[Tensor, "*k m d"]) -> Float[Tensor, "*k"]:
        """The U-statistic of two samples: unbiased for the squared distance of their distributions."""
        n, m = x.shape[-2], y.shape[-2]
        one = len(self.scales)  # the kernel of a point with itself, which the statistic leaves out
        within_x = (self._sum(x, x) - n * one) / (n * (n - 1))
        within_y = (self._sum(y, y) - m * one) / (m * (m - 1))
        return within_x + within_y - 2 * self._sum(x, y) / (n * m)

    def _sum(self, x: Tensor, y: Tensor) -> Tensor:
        """The kernel summed over all pairs."""
        square = (x.unsqueeze(-2) - y.unsqueeze(-3)).square().sum(-1)
        total = x.new_zeros(())
        for scale in self.scales:
            s = scale * x.shape[-1]
            values = torch.exp(-square / (2 * s)) if self.kernel == "rbf" else s / (s + square)
            total = total + values.sum((-2, -1))
        return total


class HSIC(Penalty):
    """How much z depends on the contexts: the Hilbert-Schmidt independence criterion (Gretton et al. 2005).

    The unbiased U-statistic of Song et al. (2012), which may be negative, of one sample of z for each datum. Both
    kernels are exp(-r / 2s) of the squared distance r: for z, s = scale D as in MMD; for the contexts, all of them one
    behind the other, s is the mean r of the batch, whatever their units (one-hot labels: equal or not). Without
    contexts there is nothing to depend on: 0. Pressed to zero, z does not tell the contexts (Lopez et al. 2018).

    Raises:
        InputError: for a scale that is not positive.
    """

    least_rows = 4

    def __init__(self, scale: float = 2.0) -> None:
        if not 0 < scale < math.inf:
            raise InputError(f"scale must be positive and finite: {scale}")
        self.scale = float(scale)

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The mean over k of the statistic of (B, D) samples of q(z) and the contexts, a scalar."""
        z = draw.z
        if not draw.contexts:
            return 0.0 * z.sum()
        c = torch.cat([t.flatten(1).to(z.dtype) for t in draw.contexts], 1)
        r = _square_distances(c)
        given = torch.exp(-r / (2 * r.mean().clamp_min(torch.finfo(r.dtype).tiny)))
        of_z = torch.exp(-_square_distances(z) / (2 * self.scale * z.shape[-1]))
        return self.statistic(of_z, given).mean()

    def statistic(self, a: Float[Tensor, "*k n n"], b: Float[Tensor, "n n"]) -> Float[Tensor, "*k"]:
        """The U-statistic of two kernel matrices: unbiased for the squared norm of their cross-covariance."""
        n = b.shape[-1]
        off = 1 - torch.eye(n).to(b)
        a, b = a * off, b * off
        trace, sides = (a * b).sum((-2, -1)), a.sum((-2, -1)) * b.sum() / ((n - 1) * (n - 2))
        across = (a.sum(-2) * b.sum(-2)).sum(-1) * 2 / (n - 2)
        return (trace + sides - across) / (n * (n - 3))


def _square_distances(x: Float[Tensor, "*k n d"]) -> Float[Tensor, "*k n n"]:
    return (x.unsqueeze(-2) - x.unsqueeze(-3)).square().sum(-1)


def _marginals(d: Distribution, name: str, independent: bool = False) -> Distribution:
    """The distribution of each dimension alone, with the dimensions in the batch shape."""
    if isinstance(d, Independent) and d.reinterpreted_batch_ndims == 1 and d.base_dist.event_shape == ():
        return d.base_dist
    if isinstance(d, MultivariateNormal) and not independent:
        return Normal(d.loc, d.variance.sqrt(), validate_args=False)
    what = "independent over dimensions" if independent else "Gaussian or independent over dimensions"
    kind = type(d).__name__ if has_density(d) else "a point mass"
    raise InputError(f"the terms of the KL need {name} to be {what}, and it is {kind}")


def _covariance(q: Distribution) -> Float[Tensor, "b d d"]:
    if isinstance(q, MultivariateNormal):
        return q.covariance_matrix
    if isinstance(q, Independent):
        return torch.diag_embed(q.variance)
    raise InputError(f"DIP 'II' needs the covariance of q(z|x), and that of {type(q).__name__} is not known: take 'I'")
