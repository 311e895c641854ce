"""Posteriors of latents that are shares: D numbers above zero whose sum is one."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Dirichlet as DirichletDistribution
from torch.distributions import constraints

from reparam.distributions import LogisticNormal as LogisticNormalDistribution
from reparam.distributions import bounded_exp
from reparam.numerics import soft_clip
from reparam.posteriors.base import Posterior, halves


class LogisticNormal(Posterior):
    """softmax(y, 0) for y ~ N(mu(x), diag s²(x)) in D - 1 dimensions (Aitchison & Shen 1980; Srivastava & Sutton 2017).

    Densities are with respect to the first D - 1 shares, as those of Dirichlet are.

    Shapes: net maps x (B, *event) to (B, 2(D-1)): D - 1 means, then D - 1 log-variances. Means are exact up to 15 and
    below 20, s between 1e-3 and 3 and bounded by twice more, so that every share stays above the smallest float32.

    Raises:
        InputError: if the last dimension of the net's output is odd.
    """

    support = constraints.simplex

    def read(self, out: Tensor) -> LogisticNormalDistribution:
        """Batch (B,), event (D,), on the simplex."""
        mean, log_variance = halves(out, "LogisticNormal", "- 1 means", "- 1 log-variances")
        return LogisticNormalDistribution(soft_clip(mean, 15, 5), bounded_exp(log_variance / 2, 1e-3, 3.0))


class Dirichlet(Posterior):
    """Dirichlet(a(x)), drawn by implicit reparameterization (Figurnov et al. 2018; Jankowiak & Obermeyer 2018).

    Its KL to ``priors.Dirichlet`` is in closed form.

    Shapes: net maps x (B, *event) to (B, D): logarithms of a, exact between 0.2 and 1e4 and bounded by
    twice more.
    """

    support = constraints.simplex

    def read(self, out: Tensor) -> DirichletDistribution:
        """Batch (B,), event (D,), on the simplex."""
        return DirichletDistribution(bounded_exp(out, 0.2, 1e4), validate_args=False)
