"""A mixture of distributions of any families, given as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution


class Blend(Distribution):
    """The mixture Σ weights_i p_i(z) of components that need not be of one family or batch shape.

    ``torch.distributions.MixtureSameFamily`` is for components that are one batch of one family.

    Shapes: components with equal event shapes and batch shapes that broadcast; weights sum to one.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)

    def __init__(self, components: Sequence[Distribution], weights: Sequence[float]) -> None:
        self.components = tuple(components)
        self.weights = torch.tensor(weights, dtype=torch.float64)
        batch = torch.broadcast_shapes(*(d.batch_shape for d in components))
        super().__init__(batch, components[0].event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """That of the first component."""
        return self.components[0].support

    @property
    def mean(self) -> Tensor:
        """The weighted mean of the means."""
        means = [w * d.mean for w, d in zip(self.weights.tolist(), self.components, strict=True)]
        return torch.stack(torch.broadcast_tensors(*means)).sum(0)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Each sample from one component, drawn by its weight."""
        shape = self._extended_shape(torch.Size(sample_shape))
        lead = shape[: len(shape) - len(self.event_shape)]
        chosen = torch.multinomial(self.weights, lead.numel(), replacement=True).reshape(lead)
        draws = [d.expand(self.batch_shape).sample(sample_shape) for d in self.components]
        out = draws[0]
        for i, draw in enumerate(draws):
            mask = (chosen == i).to(draw.device).reshape(*lead, *(1 for _ in self.event_shape))
            out = torch.where(mask, draw, out)
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        terms = [w + d.log_prob(value) for w, d in zip(self.weights.log().tolist(), self.components, strict=True)]
        return torch.logsumexp(torch.stack(torch.broadcast_tensors(*terms)), 0)
