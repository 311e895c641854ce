"""Gaussian posteriors: of diagonal, low-rank and full covariance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, constraints

from reparam.distributions import normal_vector
from reparam.errors import InputError
from reparam.numerics import scale_from_log, soft_clip
from reparam.posteriors.base import Posterior, halves
from reparam.shapes import Float


class DiagonalGaussian(Posterior):
    """N(mu(x), diag sigma²(x)): the posterior of Kingma & Welling (2014), eq. 9.

    Shapes: net maps x (B, *event) to (B, 2D): D means, then D log-variances. The scale exp(log-variance / 2) is exact
    between 1e-6 and 1e6 and bounded beyond.

    Raises:
        InputError: if the last dimension of the net's output is odd.
    """

    support = constraints.real

    def read(self, out: Tensor) -> Independent:
        """Batch (B,), event (D,)."""
        mean, log_variance = halves(out, "DiagonalGaussian", "means", "log-variances")
        scale = scale_from_log(log_variance / 2)
        return normal_vector(mean, scale)


class FullGaussian(Posterior):
    """N(mu(x), L(x) L(x)') with a lower triangular L: every covariance.

    Shapes: net maps x (B, *event) to (B, D + D(D+1)/2): D means, then D logarithms of the diagonal of L, then the
    D(D-1)/2 elements below the diagonal, row by row. ``FullGaussian.pack`` writes that layout.

    Raises:
        InputError: if the last dimension of the net's output is not D + D(D+1)/2 for a whole D.
    """

    support = constraints.real

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

    def read(self, out: Tensor) -> MultivariateNormal:
        """Batch (B,), event (D,)."""
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


class LowRankGaussian(Posterior):
    """N(mu(x), S (I + F F') S) with S diagonal and F of ``rank`` columns: correlations for rank x D outputs.

    Shapes: net maps x (B, *event) to (B, D (2 + rank)): D means, then D log-variances of S², then F (D, rank) row by
    row. S is exp(log-variance / 2), exact between 1e-6 and 1e6; elements of F are exact up to 10 and below 20, so that
    the covariance keeps a condition number that float32 can factor.

    Raises:
        InputError: if ``rank`` is not a positive whole number; at the first call, if the last dimension of the net's
            output is not D (2 + rank) for a whole D.
    """

    support = constraints.real

    def __init__(self, net: nn.Module, rank: int) -> None:
        super().__init__(net)
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise InputError(f"the rank must be a whole number of at least 1, not {rank!r}")
        self.rank = rank

    @staticmethod
    def outputs(dim: int, rank: int) -> int:
        """How many numbers the net gives for ``dim`` latent dimensions."""
        return dim * (2 + rank)

    def read(self, out: Tensor) -> LowRankMultivariateNormal:
        """Batch (B,), event (D,)."""
        if out.shape[-1] % (2 + self.rank):
            raise InputError(
                f"LowRankGaussian of rank {self.rank} needs {2 + self.rank} outputs for each latent dimension; its net "
                f"gives {out.shape[-1]}, which is no multiple"
            )
        dim = out.shape[-1] // (2 + self.rank)
        mean, log_variance, factor = out.split([dim, dim, dim * self.rank], -1)
        scale = scale_from_log(log_variance / 2)
        factor = scale.unsqueeze(-1) * soft_clip(factor.unflatten(-1, (dim, self.rank)), 10, 10)
        return LowRankMultivariateNormal(mean, factor, scale.square(), validate_args=False)
