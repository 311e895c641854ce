"""Posteriors q(z|x): conditionals with batch (B,) and event (D,), drawn by reparameterization."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

from reparam.conditional import Conditional
from reparam.distributions import Delta
from reparam.errors import InputError
from reparam.numerics import scale_from_log
from reparam.shapes import Float

__all__ = ["DiagonalGaussian", "FullGaussian", "Point"]


class Point(Conditional):
    """The conventional autoencoder's encoder: all mass on ``net(x)``.

    It has no density, so the ELBO does not exist for it; train it with ``objectives.Reconstruction``.

    Shapes: net maps x (B, *event) to (B, D).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *c: Tensor) -> Delta:
        """Batch (B,), event (D,)."""
        return Delta(self.net(x, *c), validate_args=False)


class DiagonalGaussian(Conditional):
    """N(mu(x), diag sigma²(x)): the posterior of Kingma & Welling (2014), eq. 9.

    Shapes: net maps x (B, *event) to (B, 2D): D means, then D log-variances. The scale exp(log-variance / 2) is exact
    between 1e-6 and 1e6 and bounded beyond.

    Raises:
        InputError: if the last dimension of the net's output is odd.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *c: Tensor) -> Independent:
        """Batch (B,), event (D,)."""
        out: Tensor = self.net(x, *c)
        if out.shape[-1] % 2:
            raise InputError(
                f"DiagonalGaussian needs D means and D log-variances, an even number; its net gives {out.shape[-1]}"
            )
        mean, log_variance = out.chunk(2, -1)
        scale = scale_from_log(log_variance / 2)
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


class FullGaussian(Conditional):
    """N(mu(x), L(x) L(x)') with a lower triangular L: every covariance.

    Shapes: net maps x (B, *event) to (B, D + D(D+1)/2): D means, then D logarithms of the diagonal of L, then the
    D(D-1)/2 elements below the diagonal, row by row. ``FullGaussian.pack`` writes that layout.

    Raises:
        InputError: if the last dimension of the net's output is not D + D(D+1)/2 for a whole D.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @staticmethod
    def outputs(dim: int) -> int:
        """How many numbers the net gives for ``dim`` latent dimensions."""
        return dim + dim * (dim + 1) // 2

    @staticmethod
    def pack(mean: Float[Tensor, "... d"], factor: Float[Tensor, "... d d"]) -> Float[Tensor, "... m"]:
        """The net's output that stands for this mean and this Cholesky factor."""
        rows, columns = torch.tril_indices(mean.shape[-1], mean.shape[-1], -1)
        diagonal = factor.diagonal(dim1=-2, dim2=-1).log()
        lead = torch.broadcast_shapes(mean.shape[:-1], factor.shape[:-2])
        parts = [mean, diagonal, factor[..., rows, columns]]
        return torch.cat([p.expand(*lead, p.shape[-1]) for p in parts], -1)

    def forward(self, x: Tensor, *c: Tensor) -> MultivariateNormal:
        """Batch (B,), event (D,)."""
        out: Tensor = self.net(x, *c)
        dim = (math.isqrt(9 + 8 * out.shape[-1]) - 3) // 2
        if dim < 1 or self.outputs(dim) != out.shape[-1]:
            raise InputError(
                f"FullGaussian needs D + D(D+1)/2 outputs (2, 5, 9, 14, ... for D = 1, 2, 3, 4, ...); "
                f"its net gives {out.shape[-1]}"
            )
        mean, diagonal, below = out.split([dim, dim, dim * (dim - 1) // 2], -1)
        factor = torch.diag_embed(scale_from_log(diagonal))
        rows, columns = torch.tril_indices(dim, dim, -1, device=out.device)
        factor[..., rows, columns] = below
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False)
