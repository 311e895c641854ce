"""A network whose output for each place sees the places before it only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from reparam.networks.perceptron import as_shape


class MaskedLinear(nn.Linear):
    """A linear layer with some of its weights held at zero: those where ``mask`` (outputs, inputs) is false."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The masked product."""
        return linear(x, self.weight * self.mask, self.bias)


class MaskedCodes(nn.Module):
    """Scores of every code at each place, given the codes at the places before it (Germain et al. 2015, for codes).

    Each code has a vector of ``width`` numbers, the same at all places, at the input and at the output. Scores start
    at zero. ``hidden`` may be empty.

    Shapes: index (..., groups) of whole numbers gives (..., groups, codes).
    """

    def __init__(self, groups: int, codes: int, hidden: Sequence[int] = (256,), width: int = 16) -> None:
        super().__init__()
        groups, codes, width, *sizes = as_shape((groups, codes, width, *hidden), "sizes of a masked network")
        self.embedding = nn.Embedding(codes, width)
        outer = torch.arange(groups).repeat_interleave(width)
        # a hidden unit of rank r sees the places before r; an output at place g sees units of rank g or less
        ranks = [outer + 1, *(torch.arange(size) * groups // size for size in sizes), outer]
        pairs = list(itertools.pairwise(ranks))
        layers: list[nn.Module] = []
        for before, after in pairs:
            layers += [MaskedLinear(after.unsqueeze(-1) >= before), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.head = nn.Parameter(torch.zeros(codes, width))
        self.bias = nn.Parameter(torch.zeros(groups, codes))
        self.shape = (groups, width)

    def forward(self, index: Tensor) -> Tensor:
        """The scores, (..., groups, codes)."""
        out: Tensor = self.layers(self.embedding(index).flatten(-2)).unflatten(-1, self.shape)
        return out @ self.head.T + self.bias
