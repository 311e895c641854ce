"""The cells of a table as a network reads them: categories one-hot, missing ones as zeros beside a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reparam.calls import Written
from reparam.errors import InputError
from reparam.numerics import soft_clip

FAR = 5.0  # standard deviations up to which a number enters as it is; beyond, it is drawn in


class Cells(Written, nn.Module):
    """Another network of the rows of a table, whose missing cells are NaN.

    ``classes`` tells for each column what it holds: C >= 2 for one of C classes, as its number, which becomes C numbers
    of which one is 1; 1 for a count, which becomes its log(1 + x); 0 for a real number of order one. Then each is
    reduced by ``loc`` and divided by ``spread``, and what is missing is 0 (Mattei & Frellsen 2019). With ``mask`` one
    number more for each column says whether it is seen.

    Shapes: x (..., D) becomes (..., ``features``), which ``net`` reads; loc and spread (D,), used for columns that hold
    no classes.

    Raises:
        InputError: for a number of classes below 0; when called, for another number of columns.
    """

    loc: Tensor
    spread: Tensor

    def __init__(self, net: nn.Module, classes: Sequence[int], loc: Tensor, spread: Tensor, mask: bool = True) -> None:
        super().__init__()
        self.net, self.classes, self.mask = net, tuple(classes), mask
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("spread", spread.detach().clone())
        wanted = (len(self.classes),)
        if not self.classes or min(self.classes) < 0 or loc.shape != wanted or spread.shape != wanted:
            raise InputError("a table needs a number of classes, of at least 0, and loc and spread for each column")
        for name, chosen in (("real", 0), ("count", 1)):
            places = [i for i, c in enumerate(self.classes) if c == chosen]
            self.register_buffer(f"_{name}", torch.tensor(places, dtype=torch.long), persistent=False)

    @staticmethod
    def features(classes: Sequence[int], mask: bool = True) -> int:
        """How many numbers ``net`` reads."""
        return sum(max(1, c) for c in classes) + mask * len(classes)

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The network's output for each row."""
        if x.shape[-1:] != (len(self.classes),):
            raise InputError(f"this network takes rows of {len(self.classes)} columns; got {tuple(x.shape[1:])}")
        seen = ~x.isnan()
        known = torch.where(seen, x, 0.0)
        real, count = self.get_buffer("_real"), self.get_buffer("_count")
        values = torch.cat([known[..., real], known[..., count].clamp_min(0).log1p()], -1)
        numbers = torch.cat([real, count])
        values = soft_clip((values - self.loc[numbers]) / self.spread[numbers], FAR, FAR)
        parts = [torch.where(seen[..., numbers], values, 0.0)]
        for i, n in enumerate(self.classes):
            if n > 1:
                hot = nn.functional.one_hot(known[..., i].long().clamp(0, n - 1), n).to(x.dtype)
                parts.append(hot * seen[..., i, None])
        if self.mask:
            parts.append(seen.to(x.dtype))
        out: Tensor = self.net(torch.cat(parts, -1), *c)
        return out


class Floored(Written, nn.Module):
    """Another network, whose output channels from ``first`` on do not fall below about ``least``.

    They are log-variances of numbers that are known to a rounding, of which ``least`` is the log-variance: both
    variances add up. Without, the density of a column that repeats its values grows without bound.

    Shapes: net gives (..., channels, columns); least (columns,).
    """

    least: Tensor

    def __init__(self, net: nn.Module, first: int, least: Tensor) -> None:
        super().__init__()
        self.net, self.first = net, first
        self.register_buffer("least", least.detach().clone())

    def forward(self, *given: Tensor) -> Tensor:
        """The network's output, its last channels raised."""
        out: Tensor = self.net(*given)
        free, scales = out[..., : self.first, :], out[..., self.first :, :]
        return torch.cat([free, torch.logaddexp(scales, self.least.expand_as(scales))], -2)
