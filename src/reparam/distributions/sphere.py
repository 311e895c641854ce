"""Distributions on the unit sphere: the uniform one and von Mises-Fisher."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints

from reparam.distributions.polar import log_mean_exp_cosine, mean_cosine, polar_angle


class _Sphere(constraints.Constraint):
    """Vectors of length one, to the rounding of float32."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        """Whether each vector has length one."""
        return (value.norm(dim=-1) - 1).abs() < 1e-4


sphere = _Sphere()


def log_area(dim: int) -> float:
    """log of the area of the unit sphere in ``dim`` dimensions: 2 π^(D/2) / Γ(D/2)."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


class SphereUniform(Distribution):
    """Constant density on the unit sphere, with respect to its area.

    Shapes: ``like`` (D,) gives dtype, device and dimension; batch (), event (D,).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    support = sphere
    has_rsample = True

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), like.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.like)

    @property
    def variance(self) -> Tensor:
        """1 / D in each element."""
        return torch.full_like(self.like, 1 / len(self.like))

    def image(self, eps: Tensor) -> Tensor:
        """The draws that standard normal noise decides: its directions."""
        return eps / eps.norm(dim=-1, keepdim=True)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples (*sample, D)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.image(torch.randn(shape, dtype=self.like.dtype, device=self.like.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log of the sphere's area, in nats."""
        return torch.full_like(value[..., 0], -log_area(len(self.like)))


class VonMisesFisher(Distribution):
    """Density proportional to exp(kappa mu'z) on the unit sphere, with respect to its area (Davidson et al. 2018).

    The angle to mu is drawn by inverting its distribution function, not by rejection: D normal numbers decide a draw,
    and its gradient is the implicit one, -∂F/∂kappa / f (Figurnov et al. 2018, eq. 6), with no score term for
    acceptance. Around mu the draw turns rigidly with mu. Gradients of draws are of first order only.

    Shapes: loc (*batch, D) of length one, concentration (*batch,) positive; event (D,), D >= 2.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    support = sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self.loc, self.concentration = loc, concentration
        super().__init__(concentration.shape, loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMisesFisher:
        """The same distribution with a larger batch shape."""
        return VonMisesFisher(self.loc.expand(*batch_shape, *self.event_shape), self.concentration.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        """A_D(kappa) mu, inside the sphere."""
        return mean_cosine(self.concentration, self.event_shape[0]).unsqueeze(-1) * self.loc

    @property
    def centre(self) -> Tensor:
        """The mean direction mu, on the sphere."""
        return self.loc

    @property
    def covariance_matrix(self) -> Tensor:
        """a I + (1 - A² - D a) mu mu', a = A / kappa, as E[zz'] has trace one and a across mu."""
        dim, along = self.event_shape[0], mean_cosine(self.concentration, self.event_shape[0])
        across = (along / self.concentration)[..., None, None]
        outer = self.loc.unsqueeze(-1) * self.loc.unsqueeze(-2)
        eye = torch.eye(dim, dtype=self.loc.dtype, device=self.loc.device)
        return across * eye + (1 - along.square()[..., None, None] - dim * across) * outer

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        return self.covariance_matrix.diagonal(dim1=-2, dim2=-1)

    def image(self, eps: Tensor) -> Tensor:
        """The draws that standard normal noise decides: its part along mu gives the angle, its rest the direction."""
        drawn: Tensor = _Draw.apply(self.loc, self.concentration, eps)
        return drawn

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples (*sample, *batch, D), with gradient to mu and kappa."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.image(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats, with respect to the sphere's area."""
        dim = self.event_shape[0]
        # mu'z - 1 through the distance: at large kappa z is near mu, and the product would cancel
        away = (value - self.loc).square().sum(-1) / 2
        excess = log_mean_exp_cosine(self.concentration, dim, shifted=True)
        return -self.concentration * away - excess - log_area(dim)

    def kl_uniform(self) -> Tensor:
        """KL to the uniform distribution on the sphere, in nats: kappa (A - 1) - log E_uniform exp(kappa (w - 1))."""
        dim, kappa = self.event_shape[0], self.concentration
        down = mean_cosine(kappa, dim, shifted=True)
        return kappa * down - log_mean_exp_cosine(kappa, dim, shifted=True)


class _Draw(torch.autograd.Function):
    """z = cos θ mu + sin θ v, with v a unit vector across mu."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, concentration: Tensor, eps: Tensor) -> Tensor:
        along = (eps * loc).sum(-1, keepdim=True)
        across = eps - along * loc
        across = across / across.norm(dim=-1, keepdim=True)
        angle, slope = polar_angle(concentration, loc.shape[-1], along.squeeze(-1))
        cos, sin = angle.cos().unsqueeze(-1), angle.sin().unsqueeze(-1)
        ctx.save_for_backward(loc, across, cos, sin, slope)
        ctx.shapes = loc.shape, concentration.shape
        return cos * loc + sin * across

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        loc, across, cos, sin, slope = ctx.saved_tensors
        turned = (grad * loc).sum(-1, keepdim=True)  # dv = -mu (v'dmu): v turns with mu
        to_loc = cos * grad - sin * turned * across
        to_kappa = (grad * (cos * across - sin * loc)).sum(-1) * slope
        return to_loc.sum_to_size(ctx.shapes[0]), to_kappa.sum_to_size(ctx.shapes[1]), None
