"""A posterior of positive latents."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Gamma as GammaDistribution
from torch.distributions import Independent, constraints

from reparam.distributions import bounded_exp
from reparam.posteriors.base import Posterior, halves


class Gamma(Posterior):
    """Independent Gamma(a(x), rate r(x)) in each dimension; implicit reparameterization (Figurnov et al. 2018).

    Its KL to ``priors.Gamma`` is in closed form.

    Shapes: net maps x (B, *event) to (B, 2D): D logarithms of a, then D of r. a is exact between 0.2 and 1e4 (below,
    draws would fall under the smallest float32), r between 1e-4 and 1e4; both are bounded by twice more.

    Raises:
        InputError: if the last dimension of the net's output is odd.
    """

    support = constraints.positive

    def read(self, out: Tensor) -> Independent:
        """Batch (B,), event (D,) of positive numbers."""
        log_a, log_rate = halves(out, "Gamma", "log-concentrations", "log-rates")
        a, rate = bounded_exp(log_a, 0.2, 1e4), bounded_exp(log_rate, 1e-4, 1e4)
        return Independent(GammaDistribution(a, rate, validate_args=False), 1, validate_args=False)
