"""Columns of which a table has some combinations only: their law given z, restricted to those."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reparam.data.table import TableSchema
from reparam.distributions import Joined, unwrap
from reparam.errors import InputError
from reparam.estimators.tabular_limits import Limits


class _Group(NamedTuple):
    """Columns (C,) by their numbers, and the combinations (R, C) that the table has, as codes."""

    names: tuple[str, ...]
    places: Tensor
    rows: Tensor

    def logits(self, d: Joined) -> Tensor:
        """log p of each combination given z, as if columns were independent: batch of d, (R,)."""
        total = torch.zeros(())
        for j, i in enumerate(self.places.tolist()):
            total = total + class_log_probs(d, i)[..., self.rows[:, j]]
        return total

    def fits(self, known: Tensor, limits: Limits) -> Tensor:
        """Which combinations agree with the cells of ``known`` (..., W) that are no NaN and are within the limits."""
        cells = known[..., self.places].unsqueeze(-2)
        agree = (cells.isnan() | (cells == self.rows)).all(-1)
        inside = [limits.within(self.rows[:, j], i) for j, i in enumerate(self.places.tolist())]
        return agree & torch.stack(inside).all(0)


class Combinations:
    """The combinations of a schema.

    Given z, the columns of one are drawn together, by their law given that the combination is one of the table's; where
    some of them are known, given these too.
    """

    def __init__(self, schema: TableSchema) -> None:
        self.groups = [
            _Group(names, torch.tensor([schema.places[n] for n in names]), torch.tensor(rows))
            for names, rows in zip(schema.combinations, schema.seen, strict=True)
        ]
        self.columns = frozenset(i for g in self.groups for i in g.places.tolist())

    def require(self, row: Tensor, limits: Limits) -> None:
        """See that what is asked of a row (1, W) is met by some combination of each group.

        Raises:
            InputError: naming the columns of which none does.
        """
        for group in self.groups:
            if not bool(group.fits(row, limits).any()):
                raise InputError(f"no combination of {' and '.join(map(repr, group.names))} in the table meets this")

    def log_prob(self, d: Joined, row: Tensor, limits: Limits) -> Tensor:
        """log P(combinations agree with the row (1, W) and the limits | z): batch of d, in nats."""
        total = torch.zeros(d.batch_shape, dtype=torch.float64)
        for group in self.groups:
            logits = group.logits(d).double()
            met = torch.where(group.fits(row, limits), logits, -torch.inf).logsumexp(-1)
            total = total + met - logits.logsumexp(-1)
        return total

    def draw(self, d: Joined, x: Tensor, known: Tensor, limits: Limits) -> Tensor:
        """Rows x (N, W), their columns of combinations drawn anew given z and the ``known`` cells (N, W).

        A row of which no combination fits what is known of it stays as it is.
        """
        for group in self.groups:
            fits = group.fits(known, limits)
            logits = torch.where(fits, group.logits(d), -torch.inf)
            logits = torch.where(fits.any(-1, keepdim=True), logits, 0.0)
            chosen = group.rows[torch.distributions.Categorical(logits=logits).sample()].to(x)
            x = x.clone()
            x[..., group.places] = torch.where(fits.any(-1, keepdim=True), chosen, x[..., group.places])
        return x

    def likeliest(self, d: Joined, weights: Tensor, known: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The most probable combination of each row given weighted draws of z and its known cells (B, W).

        For each group: columns (C,), which rows have one (B,), its codes (B, C), and the probability of each (B, C).
        ``d`` has batch (K, B), weights (K, B).
        """
        found = []
        for group in self.groups:
            fits = group.fits(known, Limits.none(known.shape[-1]))
            logits = torch.where(fits, group.logits(d).double(), -torch.inf)
            p = (weights.unsqueeze(-1) * logits.softmax(-1).nan_to_num()).sum(0)
            best = group.rows[p.argmax(-1)]
            same = (group.rows == best.unsqueeze(-2)).double()  # (B, R, C)
            found.append((group.places, fits.any(-1), best, (p.unsqueeze(-1) * same).sum(-2)))
        return found


def class_log_probs(d: Joined, i: int) -> Tensor:
    """log p of each class of column i, which holds categories: batch of d, (classes,)."""
    for part, places in zip(d.parts, d.columns, strict=True):
        at = (places == i).nonzero()
        if len(at):
            probs: Tensor = unwrap(part).probs  # type: ignore[attr-defined]
            if probs.dim() == len(d.batch_shape) + 1:  # of one of two classes
                p = probs[..., int(at[0])]
                probs = torch.stack([1 - p, p], -1)
            else:
                probs = probs[..., int(at[0]), :]
            return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
    raise ValueError(f"no part has column {i}")
