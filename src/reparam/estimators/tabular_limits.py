"""What is known of the cells of a row: intervals and sets of codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from reparam.data.table import TableSchema


class Limits(NamedTuple):
    """What is known of the cells of one row: each within [low, high], and in ``allowed`` where that is a set of codes.

    Shapes: low and high (W,), in the model's numbers.
    """

    low: Tensor
    high: Tensor
    allowed: Mapping[int, frozenset[int]]

    @staticmethod
    def of(schema: TableSchema) -> Limits:
        """The bounds of the schema."""
        ends = [c.bounds() for c in schema.modelled] + [(0.0, 1.0)] * len(schema.indicators)
        low, high = torch.tensor(ends, dtype=torch.float64).mT
        return Limits(low, high, {})

    @staticmethod
    def none(width: int) -> Limits:
        """No limits, of so many columns."""
        inf = torch.full((width,), torch.inf, dtype=torch.float64)
        return Limits(-inf, inf, {})

    def check(self, x: Tensor) -> Tensor:
        """Whether each cell is inside."""
        inside = (x.double() >= self.low) & (x.double() <= self.high)
        for i, codes in self.allowed.items():
            inside[..., i] = torch.isin(x[..., i], torch.tensor(sorted(codes)).to(x))
        return inside

    def within(self, values: Tensor, i: int) -> Tensor:
        """Whether each of these values of column i is inside."""
        if i in self.allowed:
            return torch.isin(values, torch.tensor(sorted(self.allowed[i])).to(values))
        return (values.double() >= self.low[i]) & (values.double() <= self.high[i])
