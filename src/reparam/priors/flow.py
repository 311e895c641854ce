"""A learned prior of any shape: autoregressive maps of a standard normal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from reparam.conditional import Conditional
from reparam.distributions import Flow as FlowDistribution
from reparam.distributions import autoregressive
from reparam.priors.contexts import joined
from reparam.priors.gaussian import latent_dim


class Flow(Conditional):
    """Masked autoregressive flow (Papamakarios et al. 2017), or with ``kind="spline"`` that of Durkan et al. (2019).

    Densities, which training needs, cost one pass through each of the ``transforms`` maps; samples cost D passes each.
    ``context`` is the total size of the contexts c of p(z|c); at 0 they are ignored.

    Shapes: contexts (B, ...) are flattened and joined to (B, context).

    Raises:
        InputError: for numbers below 1, an unknown kind; when called, for contexts of another size.
        MissingExtraError: if zuko (the extra ``flows``) is not installed.
    """

    zero: Tensor
    one: Tensor

    def __init__(
        self, dim: int, transforms: int = 3, hidden: Sequence[int] = (64, 64), kind: str = "affine", context: int = 0
    ) -> None:
        super().__init__()
        self.dim, self.context = latent_dim(dim), context
        self.maps = autoregressive(dim, context, transforms, hidden, kind)
        self.transforms, self.hidden, self.kind = transforms, tuple(hidden), kind
        self.register_buffer("zero", torch.zeros(dim), persistent=False)
        self.register_buffer("one", torch.ones(dim), persistent=False)

    def forward(self, *given: Tensor) -> FlowDistribution:
        """Batch () without contexts, else (B,); event (D,)."""
        c = joined(given, self.context, self.zero)
        batch = torch.Size() if c is None else torch.Size(c.shape[:1])
        loc, scale = self.zero.expand(*batch, self.dim), self.one.expand(*batch, self.dim)
        base = Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        return FlowDistribution(base, [step(c) for step in self.maps], to_noise=True, batch_shape=batch)
