"""Fixed priors of latents that are positive, shares or directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Dirichlet as DirichletDistribution
from torch.distributions import Gamma as GammaDistribution
from torch.distributions import Independent

from reparam.conditional import Conditional
from reparam.distributions import SphereUniform as SphereUniformDistribution
from reparam.errors import InputError
from reparam.priors.gaussian import latent_dim


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be positive and finite, not {value!r}")
    return float(value)


class _Fixed(Conditional):
    """A prior without parameters to learn: ``one`` (D,) gives dtype and device."""

    one: Tensor

    def __init__(self, dim: int, least: int) -> None:
        super().__init__()
        self.dim = latent_dim(dim, least)
        self.register_buffer("one", torch.ones(dim), persistent=False)


class Gamma(_Fixed):
    """Independent Gamma(concentration, rate) in each of ``dim`` dimensions, for posteriors.Gamma.

    Raises:
        InputError: for a dimension below 1, or parameters that are not positive.
    """

    def __init__(self, dim: int, concentration: float = 1.0, rate: float = 1.0) -> None:
        super().__init__(dim, 1)
        self.concentration, self.rate = _positive("concentration", concentration), _positive("rate", rate)

    def forward(self, *given: Tensor) -> Independent:
        """Batch (), event (D,) of positive numbers."""
        base = GammaDistribution(self.concentration * self.one, self.rate * self.one, validate_args=False)
        return Independent(base, 1, validate_args=False)


class Dirichlet(_Fixed):
    """The symmetric Dirichlet on the simplex of ``dim`` shares, for posteriors.Dirichlet and posteriors.LogisticNormal.

    At concentration 1 it is uniform; below, it prefers few large shares.

    Raises:
        InputError: for fewer than 2 shares, or a concentration that is not positive.
    """

    def __init__(self, dim: int, concentration: float = 1.0) -> None:
        super().__init__(dim, 2)
        self.concentration = _positive("concentration", concentration)

    def forward(self, *given: Tensor) -> DirichletDistribution:
        """Batch (), event (D,), on the simplex."""
        return DirichletDistribution(self.concentration * self.one, validate_args=False)


class SphereUniform(_Fixed):
    """Uniform on the unit sphere in ``dim`` dimensions, for posteriors.VonMisesFisher.

    Raises:
        InputError: for fewer than 2 dimensions.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 2)

    def forward(self, *given: Tensor) -> SphereUniformDistribution:
        """Batch (), event (D,), vectors of length one."""
        return SphereUniformDistribution(self.one)
