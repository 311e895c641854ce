"""Sums of exponentials, effective sample sizes, and links that keep scales finite."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from reparam.engine import recording
from reparam.shapes import Float


def log_mean_exp(log_w: Tensor, dim: int = 0) -> Tensor:
    """log of the mean of exp(log_w) along ``dim``, without overflow."""
    return torch.logsumexp(log_w, dim) - math.log(log_w.shape[dim])


def effective_sample_size(log_w: Float[Tensor, "k ..."]) -> Float[Tensor, ...]:
    """Kish's effective sample size (Σw)² / Σw² of log-weights along the first dimension: between 1 and k."""
    return torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))


def soft_clip(x: Tensor, limit: float, margin: float) -> Tensor:
    """The identity for |x| <= limit; beyond, a smooth approach to ±(limit + margin).

    Value and slope are continuous and the slope falls only as 1/x², so that a parameter that was thrown far
    out still finds its way back. A clamp would cut the gradient; tanh would change every value.
    """
    inside = x.clamp(-limit, limit)
    excess = x - inside
    return inside + excess / (1 + excess.abs() / margin)


_LOG_SCALE_LIMIT, _LOG_SCALE_MARGIN = math.log(1e6), math.log(10.0)


def _within(x: Tensor, limit: float) -> bool:
    """Whether all numbers are known to be smaller; neither a device nor a graph in the making is asked."""
    if x.device.type != "cpu" or recording() or torch.compiler.is_compiling() or not x.numel():
        return False
    low, high = x.aminmax()
    return -limit < float(low) and float(high) < limit  # false for NaN


class _ScaleFromLog(Function):
    """exp of ``soft_clip`` as one operation."""

    @staticmethod
    def forward(ctx: Any, log_scale: Tensor) -> Tensor:
        """The scale."""
        inside = log_scale.clamp(-_LOG_SCALE_LIMIT, _LOG_SCALE_LIMIT)
        excess = log_scale - inside
        beyond = (excess.abs() / _LOG_SCALE_MARGIN).add_(1)
        scale = excess.div_(beyond).add_(inside).exp_()
        ctx.save_for_backward(log_scale, scale, beyond)
        return scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """The slope of the clip is 1 / (1 + excess / margin)²; differentiable itself."""
        log_scale, scale, beyond = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is asked for
            beyond = 1 + torch.relu(log_scale.abs() - _LOG_SCALE_LIMIT) / _LOG_SCALE_MARGIN
        return grads[0] * scale / beyond.square()


def scale_from_log(log_scale: Tensor) -> Tensor:
    """exp for scales (standard deviations): exact between 1e-6 and 1e6, and never outside 1e-7 and 1e7."""
    if _within(log_scale.detach(), _LOG_SCALE_LIMIT):
        return log_scale.exp()  # the same numbers and slopes, at a fifth of the operations
    scale: Tensor = _ScaleFromLog.apply(log_scale)
    return scale
