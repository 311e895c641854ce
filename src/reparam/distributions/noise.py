"""Reparameterization with the noise as an input: z = mu + L eps, for eps that the caller has drawn."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, constraints

from reparam.distributions.delta import Delta


def unwrap(d: Distribution) -> Distribution:
    """The distribution inside any nesting of ``Independent``."""
    while isinstance(d, Independent):
        d = d.base_dist
    return d


def element_support(d: Distribution) -> constraints.Constraint | None:
    """What holds for each element of a value of ``d``, or None where the distribution does not tell."""
    try:
        support = unwrap(d).support
    except NotImplementedError:
        return None
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def from_standard_normal(d: Distribution, eps: Tensor) -> Tensor | None:
    """The image of standard normal noise under the reparameterization of ``d``, or None where ``d`` has none.

    The noise decides the draw: equal noise gives equal draws, whatever stands beside a datum in its batch.

    Shapes: eps (..., *batch, D) gives (..., *batch, D).
    """
    base = unwrap(d)
    if isinstance(base, Normal):
        return base.loc + base.scale * eps
    if isinstance(base, MultivariateNormal):
        return base.loc + (base.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)
    if isinstance(base, Delta):
        return base.loc.expand(eps.shape)
    return None
