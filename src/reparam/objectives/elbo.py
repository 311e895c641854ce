"""The evidence lower bound, its weights, and the floor and the target of its KL."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from reparam.distributions import Discrete, layers_of, one_way
from reparam.errors import InputError
from reparam.objectives.base import Objective, require_density, sample_count
from reparam.objectives.gradients import log_q_by_path, require_path
from reparam.schedules import Weight, checked_weight, value
from reparam.shapes import Float
from reparam.vae import Draw


class ELBO(Objective):
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) with k samples; with beta = 1, a lower bound of log p(x).

    ``estimator`` chooses between the two of Kingma & Welling (2014): "A" (eq. 6) estimates both terms from the samples;
    "B" (eq. 7) takes the KL in closed form; "auto" is B where there is a closed form and A where there is none, except
    that the KL of a top-down hierarchy is taken in closed form layer by layer, given the sample of the layer above.
    With beta > 1 (Higgins et al. 2017) the value is a looser lower bound; with beta < 1 it is none.

    ``free_nats`` is the floor λ of "free bits" (Kingma et al. 2016): Σ_j max(λ, KL_j) takes the place of
    the KL, so that nothing is gained by less than λ nats in a dimension. The maximum is taken for each datum and not
    of the mean over a batch, so that a value does not depend on its batch; the result is a looser lower bound. In a
    top-down hierarchy KL_j is that of a dimension given the layer above, its mean over the k samples.

    ``gradient`` "stl" leaves the score of q, whose mean is zero, out of the gradient (Roeder et al. 2017): without
    bias, and without variance where q is the exact posterior. The value is that of ``estimator`` all the same.

    ``beta`` and ``free_nats`` may be schedules.

    Raises:
        InputError: for k < 1, a negative weight, or "stl" together with free_nats; at the first draw, where "B" or
            free_nats is asked for and has no closed form, where q has no density, and where "stl" finds q without
            reparameterization.
    """

    def __init__(
        self,
        k: int = 1,
        beta: Weight = 1.0,
        estimator: Literal["auto", "A", "B"] = "auto",
        free_nats: Weight = 0.0,
        gradient: Literal["plain", "stl"] | str = "plain",
    ) -> None:
        if estimator not in ("auto", "A", "B"):
            raise InputError(f"estimator is 'auto', 'A' or 'B', not {estimator!r}")
        if gradient not in ("plain", "stl"):
            raise InputError(f"gradient is 'plain' or 'stl', not {gradient!r}")
        self.k, self.beta, self.estimator = sample_count(k), checked_weight("beta", beta), estimator
        self.free_nats, self.gradient = checked_weight("free_nats", free_nats), gradient
        if self.free_nats != 0 and (gradient == "stl" or estimator == "A"):
            raise InputError(
                "free_nats takes the KL of each dimension in closed form: it goes with neither 'stl' nor 'A'"
            )

    def bound(self, draw: Draw) -> Tensor:
        """The (beta-weighted) evidence lower bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        beta, kl = value(self.beta), self._kl(draw)
        return draw.reconstruction - (kl if isinstance(beta, float | int) and beta == 1 else beta * kl)

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """The bound, or for "stl" estimator A without the score of q, (B,)."""
        if self.gradient == "plain":
            return super().surrogate(draw, bound)
        require_path(draw, "gradient='stl'")
        return (draw.log_px + value(self.beta) * (draw.log_pz - log_q_by_path(draw))).mean(0)

    def _kl(self, draw: Draw) -> Tensor:
        if self.free_nats != 0:
            return kl_per_dimension(draw).clamp_min(value(self.free_nats)).sum(-1)
        if self.estimator == "A":
            return draw.kl_monte_carlo
        if self.estimator == "auto":
            return draw.kl
        if (exact := draw.kl_exact) is None:
            raise InputError(
                f"no closed form of KL is registered for q = {type(draw.q).__name__} and p = {type(draw.p).__name__}: "
                "choose estimator='A' or 'auto'"
            )
        return exact


class Capacity(Objective):
    """E_q[log p(x|z)] - weight |KL - capacity|: a KL held at a capacity, in nats (Burgess et al. 2018).

    The capacity usually rises over the run: ``Capacity(Linear(0, 25, over=0.8))``. It has no default: at 0 it would
    say that the code shall be empty. The value is no bound of log p(x). Both numbers may be schedules.

    Raises:
        InputError: for k < 1 or a negative number; at the first draw, where q has no density.
    """

    def __init__(self, capacity: Weight, weight: Weight = 1000.0, k: int = 1) -> None:
        self.k = sample_count(k)
        self.capacity, self.weight = checked_weight("capacity", capacity), checked_weight("weight", weight)

    def bound(self, draw: Draw) -> Tensor:
        """Reconstruction less the weighted distance of the KL from its capacity, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return draw.reconstruction - value(self.weight) * (draw.kl - value(self.capacity)).abs()


def kl_per_dimension(draw: Draw) -> Float[Tensor, "b d"]:
    """KL(q_j || p_j) for each datum and dimension, (B, D), in nats: in closed form. One-hot codes count by group.

    In a hierarchy each dimension is given the layer above it, and its KL is a mean over the samples.

    Raises:
        InputError: unless q and p are both independent over dimensions, with a closed form of their KL.
    """
    q, p, z = draw.q, draw.p, draw.z
    layers = (layers_of(q, p, z) or []) if one_way(q, p) else [(q, p, z)]
    found = [_elementwise(*layer, draw) for layer in layers]
    terms = [t for t in found if t is not None]
    if terms and len(terms) == len(found):
        return torch.cat(terms, -1)
    raise InputError(
        f"the KL of each dimension has no closed form for q = {type(q).__name__} and p = {type(p).__name__}: "
        "choose posteriors.DiagonalGaussian and priors.StandardNormal"
    )


def _elementwise(q: Distribution, p: Distribution, z: Tensor, draw: Draw) -> Tensor | None:
    """KL(q_j || p_j) of each dimension, (B, D), in nats, the mean over samples; None where no closed form is known."""
    if isinstance(q, Discrete) and type(q) is type(p):
        return q.kl_each(p).expand(z.shape[1], -1)
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    try:
        kl = kl_divergence(q.base_dist, p.base_dist)
    except NotImplementedError:
        return None
    if kl.dim() < z.dim():
        return kl.expand(z.shape[1:])
    shares = draw.shares
    return kl.mean(0) if shares is None else (shares.unsqueeze(-1) * kl).sum(0)
