"""Objectives: what training maximises. Each reads a Draw and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor
from torch.distributions import Distribution

from reparam.errors import InputError
from reparam.numerics import log_mean_exp
from reparam.vae import Draw, has_density

__all__ = ["ELBO", "IWAE", "Objective", "Reconstruction"]


class Objective(ABC):
    """A value to be maximised, read from one draw of ``k`` samples for each datum."""

    k: int

    @abstractmethod
    def bound(self, draw: Draw) -> Tensor:
        """The true value of the objective for each datum, (B,), in nats."""

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """What gradients are taken of, (B,): the bound itself unless an objective has a better estimator.

        Its value is never reported.
        """
        return bound


def sample_count(k: int) -> int:
    """k, if it can be a number of samples.

    Raises:
        InputError: unless it is a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"the number of samples k must be a whole number of at least 1, not {k!r}")
    return k


def require_density(q: Distribution, what: str) -> None:
    """Refuse a posterior without density, for which no bound on log p(x) by q exists.

    Raises:
        InputError: naming what needs the density.
    """
    if not has_density(q):
        raise InputError(
            f"{what} needs a density of q(z|x), and a Point posterior has none: train it with "
            "objectives.Reconstruction and evaluate it by method='prior', or choose posteriors.DiagonalGaussian"
        )


class ELBO(Objective):
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) with k samples; with beta = 1, a lower bound of log p(x).

    ``estimator`` chooses between the two of Kingma & Welling (2014): "A" (eq. 6) estimates both terms from the samples;
    "B" (eq. 7) takes the KL in closed form; "auto" is B where there is a closed form and A where there is none.
    With beta > 1 (Higgins et al. 2017) the value is a looser lower bound; with beta < 1 it is none.

    Raises:
        InputError: for k < 1 or a negative beta; at the first draw, where "B" is asked for and has no closed form,
            and where q has no density.
    """

    def __init__(self, k: int = 1, beta: float = 1.0, estimator: Literal["auto", "A", "B"] = "auto") -> None:
        if not beta >= 0:
            raise InputError(f"beta must not be negative: {beta}")
        if estimator not in ("auto", "A", "B"):
            raise InputError(f"estimator is 'auto', 'A' or 'B', not {estimator!r}")
        self.k, self.beta, self.estimator = sample_count(k), float(beta), estimator

    def bound(self, draw: Draw) -> Tensor:
        """The (beta-weighted) evidence lower bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return draw.reconstruction - self.beta * self._kl(draw)

    def _kl(self, draw: Draw) -> Tensor:
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


class IWAE(Objective):
    """log 1/k Σ p(x, z_i) / q(z_i|x): the importance-weighted bound (Burda et al. 2016, eq. 8), tighter as k grows.

    Raises:
        InputError: for k < 1; at the first draw, where q has no density.
    """

    def __init__(self, k: int) -> None:
        self.k = sample_count(k)

    def bound(self, draw: Draw) -> Tensor:
        """The importance-weighted lower bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return log_mean_exp(draw.log_w)


class Reconstruction(Objective):
    """E_q[log p(x|z)] alone: with a Point posterior, the conventional autoencoder. No bound of log p(x)."""

    def __init__(self, k: int = 1) -> None:
        self.k = sample_count(k)

    def bound(self, draw: Draw) -> Tensor:
        """The expected log-likelihood of the reconstruction, (B,), in nats."""
        return draw.reconstruction
