"""The latent space: what each dimension carries, what z tells about x, and how the codes fill the prior."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from reparam import seeding
from reparam.data import Dataset
from reparam.distributions import unwrap
from reparam.evaluate.diagnosis.finding import Number
from reparam.evaluate.draws import batches, evaluating, rows_per_call, sample_rows
from reparam.objectives import require_density
from reparam.shapes import Float
from reparam.vae import VAE, reference

_CELLS = 1 << 23  # log densities of one call: z x rows x dimensions


class Codes(NamedTuple):
    """One draw of q(z|x) for each of N rows, with what is known of its densities; float64, nats.

    ``each`` are the KL of q_j(z_j|x) from p_j(z_j) for each dimension, None unless both have Gaussian or independent
    marginals. ``total`` is log 1/N Σ_j q(z_i|x_j) of each draw z_i, ``others`` the same over the N - 1 rows j ≠ i;
    both also for each dimension alone, None as ``each``.

    Shapes: z, mean and each (N, D); kl, log_qz, log_pz, total and others (N,); the last two (N, D).
    """

    z: Tensor
    mean: Tensor
    kl: Tensor
    log_qz: Tensor
    log_pz: Tensor
    total: Tensor
    others: Tensor
    each: Tensor | None
    log_pz_each: Tensor | None
    others_each: Tensor | None
    shared_prior: bool


def marginals(d: Distribution) -> Distribution | None:
    """The distributions of the elements of z, batch (..., D), event (); None where they have no known form."""
    base = unwrap(d)
    if isinstance(d, MultivariateNormal | LowRankMultivariateNormal):
        return Normal(d.mean, d.variance.sqrt(), validate_args=False)
    return base if isinstance(d, Independent) and base.event_shape == () and len(d.event_shape) == 1 else None


def codes(vae: VAE, data: Dataset, seed: int = 0) -> Codes:
    """The codes of these rows, all of which stand for the aggregate posterior. Cost: N² evaluations of q.

    Raises:
        InputError: for a posterior without density.
    """
    like, rows = reference(vae), rows_per_call(vae, data)
    with evaluating(vae):
        parts = [_rows(vae, x, c, seed) for _, x, c in batches(data, like, rows, seed)]
        z, mean, kl, log_qz, log_pz = (torch.cat(t) for t in zip(*(p.always for p in parts), strict=True))
        apart = [p.apart for p in parts if p.apart is not None]
        each, known = (torch.cat(t) for t in zip(*apart, strict=True)) if apart else (None, None)
        sums = _Sums(z, each is not None)
        for at, x, c in batches(data, like, rows, seed):
            sums.add(vae, x, c, at.start)
    n = len(z)
    more = math.log(max(1, n - 1))
    others_each = None if sums.each is None else sums.each - more
    shared = all(p.shared for p in parts)
    total, others = sums.total - math.log(n), sums.others - more
    return Codes(z, mean, kl, log_qz, log_pz, total, others, each, known, others_each, shared)


class _Part(NamedTuple):
    """Of some rows: z, mean, kl, log_qz, log_pz; KL and log p(z) by dimension; whether all rows have one prior."""

    always: tuple[Tensor, ...]
    apart: tuple[Tensor, Tensor] | None
    shared: bool


def _rows(vae: VAE, x: Tensor, c: tuple[Tensor, ...], seed: int) -> _Part:
    q, p = vae.posterior(x, *c), vae.prior(*c)
    require_density(q, "a diagnosis of the latent space")
    z = sample_rows(vae, q, "posterior", x, c, seeding.row_keys(x, seed, "codes"), 1)[0]
    log_qz, log_pz = q.log_prob(z), p.log_prob(z)
    try:
        kl = kl_divergence(q, p).expand(len(x))
    except NotImplementedError:
        kl = log_qz - log_pz
    always = tuple(t.double().cpu() for t in (z, vae.encode(x, *c), kl, log_qz, log_pz))
    return _Part(always, _apart(q, p, z), p.batch_shape == ())


def _apart(q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, Tensor] | None:
    """KL(q_j || p_j) and log p_j(z_j), (B, D) each, where q has known marginals and p independent ones."""
    q_each, p_each = marginals(q), marginals(p)
    if q_each is None or p_each is None or not isinstance(p, Independent):
        return None
    try:
        each = kl_divergence(q_each, p_each).expand(z.shape)
    except NotImplementedError:
        return None
    return each.double().cpu(), p_each.log_prob(z).double().cpu()


class _Sums:
    """log Σ_j q(z_i|x_j) as the rows j come, with and without j = i, and without for each dimension."""

    def __init__(self, z: Tensor, each: bool) -> None:
        self.z = z
        self.total = torch.full((len(z),), -math.inf, dtype=torch.float64)
        self.others = self.total.clone()
        self.each = torch.full(z.shape, -math.inf, dtype=torch.float64) if each else None

    def add(self, vae: VAE, x: Tensor, c: tuple[Tensor, ...], first: int) -> None:
        """Some more rows, whose first is row ``first``."""
        step = max(1, _CELLS // max(1, self.z[0].numel() * len(x)))
        q = vae.posterior(x, *c)
        q_each = marginals(q) if self.each is not None else None
        for start in range(0, len(self.z), step):
            at = slice(start, min(start + step, len(self.z)))
            z = self.z[at].unsqueeze(1).to(x)
            own = torch.arange(at.start, at.stop).unsqueeze(1) == torch.arange(first, first + len(x))
            cells = None
            if self.each is not None and q_each is not None:
                cells = q_each.log_prob(z).double().cpu()  # (i, j, D)
                masked = cells.masked_fill(own.unsqueeze(-1), -math.inf).logsumexp(1)
                self.each[at] = torch.logaddexp(self.each[at], masked)
            if cells is not None and isinstance(q, Independent):
                log_q = cells.sum(-1)
            else:
                log_q = q.log_prob(z.expand(-1, len(x), -1)).double().cpu()
            self.total[at] = torch.logaddexp(self.total[at], log_q.logsumexp(1))
            self.others[at] = torch.logaddexp(self.others[at], log_q.masked_fill(own, -math.inf).logsumexp(1))


class Bounds(NamedTuple):
    """A number between two estimates, lower and upper in expectation."""

    lower: Number
    upper: Number


def mutual_information(c: Codes) -> Bounds:
    """I(x; z) under the data and q(z|x), in nats, from both sides.

    E log q(z_i|x_i) / (1/N Σ_j q(z_i|x_j)) <= I, and never above log N; with the sum over j ≠ i alone, divided by
    N - 1, it is >= I (Poole et al. 2019, its bounds for a known conditional). The two meet as N grows past exp(I).
    """
    return Bounds(Number.mean(c.log_qz - c.total), Number.mean(c.log_qz - c.others))


def aggregate_kl(c: Codes) -> Bounds:
    """KL(q(z) || p(z)) of the aggregate posterior q(z) = E_x q(z|x), in nats, from both sides: the holes of the prior.

    It is the mean KL(q(z|x) || p(z)) less I(x; z) (Hoffman & Johnson 2016), so the bounds of the one give those of the
    other. The lower one is by Jensen's inequality, E log 1/(N-1) Σ_{j≠i} q(z_i|x_j) <= E log q(z_i), and is the largest
    (by 4 standard errors below it) of three:

    - that of the whole z;
    - where the prior is independent over dimensions, the sum over dimensions of that of z_d alone, since what q(z)
      has in common between dimensions only adds to the KL;
    - where it is also Gaussian, KL(N(m, S) || p) with the mean m and covariance S of q(z): of all laws with these
      moments the Gaussian is the nearest. The draws give it a bias of D(D+3)/4N, which is subtracted.
    """
    upper = Number.mean(c.total - c.log_pz)
    lower = [Number.mean(c.others - c.log_pz)]
    if c.others_each is not None and c.log_pz_each is not None:
        lower.append(Number.mean((c.others_each - c.log_pz_each).sum(-1)))
    if (moments := _moments(c)) is not None:
        lower.append(moments)
    finite = [n for n in lower if math.isfinite(n.value) and math.isfinite(n.error)]
    best = max(finite, key=lambda n: n.value - 4 * n.error) if finite else Number(0.0, math.nan)
    return Bounds(best, upper)


def _moments(c: Codes) -> Number | None:
    """KL of the Gaussian with the moments of q(z) from a prior N(0, I), less its bias; None for other priors."""
    n, dim = c.z.shape
    if c.log_pz_each is None or n <= 2 * dim:
        return None
    standard = Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    if not torch.allclose(standard.log_prob(c.z), c.log_pz_each, atol=1e-3):
        return None
    mean, rest = c.z.mean(0), c.z - c.z.mean(0)
    covariance = rest.T @ rest / n
    value = float(covariance.trace() + mean @ mean - dim - torch.logdet(covariance)) / 2 - dim * (dim + 3) / (4 * n)
    tilt = torch.eye(dim, dtype=torch.float64) - torch.linalg.inv(covariance)
    influence = ((rest @ tilt) * rest).sum(1) / 2 + rest @ mean
    null = math.sqrt(dim * (dim + 3)) / (2 * n)  # its standard deviation where q(z) is the prior
    return Number(value, math.hypot(Number.mean(influence).error, null))


def idle_dimensions(c: Codes, nats: float = 0.01, variance: float = 0.01) -> list[int] | None:
    """Dimensions with a mean KL below 0.01 nats and a variance of the posterior mean below 0.01 (Burda et al. 2016).

    None where the KL of each dimension has no closed form.
    """
    if c.each is None or len(c.mean) < 2:
        return None
    idle = (c.each.mean(0) < nats) & (c.mean.var(0) < variance)
    return [int(i) for i in idle.nonzero().flatten()]


def correlations(c: Codes) -> Float[Tensor, "d d"]:
    """Correlations of the aggregate posterior's dimensions; 0 where the prior is independent and q(z) is the prior."""
    rest = c.z - c.z.mean(0)
    scale = rest.square().mean(0).sqrt().clamp_min(1e-300)
    return (rest.T @ rest) / len(c.z) / torch.outer(scale, scale)
