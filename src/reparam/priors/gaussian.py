"""Gaussian priors: the standard one, and any other that is given."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal

from reparam.conditional import Conditional
from reparam.distributions import StandardNormalVector, normal_vector
from reparam.errors import InputError


def latent_dim(dim: int, least: int = 1) -> int:
    """``dim``, if a latent space can have so many dimensions.

    Raises:
        InputError: unless it is a whole number of at least ``least``.
    """
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < least:
        raise InputError(f"a latent space needs at least {least} dimension{'s' * (least > 1)}, not {dim!r}")
    return dim


class StandardNormal(Conditional):
    """N(0, I) in ``dim`` dimensions, whatever the contexts.

    Raises:
        InputError: if ``dim`` is not a positive whole number.
    """

    zero: Tensor
    one: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = latent_dim(dim)
        self.register_buffer("zero", torch.zeros(dim), persistent=False)
        self.register_buffer("one", torch.ones(dim), persistent=False)

    def forward(self, *given: Tensor) -> Independent:
        """Batch (), event (D,)."""
        return normal_vector(self.zero, self.one, StandardNormalVector)


class Gaussian(Conditional):
    """N(mean, covariance), fixed, whatever the contexts.

    Give ``covariance`` (D, D), or ``scale_tril``, a lower triangular factor of it whose part above the diagonal is not
    read. ``mean`` is (D,).

    Raises:
        InputError: unless exactly one of the two is given, of shape (D, D), finite, and positive definite.
    """

    mean: Tensor
    scale_tril: Tensor

    def __init__(self, mean: Tensor, covariance: Tensor | None = None, scale_tril: Tensor | None = None) -> None:
        super().__init__()
        given = covariance if scale_tril is None else scale_tril
        if given is None or (covariance is not None and scale_tril is not None):
            raise InputError("a Gaussian prior needs either covariance or scale_tril")
        if mean.dim() != 1 or given.shape != (len(mean), len(mean)):
            raise InputError(f"a mean of shape {tuple(mean.shape)} does not fit a matrix {tuple(given.shape)}")
        factor = _factor(given) if scale_tril is None else given.tril()
        if not bool(mean.isfinite().all() & factor.isfinite().all() & (factor.diagonal() > 0).all()):
            raise InputError("a Gaussian prior needs finite numbers, and a factor with a positive diagonal")
        self.covariance = None  # kept as its factor, from which the prior is also rebuilt
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("scale_tril", factor.detach().clone())

    def forward(self, *given: Tensor) -> MultivariateNormal:
        """Batch (), event (D,)."""
        return MultivariateNormal(self.mean, scale_tril=self.scale_tril, validate_args=False)


def _factor(covariance: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) or not torch.allclose(covariance, covariance.mT, rtol=1e-4, atol=0):
        raise InputError("the covariance of a Gaussian prior must be symmetric and positive definite")
    return factor
