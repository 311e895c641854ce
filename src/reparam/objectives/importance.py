"""Bounds by importance weights: power means of them, and what gradients are taken of.

With w = p(x, z) / q(z|x), the mean of log w is the ELBO, log of the mean of w is IWAE, and both are power means.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from reparam.distributions import Quantized
from reparam.errors import InputError
from reparam.numerics import log_mean_exp
from reparam.objectives.base import Objective, require_density, sample_count
from reparam.objectives.gradients import (
    along,
    log_joint_weighing,
    log_q_by_path,
    require_path,
    slope_of_log_joint,
    slope_of_log_q,
)
from reparam.schedules import Weight, checked_weight, value
from reparam.vae import Draw


def log_power_mean(draw: Draw, power: float) -> Tensor:
    """log (1/k Σ w^power)^(1/power) of the importance weights, (B,): power 0 is the mean of log w."""
    log_w = draw.log_w
    if power == 0:
        return draw.mean(log_w)
    if abs(power) > 0.01:
        return draw.log_mean_exp(power * log_w) / power
    extreme = log_w.detach().amax(0) if power > 0 else log_w.detach().amin(0)
    return extreme + torch.log1p(draw.mean(torch.expm1(power * (log_w - extreme)))) / power  # no digits lost near 0


class IWAE(Objective):
    """log 1/k Σ p(x, z_i) / q(z_i|x): the importance-weighted bound (Burda et al. 2016, eq. 8), tighter as k grows.

    ``gradient`` "plain" is that of the bound, by VIMCO where samples carry none (Mnih & Rezende 2016). With k, its part
    for the encoder drowns in noise (Rainforth et al. 2018); "dreg" (Tucker et al. 2019) has the same mean without that
    defect, for one more backward pass through the decoder; "stl" (Roeder et al. 2017) leaves the score out and is
    biased for k > 1. Both are zero for the encoder where q is the exact posterior, and leave the model's gradient as it
    is. The value is always the bound.

    Raises:
        InputError: for k < 1 or an unknown gradient; at the first draw, where q has no density, or no
            reparameterization that "dreg" and "stl" need.
    """

    def __init__(self, k: int, gradient: Literal["plain", "stl", "dreg"] | str = "plain") -> None:
        if gradient not in ("plain", "stl", "dreg"):
            raise InputError(f"gradient is 'plain', 'stl' or 'dreg', not {gradient!r}")
        self.k, self.gradient = sample_count(k), gradient

    def bound(self, draw: Draw) -> Tensor:
        """The importance-weighted lower bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return draw.log_mean_exp(draw.log_w)

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """The bound, or what has the chosen gradient, (B,)."""
        if self.gradient == "plain":
            return super().surrogate(draw, bound)
        require_path(draw, f"gradient={self.gradient!r}")
        share = draw.log_w.detach().softmax(0)
        path = share.square() if self.gradient == "dreg" else share
        return log_joint_weighing(draw, model=share, path=path) - (path * log_q_by_path(draw)).sum(0)


class _Groups(Objective):
    """m groups of k samples each."""

    kept_as = {"k": "group"}  # noqa: RUF012

    def __init__(self, m: int, k: int) -> None:
        self.m, self.group = sample_count(m), sample_count(k)
        self.k = m * k


class MIWAE(_Groups):
    """The mean of m importance-weighted bounds of k samples each (Rainforth et al. 2018): m k samples in all.

    Weights are normalised over the k samples of a group, never over the groups: m = 1 is IWAE(k), k = 1 the ELBO.

    Raises:
        InputError: for m or k below 1; at the first draw, where q has no density.
    """

    def bound(self, draw: Draw) -> Tensor:
        """The mean of the groups' lower bounds, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        if draw.log_shares is not None:
            raise InputError(
                "MIWAE takes means over groups of like samples, and this posterior lists all values of z instead: "
                "choose objectives.ELBO, or another gradient for the posterior"
            )
        return log_mean_exp(draw.log_w.reshape(-1, self.group, *draw.log_w.shape[1:]), 1).mean(0)


class CIWAE(Objective):
    """beta ELBO + (1 - beta) IWAE with the same k samples: a lower bound (Rainforth et al. 2018).

    ``beta`` may be a schedule.

    Raises:
        InputError: for k < 1 or a beta outside 0 to 1; at the first draw, where q has no density.
    """

    def __init__(self, k: int, beta: Weight = 0.5) -> None:
        self.k, self.beta = sample_count(k), checked_weight("beta", beta, most=1.0)

    def bound(self, draw: Draw) -> Tensor:
        """The convex combination of both lower bounds, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        share = value(self.beta)
        return share * draw.mean(draw.log_w) + (1 - share) * draw.log_mean_exp(draw.log_w)


class PIWAE(_Groups):
    """IWAE(m k) for prior and likelihood, MIWAE(m, k) for the encoder (Rainforth et al. 2018).

    The value is the tighter of the two, IWAE. A parameter that encoder and model share gets the sum of its two parts.
    The gradient takes one more backward pass through the decoder.

    Raises:
        InputError: for m or k below 1; at the first draw, where q has no density or no reparameterization.
    """

    def bound(self, draw: Draw) -> Tensor:
        """The importance-weighted lower bound of all samples, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return draw.log_mean_exp(draw.log_w)

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """What has the gradient of IWAE in the model's parameters and of MIWAE in the encoder's, (B,)."""
        require_path(draw, "PIWAE")
        log_w = draw.log_w.detach()
        groups = log_w.reshape(-1, self.group, *log_w.shape[1:])
        encoder = (groups.softmax(1) / len(groups)).reshape(log_w.shape)
        return log_joint_weighing(draw, model=log_w.softmax(0), path=encoder) - (encoder * draw.log_qz).sum(0)


class Renyi(Objective):
    """1/(1 - alpha) log 1/k Σ w_i^(1 - alpha): the variational Rényi bound (Li & Turner 2016).

    alpha = 1 is the ELBO, alpha = 0 is IWAE. With 0 <= alpha the value is a lower bound of log p(x) in expectation, for
    every k; with alpha < 0 it is none.

    Raises:
        InputError: for k < 1 or an alpha that is not finite; at the first draw, where q has no density.
    """

    def __init__(self, alpha: float, k: int) -> None:
        if not math.isfinite(alpha):
            raise InputError(f"alpha must be finite, not {alpha}")
        self.alpha, self.k = float(alpha), sample_count(k)

    def bound(self, draw: Draw) -> Tensor:
        """The variational Rényi bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return log_power_mean(draw, 1 - self.alpha)


class CUBO(Objective):
    """1/n log 1/k Σ w_i^n: the chi-square upper bound of log p(x) (Dieng et al. 2017), to be minimised in q.

    The bound is that of k to infinity. An estimate with k samples lies below it in expectation, the further the worse q
    is, and with small k below log p(x) too: take k in the hundreds at least, also so that the least value of several
    epochs is of the best encoder and not of the worst.

    Only the encoder learns: an upper bound pressed down in prior and likelihood would make the data less likely, so
    they get no gradient. That of the encoder goes through the samples, (1 - n) Σ w~ ∂ log w/∂z ∂z, with w~ the
    normalised w^n (the score is reparameterized once more, as in Tucker et al. 2019).

    Raises:
        InputError: for n <= 1 or k < 2; at the first draw, where q has no density, no reparameterization, or all
            its mass on one code.
    """

    sign = -1

    def __init__(self, k: int, n: float = 2.0) -> None:
        if not 1 < n < math.inf:
            raise InputError(f"the order n of the chi-square bound must be above 1, not {n}")
        if sample_count(k) < 2:
            raise InputError("the chi-square bound needs at least 2 samples: with 1 it is an estimate of the ELBO")
        self.k, self.n = k, float(n)

    def bound(self, draw: Draw) -> Tensor:
        """The estimate of the upper bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        if isinstance(draw.q, Quantized):
            raise InputError(
                "the chi-square bound needs a q(z|x) that gives every z some probability, and a quantised posterior "
                "gives it to one code: choose objectives.ELBO"
            )
        return log_power_mean(draw, self.n)

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """Minus the bound, with the gradient in the encoder's parameters alone, (B,)."""
        require_path(draw, "the chi-square bound")
        share = (self.n * draw.log_w.detach()).softmax(0)
        slope = slope_of_log_joint(draw) - slope_of_log_q(draw)
        return -bound.detach() + (self.n - 1) * along(share.unsqueeze(-1) * slope, draw.z).sum(0)
