"""Closed forms of KL(q || p) that torch.distributions does not bring, by ``register_kl``.

For N(mu, Sigma) against N(0, I): 1/2 (tr Sigma + mu'mu - D - log det Sigma) (Kingma & Welling 2014, appendix B, for
any Sigma). torch has Normal against Normal and MultivariateNormal against MultivariateNormal; here are the pairs of
full and diagonal covariance, and the point mass.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
    register_kl,
)

from reparam.distributions.delta import Delta


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


@register_kl(Delta, Distribution)
def _kl_delta(q: Delta, p: Distribution) -> Tensor:
    batch = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    return torch.full(batch, torch.inf, dtype=q.loc.dtype, device=q.loc.device)
