"""A learned mixture of Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from reparam.conditional import Conditional
from reparam.distributions import Mixture as MixtureDistribution
from reparam.errors import InputError
from reparam.numerics import scale_from_log
from reparam.priors.gaussian import latent_dim


class Mixture(Conditional):
    """Σ_c w_c N(m_c, diag s_c²) with learned weights, means and scales, whatever the contexts.

    Means start as draws of N(0, I), scales at 1, weights equal. Scales are exact between 1e-6 and 1e6 and
    bounded beyond.

    Raises:
        InputError: if ``dim`` or ``components`` is not a positive whole number.
    """

    def __init__(self, dim: int, components: int) -> None:
        super().__init__()
        if isinstance(components, bool) or not isinstance(components, int) or components < 1:
            raise InputError(f"a mixture needs at least 1 component, not {components!r}")
        self.dim, self.components = latent_dim(dim), components
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, dim))
        self.log_scales = nn.Parameter(torch.zeros(components, dim))

    def forward(self, *given: Tensor) -> MixtureDistribution:
        """Batch (), event (D,)."""
        base = Normal(self.means, scale_from_log(self.log_scales), validate_args=False)
        return MixtureDistribution(self.logits, Independent(base, 1, validate_args=False))
