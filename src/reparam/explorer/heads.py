"""Prior, posterior and likelihood as tables that the page reads: how a network's numbers become a distribution.

The other half is ``page/heads.js``; a family is added in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

from reparam import likelihoods, posteriors, priors
from reparam.distributions import Mixture
from reparam.explorer.program import NotInThePageError, Weights, program
from reparam.likelihoods.base import SecondParameter
from reparam.numerics import scale_from_log

Table = dict[str, Any]

_POSTERIORS: dict[type[nn.Module], str] = {
    posteriors.DiagonalGaussian: "diagonal",
    posteriors.Laplace: "laplace",
    posteriors.FullGaussian: "full",
    posteriors.LowRankGaussian: "lowrank",
    posteriors.Point: "point",
}


def encoder(posterior: nn.Module, event: Sequence[int], dim: int, weights: Weights, contexts: Sequence[int]) -> Table:
    """The encoder's operations and the family of q(z|x).

    Raises:
        NotInThePageError: for another posterior than the Gaussian ones, Laplace and Point.
    """
    family = _POSTERIORS.get(type(posterior))
    if family is None:
        raise NotInThePageError(f"the posterior {type(posterior).__name__}")
    ops, size = program(_net(posterior), event, weights, *contexts)
    return {"ops": ops, "family": family, "dim": dim, "size": size, "rank": getattr(posterior, "rank", 0)}


def decoder(likelihood: nn.Module, event: Sequence[int], dim: int, weights: Weights, contexts: Sequence[int]) -> Table:
    """The decoder's operations and the families of the elements of p(x|z).

    Raises:
        NotInThePageError: for a likelihood of one's own, or one with an exposure for each element.
    """
    own = int(getattr(likelihood, "own_contexts", 0))
    known, exposures = list(contexts[: len(contexts) - own]), list(contexts[len(contexts) - own :])
    if own and exposures != [1]:
        raise NotInThePageError("a likelihood with an exposure for each element")
    inside = _inmost(likelihood)
    ops, size = program(_net(inside), (dim,), weights, *known, own=own)
    if isinstance(inside, likelihoods.Mixed):
        pieces = [program(_net(_inmost(m)), (n,), weights) for m, n in zip(inside.members, inside.sizes, strict=True)]
        if any(piece for piece, _ in pieces):  # the members' own networks, each of its slice
            parts = [{"n": n, "ops": piece} for (piece, _), n in zip(pieces, inside.sizes, strict=True)]
            ops.append({"op": "parts", "n": size, "m": size, "parts": parts})
    head = inmost = _head(likelihood, tuple(event), math.prod(event), weights)
    while "inner" in inmost:
        inmost = inmost["inner"]
    if own:
        inmost["exposure"] = size - 1  # where it stands in the output, behind what the net gives
    return {"ops": ops, "head": head}


def _inmost(likelihood: nn.Module) -> nn.Module:
    """What holds the network, inside of its wrappers."""
    while isinstance(likelihood, likelihoods.Standardized | likelihoods.ZeroInflated | likelihoods.Observed):
        likelihood = likelihood.inner if isinstance(likelihood, likelihoods.ZeroInflated) else likelihood.likelihood
    return likelihood


def _net(part: nn.Module) -> nn.Module:
    net = getattr(part, "net", None)
    if not isinstance(net, nn.Module):
        raise NotInThePageError(f"a part {type(part).__name__}")
    return net


_FAMILIES: dict[type[nn.Module], str] = {
    likelihoods.Bernoulli: "bernoulli",
    likelihoods.ContinuousBernoulli: "continuous_bernoulli",
    likelihoods.Gaussian: "gaussian",
    likelihoods.Laplace: "laplace",
    likelihoods.LogNormal: "log_normal",
    likelihoods.StudentT: "student_t",
    likelihoods.Beta: "beta",
    likelihoods.Poisson: "poisson",
    likelihoods.NegativeBinomial: "negative_binomial",
    likelihoods.Binomial: "binomial",
    likelihoods.Categorical: "categorical",
    likelihoods.Ordinal: "ordinal",
    likelihoods.Multinomial: "multinomial",
    likelihoods.DiscretizedLogistic: "discretized_logistic",
    likelihoods.MixtureOfDiscretizedLogistics: "logistic_mixture",
    likelihoods.MixtureOfGaussians: "gaussian_mixture",
}


def _head(likelihood: Any, event: tuple[int, ...], n: int, weights: Weights) -> Table:
    if isinstance(likelihood, likelihoods.Standardized):
        loc, spread = (weights.add(v.expand(event)) for v in (likelihood.loc, likelihood.spread))
        return {"kind": "affine", "n": n, "inner": _head(likelihood.likelihood, event, n, weights), "loc": loc,
                "spread": spread}  # fmt: skip
    if isinstance(likelihood, likelihoods.Observed):  # what is missing is left out by every density of the page
        return _head(likelihood.likelihood, event, n, weights)
    if isinstance(likelihood, likelihoods.ZeroInflated):
        return {"kind": "zeros", "n": n, "inner": _head(likelihood.inner, event, n, weights)}
    if isinstance(likelihood, likelihoods.Mixed):
        parts = [
            {"columns": list(columns), "size": size, "head": _head(part, (len(columns),), len(columns), weights)}
            for (part, columns), size in zip(likelihood.parts, likelihood.sizes, strict=True)
        ]
        return {"kind": "mixed", "n": n, "parts": parts}
    family = _FAMILIES.get(type(likelihood))
    if family is None:
        raise NotInThePageError(f"the likelihood {type(likelihood).__name__}")
    table: Table = {"kind": "elements", "family": family, "n": n}
    if isinstance(likelihood, SecondParameter):
        table["second"] = _second(likelihood, event, n, weights)
    for name in ("levels", "maximum", "components", "total", "classes"):
        if hasattr(likelihood, name):
            table[name] = getattr(likelihood, name)
    if isinstance(likelihood, likelihoods.StudentT):
        df = 1 + scale_from_log(likelihood.log_df) if isinstance(likelihood.df, str) else torch.tensor(likelihood.df)
        table["df"] = weights.add(df.detach().expand(event))
    if isinstance(likelihood, likelihoods.Ordinal):
        first, gaps = likelihood.first_cut.detach(), scale_from_log(likelihood.log_gaps.detach())
        cuts = torch.cat([first[..., None], first[..., None] + gaps.cumsum(-1)], -1)
        table["cuts"] = weights.add(cuts.expand(*event, likelihood.classes - 1))
    return table


def _second(likelihood: SecondParameter, event: tuple[int, ...], n: int, weights: Weights) -> Table:
    """Where the second parameter comes from: the net's second half, times a factor in the exponent, or constants."""
    if likelihood.predicts:
        return {"log": 0.5 if isinstance(likelihood, likelihoods.Gaussian) else 1.0}
    _, values = likelihood.both(torch.zeros(1, *event, dtype=_dtype(likelihood)), 1)
    return {"at": weights.add(values[0].detach())}


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.get_default_dtype())


def prior(part: nn.Module, weights: Weights) -> Table:
    """p(z) as one Gaussian or a mixture of diagonal ones.

    Raises:
        NotInThePageError: for another prior, and for those that contexts decide.
    """
    if isinstance(part, priors.StandardNormal):
        return _gaussian(torch.zeros(part.dim), torch.eye(part.dim), weights)
    if isinstance(part, priors.Gaussian):
        return _gaussian(part.mean, part.scale_tril, weights)
    if isinstance(part, priors.Mixture | priors.VampPrior):
        with torch.no_grad():
            found = part()
        each = found.components if isinstance(found, Mixture) else None
        if isinstance(each, Independent) and isinstance(each.base_dist, Normal):
            loc, scale = each.base_dist.loc, each.base_dist.scale
            return {"kind": "mixture", "dim": loc.shape[1], "count": len(loc), "log_weights": weights.add(
                found.log_weights.expand(len(loc))), "means": weights.add(loc),
                "scales": weights.add(scale)}  # fmt: skip
        if isinstance(each, MultivariateNormal):
            raise NotInThePageError(f"a mixture of Gaussians of full covariance ({type(part).__name__})")
    raise NotInThePageError(f"the prior {type(part).__name__}")


def _gaussian(mean: Tensor, factor: Tensor, weights: Weights) -> Table:
    return {"kind": "gaussian", "dim": len(mean), "mean": weights.add(mean), "factor": weights.add(factor),
            "plain": bool((mean == 0).all() and np.array_equal(factor.numpy(), np.eye(len(mean))))}  # fmt: skip
