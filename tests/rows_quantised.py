"""Rows of the table of laws: posteriors and priors whose latents are codes."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam import posteriors, priors
from reparam.distributions import Codewords
from reparam.objectives import penalties
from rows import LATENT, Row, atom

GROUPS = 3


def every_index(book) -> Tensor:
    """The numbers of all values, (codes ** groups, groups)."""
    return torch.tensor(list(product(range(book.codes), repeat=book.groups)))


def every_code(d: Distribution) -> tuple[Tensor, Tensor]:
    assert isinstance(d, Codewords)
    points = d.book.vectors(every_index(d.book))
    return points, torch.ones(len(points))


def vector(net: nn.Module, decay: float | None = 0.9, groups: int = GROUPS) -> nn.Module:
    return posteriors.VectorQuantized(net, groups, LATENT, 4, decay)


def scalar(net: nn.Module, groups: int = GROUPS) -> nn.Module:
    return posteriors.FiniteScalar(net, (3, 2), groups)


def codes(make, over: str):
    return lambda net: priors.Codes(make(net), over, (7, 5))


OUT = GROUPS * LATENT
POSTERIORS = {
    "VectorQuantized": Row(posteriors.VectorQuantized, vector, OUT, atom),
    "VectorQuantized by gradient": Row(posteriors.VectorQuantized, lambda net: vector(net, None), OUT, atom),
    "FiniteScalar": Row(posteriors.FiniteScalar, scalar, OUT, atom),
}
PRIORS = {
    f"Codes {over} of {make.__name__}": Row(priors.Codes, codes(make, over), OUT, every_code)
    for over in ("uniform", "independent", "autoregressive")
    for make in (vector, scalar)
}
PENALTIES = {"Commitment": penalties.Commitment(), "CodebookDistance": penalties.CodebookDistance()}
