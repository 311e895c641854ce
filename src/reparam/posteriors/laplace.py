"""The Laplace posterior."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Independent, constraints
from torch.distributions import Laplace as LaplaceDistribution

from reparam.numerics import scale_from_log
from reparam.posteriors.base import Posterior, halves


class Laplace(Posterior):
    """Independent Laplace(mu(x), b(x)) in each dimension: heavier tails than a Gaussian, as importance sampling wants.

    Its KL to a Gaussian with independent dimensions is in closed form, from E|z - mu| = b and E(z - mu)² = 2b².

    Shapes: net maps x (B, *event) to (B, 2D): D means, then D log-scales log b. The scale is exact between 1e-6 and 1e6
    and bounded beyond.

    Raises:
        InputError: if the last dimension of the net's output is odd.
    """

    support = constraints.real

    def read(self, out: Tensor) -> Independent:
        """Batch (B,), event (D,)."""
        mean, log_scale = halves(out, "Laplace", "means", "log-scales")
        base = LaplaceDistribution(mean, scale_from_log(log_scale), validate_args=False)
        return Independent(base, 1, validate_args=False)
