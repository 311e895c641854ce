"""A perceptron of which each group of outputs reads the groups of inputs before it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reparam.networks.perceptron import as_shape


class _MaskedLinear(nn.Linear):
    """A linear layer whose unit j reads unit i where ``reads(degree of j, degree of i)``."""

    mask: Tensor

    def __init__(self, before: Tensor, after: Tensor, strict: bool) -> None:
        super().__init__(len(before), len(after))
        late, early = after.unsqueeze(1), before.unsqueeze(0)
        self.register_buffer("mask", (late > early if strict else late >= early).float(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.mask.to(self.weight.dtype) * self.weight, self.bias)


class Masked(nn.Module):
    """Group g of the outputs depends on groups 1 ... g - 1 of the inputs and on the contexts (Germain et al. 2015).

    ``groups`` groups of ``width`` inputs and as many outputs; ``hidden`` sizes with ELU between; ``context`` more
    inputs that all may read. Besides, each output reads its inputs directly, so that no hidden unit need carry them.

    Shapes: x (..., groups width) and c (..., context) give (..., groups width).
    """

    def __init__(self, groups: int, width: int, hidden: Sequence[int] = (64,), context: int = 0) -> None:
        super().__init__()
        sizes = as_shape(hidden, "hidden sizes") if hidden else ()
        ends = torch.arange(1, groups + 1).repeat_interleave(width)  # the degree of a unit: the last group it may know
        inputs = torch.cat([ends, torch.zeros(context, dtype=torch.long)])
        degrees = [inputs, *(torch.arange(size) % groups for size in sizes)]
        self.layers = nn.ModuleList(_MaskedLinear(a, b, False) for a, b in itertools.pairwise(degrees))
        self.last = _MaskedLinear(torch.cat(degrees if len(degrees) == 1 else [degrees[-1], inputs]), ends, True)

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The output for each vector."""
        given = torch.cat([x, *c], -1)
        h = given
        for layer in self.layers:
            h = nn.functional.elu(layer(h))
        out: Tensor = self.last(torch.cat([h, given], -1) if self.layers else given)
        return out
