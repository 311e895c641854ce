"""Factorials without cancellation: the saddle-point form of Loader (2000) for counts and for beta densities.

``Γ(a + 1) = (a / e)^a exp(excess(a))``, and a probability of counts is then a sum of positive deviances, which are
small where the probability is large. The textbook form subtracts numbers of order a log a: for a million counts its
float32 has an error of whole nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SERIES = 10.0  # from here the Stirling series has an error below 1e-16
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def excess(a: Tensor) -> Tensor:
    """log Γ(a + 1) - a log a + a for a >= 0: zero at 0, about half the log of 2πa for large a."""
    large = a >= _SERIES
    near, far = torch.where(large, 1.0, a), torch.where(large, a, _SERIES)
    closed = torch.lgamma(near + 1) - torch.xlogy(near, torch.where(near > 0, near, 1.0)) + near
    inverse, total = 1 / far, torch.zeros_like(far)
    for coefficient in reversed(_STIRLING):
        total = total * inverse.square() + coefficient
    return torch.where(large, (2 * math.pi * far).log() / 2 + total * inverse, closed)


def deviance(a: Tensor, log_m: Tensor) -> Tensor:
    """a log(a / m) + m - a, which is at least 0 and is m at a = 0, from a >= 0 and log m."""
    some = a > 0
    b = torch.where(some, a, 1.0)
    t = torch.where(some, log_m - b.log(), 0.0)
    return torch.where(some, b * (torch.expm1(t) - t), torch.where(some, 0.0, log_m).exp())


def log_binomial(a: Tensor, b: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """log of Γ(n + 1) / (Γ(a + 1) Γ(b + 1)) p^a q^b with n = a + b, for a, b >= 0 and p + q = 1, whole or not."""
    n = a + b
    log_n = torch.where(n > 0, n, 1.0).log()
    at = deviance(a, torch.where(n > 0, log_n + log_p, -torch.inf))
    bt = deviance(b, torch.where(n > 0, log_n + log_q, -torch.inf))
    return excess(n) - excess(a) - excess(b) - at - bt


def log_gamma_half_step(a: Tensor) -> Tensor:
    """log Γ(a + 1/2) - log Γ(a) for a > 0: for large a it is half of log a, and neither term is formed."""
    b = a + 0.5
    step = a * torch.log1p(0.5 / a) + b.log() / 2 - 0.5 - torch.log1p(0.5 / a)
    return excess(b) - excess(a) + step
