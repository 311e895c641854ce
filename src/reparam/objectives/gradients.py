"""Gradients that take one road only: through the samples, or through the parameters.

A log density log q(z|x) depends on the encoder twice, through its parameters and through z, which the encoder made. The
gradient of the first kind has mean zero (the score) and only adds noise; estimators differ in how they treat it.
Nothing here asks what kind of distribution q is: the slope in z is taken at a copy of z that has no history, so no
parameters need to be detached by rebuilding a distribution, and no cache of a flow can bridge the two roads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reparam.errors import InputError
from reparam.vae import Draw


def by_score(value: Callable[[Draw], Tensor], draw: Draw, whole: Tensor) -> Tensor:
    """Zeros (B,) whose gradient is the part of ∂ E ``value`` that goes through the law of the samples.

    That part is E Σ_i (L - L_-i) ∂ log q(z_i|x), with L = value(draw) = ``whole`` and a baseline L_-i that may be any
    function of the other samples (Williams 1992). Here it is the value with sample i's log densities replaced by the
    means of the others': for means of log w that is to leave i out (Kool et al. 2019), and for logs of means of w it
    is VIMCO (Mnih & Rezende 2016, eq. 9-10). A single sample has no baseline.
    """
    terms = [draw.log_px, draw.log_pz, draw.log_qz]  # read here, so that the draw keeps them with their gradients
    with torch.no_grad():
        others: Tensor | float = 0.0
        if len(draw.log_px) > 1:
            terms = [_one_by_the_others(t) for t in terms]
            log_px, log_pz, log_qz = terms
            others = value(Draw(draw.q, draw.p, draw.z, log_px, log_pz, log_qz, contexts=draw.contexts))
        signal = whole - others
    return (signal * (draw.log_qz - draw.log_qz.detach())).sum(0)


def _one_by_the_others(values: Tensor) -> Tensor:
    """(K, B) to (K, K, B): at [:, i] the values with the i-th replaced by the mean of the others."""
    rest = (values.sum(0) - values) / (len(values) - 1)
    own = torch.eye(len(values), dtype=torch.bool, device=values.device).unsqueeze(-1)
    return torch.where(own, rest.unsqueeze(0), values.unsqueeze(1))


def require_path(draw: Draw, what: str) -> None:
    """Refuse samples that carry no gradient to the encoder, for estimators that need it.

    Raises:
        InputError: naming what needs it.
    """
    if not draw.q.has_rsample:
        raise InputError(
            f"{what} takes gradients through the samples, and those of {type(draw.q).__name__} carry none that is "
            "exact: choose a reparameterized posterior such as posteriors.DiagonalGaussian, or gradient='score' with "
            "ReweightedWakeSleep or an objective whose gradient is plain"
        )


def slope_of_log_q(draw: Draw) -> Tensor:
    """The derivative of log q(z|x) with respect to z alone, (K, B, D), as a constant."""
    with torch.enable_grad():
        z = draw.z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(draw.q.log_prob(z).sum(), z)
    return slope


def slope_of_log_joint(draw: Draw) -> Tensor:
    """The derivative of log p(x|z) p(z) with respect to z alone, (K, B, D), as a constant.

    One backward pass through the decoder, besides that of the training step.
    """
    (slope,) = torch.autograd.grad((draw.log_px + draw.log_pz).sum(), draw.z, retain_graph=True)
    return slope


def along(slope: Tensor, z: Tensor) -> Tensor:
    """A value of 0 whose gradient with respect to z is ``slope``: (K, B, D) to (K, B)."""
    return (slope * (z - z.detach())).sum(-1)


def log_q_by_path(draw: Draw) -> Tensor:
    """log q(z|x), (K, B), whose gradient passes through z only ("sticking the landing", Roeder et al. 2017)."""
    return draw.log_qz.detach() + along(slope_of_log_q(draw), draw.z)


def log_q_by_parameters(draw: Draw) -> Tensor:
    """log q(z|x), (K, B), whose gradient passes through its parameters only: z counts as given."""
    return draw.q.log_prob(draw.z.detach())


def log_joint_weighing(draw: Draw, model: Tensor, path: Tensor) -> Tensor:
    """Σ log p(x, z), (B,), with separate weights for what the model learns from it and for what the encoder does.

    The gradient for prior and likelihood is Σ model ∂ log p(x, z), that through z is Σ path ∂ log p(x, z)/∂z. Neither
    weight, (K, B), carries gradient.
    """
    total = (model.detach() * (draw.log_px + draw.log_pz)).sum(0)
    if not draw.z.requires_grad:
        return total
    require_path(draw, "an objective with separate gradients for encoder and decoder")
    excess = (path - model).detach().unsqueeze(-1)
    return total + along(excess * slope_of_log_joint(draw), draw.z).sum(0)
