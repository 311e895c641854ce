"""Mixtures of any distributions that have a density."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution


class Mixture(Distribution):
    """Σ_c w_c p_c(z). Density: logsumexp over components. Samples: a component is drawn, then a value of it.

    ``torch.distributions.MixtureSameFamily`` draws from every component for each sample and keeps one; here n samples
    cost n draws and those that uneven counts waste.

    Shapes: logits (C,), unnormalised; components have batch (C,) and any event; the mixture has batch ().
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    has_rsample = False

    def __init__(self, logits: Tensor, components: Distribution) -> None:
        if components.batch_shape != logits.shape or logits.dim() != 1:
            raise ValueError(f"logits {tuple(logits.shape)} do not fit components {tuple(components.batch_shape)}")
        self.log_weights, self.components = logits.log_softmax(-1), components
        super().__init__(torch.Size(), components.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """That of the components."""
        return self.components.support

    def _average(self, values: Tensor) -> Tensor:
        return torch.tensordot(self.log_weights.exp(), values, 1)

    @property
    def mean(self) -> Tensor:
        """Σ w_c m_c."""
        return self._average(self.components.mean)

    @property
    def variance(self) -> Tensor:
        """Σ w_c (v_c + (m_c - m)²), elementwise."""
        return self._average(self.components.variance + (self.components.mean - self.mean).square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats: value (..., *event) gives (...)."""
        each = self.components.log_prob(value.unsqueeze(-1 - len(self.event_shape)))
        return (each + self.log_weights).logsumexp(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples (*sample, *event): the r-th draw of a component serves the r-th sample that chose it."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            chosen = self.log_weights.exp().multinomial(max(1, shape.numel()), replacement=True)[: shape.numel()]
            counts = chosen.bincount(minlength=len(self.log_weights))
            order = chosen.argsort(stable=True)
            rank = torch.empty_like(chosen)
            first = (counts.cumsum(0) - counts)[chosen[order]]
            rank[order] = torch.arange(len(chosen), device=chosen.device) - first
            draws = self.components.sample(torch.Size([int(counts.max())]))
            return draws[rank, chosen].reshape(shape + self.event_shape)
