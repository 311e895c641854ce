"""Models that are linear and Gaussian by their structure, and their marginal in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from reparam.distributions import Affine, unwrap
from reparam.distributions import Observed as ObservedDistribution
from reparam.likelihoods import Gaussian, Observed, Standardized
from reparam.networks import MLP, Rescale
from reparam.shapes import Float
from reparam.vae import VAE, reference

Map = tuple[Tensor, Tensor]  # W (E, D) and b (E,): z -> W z + b


def affine_map(net: nn.Module, dim: int) -> Map | None:
    """W and b of a network that is affine because each of its modules is, float64; None if one is not known to be.

    Only the modules' own types count: a subclass, a parametrization or a hook may do anything.
    """
    if net._forward_hooks or net._forward_pre_hooks or "forward" in vars(net):
        return None
    if type(net) is nn.Linear:
        w = net.weight.detach().double().cpu()
        return w, w.new_zeros(len(w)) if net.bias is None else net.bias.detach().double().cpu()
    if type(net) is nn.Sequential:
        return _composed(net, dim)
    if type(net) is MLP and not net.context:
        return affine_map(net.layers, dim)
    if type(net) is Rescale and (inner := affine_map(net.net, dim)) is not None:
        loc, spread = (t.detach().double().cpu().expand(dim) for t in (net.loc, net.spread))
        return inner[0] / spread, inner[1] - inner[0] @ (loc / spread)
    if type(net) in (nn.Identity, nn.Flatten, nn.Unflatten):  # another shape of the same numbers, or none
        return _composed(nn.Sequential(), dim)
    return None


def _composed(layers: nn.Sequential, dim: int) -> Map | None:
    w, b = torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64)
    for layer in layers:
        if (step := affine_map(layer, len(b))) is None:
            return None
        w, b = step[0] @ w, step[0] @ b + step[1]
    return w, b


@dataclass(frozen=True)
class GaussianMarginal:
    """N(mean, F F' + diag scale²), the marginal of x = W z + b + scale * noise for Gaussian z; all float64.

    Shapes: scale (E,); mean (E,) and factor (E, D), or (N, E) and (N, E, D) where each row has its own.
    """

    mean: Tensor
    factor: Tensor
    scale: Tensor

    def log_prob(self, x: Float[Tensor, "n e"]) -> Float[Tensor, " n"]:
        """log p(x), in nats; of what is seen, where elements are NaN: a marginal of a Gaussian leaves rows of F out."""
        out = torch.zeros(len(x), dtype=torch.float64)
        patterns, which = (~x.isnan()).unique(dim=0, return_inverse=True)
        for i, seen in enumerate(patterns):
            rows = (which == i).nonzero().flatten()
            if bool(seen.any()):
                out[rows] = self._of(rows, seen)._log_prob(x[rows][:, seen])
        return out

    def _of(self, rows: Tensor, seen: Tensor) -> GaussianMarginal:
        mean = self.mean[rows] if self.mean.dim() == 2 else self.mean
        factor = self.factor[rows] if self.factor.dim() == 3 else self.factor
        return GaussianMarginal(mean[..., seen], factor[..., seen, :], self.scale[seen])

    def _log_prob(self, x: Float[Tensor, "n e"]) -> Float[Tensor, " n"]:
        """By the singular vectors of F / scale, so that no large numbers cancel where the scale is small."""
        u, s, _ = torch.linalg.svd(self.factor / self.scale.unsqueeze(-1), full_matrices=False)
        rest = (x - self.mean) / self.scale
        along = (rest.unsqueeze(-2) @ u).squeeze(-2)
        across = rest - (along.unsqueeze(-2) @ u.mT).squeeze(-2)
        square = across.square().sum(-1) + (along.square() / (1 + s.square())).sum(-1)
        log_det = 2 * self.scale.log().sum() + torch.log1p(s.square()).sum(-1)
        return -(square + log_det + x.shape[1] * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))) / 2


def gaussian_marginal(vae: VAE, *c: Tensor) -> GaussianMarginal | None:
    """The marginal p(x|c) of a linear-Gaussian model; None unless the structure shows that it is one.

    That is a Gaussian prior, and a Gaussian likelihood (Standardized, of what is seen, or neither) whose net is affine,
    in z and its contexts together, and whose scale is not predicted by it.

    Shapes: contexts (N, ...), for which each row has its own mean, and its own factor if the prior gives it one.
    """
    likelihood, p = vae.likelihood, _gaussian(vae.prior(*c))
    parts: list[nn.Module] = [vae, likelihood]
    while type(parts[-1]) in (Observed, Standardized):
        inside = parts[-1].likelihood
        assert isinstance(inside, nn.Module)
        parts.append(inside)
    inner = parts[-1]
    if p is None or type(inner) is not Gaussian or inner.scale == "predicted" or any(m._forward_hooks for m in parts):
        return None
    dim = p[0].shape[-1]
    if (found := _affine_given(inner.net, dim, c)) is None:
        return None
    # The scale does not depend on z, nor do the units of Standardized: both can be read at any z.
    p_x: Distribution = likelihood(reference(vae).new_zeros(1, dim), *(t[:1] for t in c))
    p_x = p_x.base if isinstance(p_x, ObservedDistribution) else p_x
    units = p_x if isinstance(p_x, Affine) else None
    base = unwrap(units.base if units is not None else p_x)
    assert isinstance(base, Normal)
    scale = base.scale.detach().double().cpu().reshape(-1)
    w, b = found
    if units is not None:
        loc, spread = (t.detach().double().cpu().reshape(-1) for t in (units.loc, units.scale))
        w, b, scale = spread.unsqueeze(-1) * w, loc + spread * b, spread * scale
    return GaussianMarginal(p[0] @ w.mT + b, w @ p[1], scale)


def _affine_given(net: nn.Module, dim: int, c: Sequence[Tensor]) -> Map | None:
    """W (E, D) and b, (E,) or for each row of the contexts (N, E); None for a net that is not known to be affine."""
    if not c:
        return affine_map(net, dim)
    if type(net) is not MLP or net._forward_hooks or net._forward_pre_hooks or "forward" in vars(net):
        return None
    given = torch.cat([t.detach().double().cpu().reshape(len(t), -1) for t in c], -1)
    if (found := affine_map(net.layers, dim + given.shape[1])) is None:
        return None
    return found[0][:, :dim], found[1] + given @ found[0][:, dim:].mT


def _gaussian(p: Distribution) -> Map | None:
    """Mean and a factor of the covariance of a Gaussian vector, or of one for each row, float64; None for others."""
    base = unwrap(p)
    if len(p.batch_shape) > 1 or len(p.event_shape) != 1:
        return None
    if type(base) is Normal and isinstance(p, Independent):
        factor = torch.diag_embed(base.scale.detach().double().cpu())
    elif type(p) is MultivariateNormal:
        factor = p.scale_tril.detach().double().cpu()
    elif type(p) is LowRankMultivariateNormal:
        factor = torch.linalg.cholesky(p.covariance_matrix.detach().double().cpu())
    else:
        return None  # others need not know their mean
    return p.mean.detach().double().cpu(), factor
