"""Priors over the vectors of a quantised posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam.conditional import Conditional
from reparam.distributions import Codewords
from reparam.errors import InputError, nearest
from reparam.networks import MaskedCodes

OVER = ("uniform", "independent", "autoregressive")


class Codes(Conditional):
    """Probabilities of the codes of ``posterior``, whatever the contexts.

    ``posterior`` is the very module that the VAE uses, a ``VectorQuantized`` or ``FiniteScalar``: it is saved once and
    loaded shared. ``over`` says how the codes of the groups go together: "uniform", log p = -groups log(codes);
    "independent", learned shares for each group; "autoregressive", each group given those before it by a masked network
    of ``hidden`` layers, which is the joint distribution of all groups. The learned ones start uniform. They give the
    encoder no gradient, so that fitting them afterwards (``rp.fit_prior``) loses nothing.

    Where two codes are the same vector, the one that the search finds counts alone: a lower bound of its probability.

    Raises:
        InputError: for a posterior without codes, an unknown ``over`` or sizes below 1.
    """

    one: Tensor

    def __init__(self, posterior: nn.Module, over: str = "uniform", hidden: Sequence[int] = (256,)) -> None:
        super().__init__()
        book = getattr(posterior, "quantizer", None)
        if book is None:
            raise InputError(
                f"priors.Codes reads the codes of posteriors.VectorQuantized or FiniteScalar; "
                f"{type(posterior).__name__} has none"
            )
        if over not in OVER:
            raise InputError(f"unknown kind of prior over codes {over!r}: {nearest(over, OVER)}")
        self.posterior, self.over, self.hidden = posterior, over, tuple(hidden)
        self.register_buffer("one", torch.ones(()), persistent=False)
        if over == "independent":
            self.logits = nn.Parameter(torch.zeros(book.groups, book.codes))
        if over == "autoregressive":
            self.net = MaskedCodes(book.groups, book.codes, hidden)

    def forward(self, *given: Tensor) -> Codewords:
        """Batch (), event (D,): vectors of the codebook."""
        book: Any = self.posterior.quantizer
        logits: Tensor | Callable[[Tensor], Tensor]
        if self.over == "uniform":
            logits = self.one.new_zeros(book.codes)
        else:
            logits = self.logits if self.over == "independent" else self.net
        return Codewords(book, logits, self.one)
