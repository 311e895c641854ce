"""Closed forms of KL(q || p) that torch.distributions does not bring, by ``register_kl``.

For N(mu, Sigma) against N(0, I): 1/2 (tr Sigma + mu'mu - D - log det Sigma) (Kingma & Welling 2014, appendix B, for
any Sigma). torch has Normal against Normal and MultivariateNormal against MultivariateNormal, low rank included, and
Laplace, Gamma and Dirichlet where they meet Normal, Gamma and Dirichlet; here are the pairs of full, low-rank and
diagonal covariance, von Mises-Fisher against the uniform sphere, and the point mass.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    kl_divergence,
    register_kl,
)

from reparam.distributions.delta import Delta
from reparam.distributions.sphere import SphereUniform, VonMisesFisher


def _diagonal(d: Independent) -> Normal | None:
    """The Normal inside, if ``d`` is a Gaussian vector with independent elements."""
    return d.base_dist if isinstance(d.base_dist, Normal) and len(d.event_shape) == 1 else None


@register_kl(MultivariateNormal, Independent)
def _kl_full_diagonal(q: MultivariateNormal, p: Independent) -> Tensor:
    base = _diagonal(p)
    if base is None:
        raise NotImplementedError(f"no closed form of KL between {q} and {p}")
    factor = q.scale_tril / base.scale.unsqueeze(-1)
    shift = (q.loc - base.loc) / base.scale
    log_det_q = q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_det_p = base.scale.log().sum(-1)
    return (factor.square().sum((-2, -1)) + shift.square().sum(-1) - q.event_shape[0]) / 2 - log_det_q + log_det_p


@register_kl(Independent, MultivariateNormal)
def _kl_diagonal_full(q: Independent, p: MultivariateNormal) -> Tensor:
    base = _diagonal(q)
    if base is None:
        raise NotImplementedError(f"no closed form of KL between {q} and {p}")
    full = MultivariateNormal(base.loc, scale_tril=torch.diag_embed(base.scale), validate_args=False)
    return kl_divergence(full, p)


@register_kl(LowRankMultivariateNormal, Independent)
def _kl_low_rank_diagonal(q: LowRankMultivariateNormal, p: Independent) -> Tensor:
    """Matrix determinant lemma: log det (D + WW') = log det D + log det (I + W'D⁻¹W)."""
    base = _diagonal(p)
    if base is None:
        raise NotImplementedError(f"no closed form of KL between {q} and {p}")
    variance = base.scale.square()
    trace = ((q.cov_diag + q.cov_factor.square().sum(-1)) / variance).sum(-1)
    shift = ((q.loc - base.loc).square() / variance).sum(-1)
    capacitance = q._capacitance_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_ratio = (q.cov_diag.log() / 2 - base.scale.log()).sum(-1) + capacitance
    return (trace + shift - q.event_shape[0]) / 2 - log_ratio


@register_kl(Independent, LowRankMultivariateNormal)
def _kl_diagonal_low_rank(q: Independent, p: LowRankMultivariateNormal) -> Tensor:
    return kl_divergence(q, MultivariateNormal(p.loc, scale_tril=p.scale_tril, validate_args=False))


@register_kl(VonMisesFisher, SphereUniform)
def _kl_von_mises_fisher_uniform(q: VonMisesFisher, p: SphereUniform) -> Tensor:
    return q.kl_uniform()


@register_kl(Delta, Distribution)
def _kl_delta(q: Delta, p: Distribution) -> Tensor:
    batch = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    return torch.full(batch, torch.inf, dtype=q.loc.dtype, device=q.loc.device)
