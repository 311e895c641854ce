"""Latents that are one of finitely many vectors: the point mass on one of them, and distributions over all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

from reparam.shapes import Float, Int


@runtime_checkable
class Book(Protocol):
    """A numbering of vectors: each of ``groups`` groups of ``dim`` numbers is one of ``codes`` codes."""

    groups: int
    dim: int
    codes: int

    def vectors(self, index: Tensor) -> Tensor:
        """(..., groups) to (..., groups * dim)."""

    def index(self, z: Tensor) -> Tensor:
        """(..., groups * dim) to (..., groups), with -1 for what is no code."""


class _CodeVectors(constraints.Constraint):
    """Vectors of a codebook; which they are, only their book can tell."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite().all(-1)


code_vectors = _CodeVectors()


class Quantized(Distribution):
    """All mass on the code to which ``encoded`` was quantised. It is a probability, so bounds by it exist.

    ``mean``, and every draw, is the code itself, with the gradient of ``encoded`` ("straight through", Bengio et al.
    2013; van den Oord et al. 2017). ``vectors`` is the code with the gradient of its book.

    It gives other codes no probability: weights by it bound log p(x) from below only, however many they are.

    Shapes: encoded (*batch, groups * dim), index (*batch, groups).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    support = code_vectors
    has_rsample = True

    def __init__(self, encoded: Float[Tensor, "*b d"], index: Int[Tensor, "*b g"], book: Book) -> None:
        self.encoded, self.index, self.book = encoded, index, book
        self.vectors = book.vectors(index)
        # in this order: the bracket is exactly zero, and the value exactly the code
        self.loc = self.vectors.detach() + (encoded - encoded.detach())
        super().__init__(encoded.shape[:-1], encoded.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Quantized:
        """The same point mass with a larger batch shape."""
        encoded = self.encoded.expand(*batch_shape, *self.event_shape)
        return Quantized(encoded, self.index.expand(*batch_shape, self.book.groups), self.book)

    @property
    def mean(self) -> Tensor:
        """The code."""
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.loc)

    def image(self, eps: Tensor) -> Tensor:
        """The code, whatever the noise."""
        return self.loc.expand(eps.shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """The code, repeated."""
        return self.loc.expand(self._extended_shape(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability: 0 for the code, -inf for everything else; its slope in ``value`` is zero."""
        hit = (value == self.loc).all(-1)
        return torch.where(hit, 0 * (value - value.detach()).sum(-1), -torch.inf)

    @property
    def code_perplexity(self) -> Tensor:
        """exp of the entropy of the shares of the codes over batch and groups: how many are in use, a scalar."""
        share = self.index.flatten().bincount(minlength=self.book.codes) / self.index.numel()
        return torch.special.entr(share).sum().exp()


class Codewords(Distribution):
    """Probabilities of the vectors of a book, by their numbers: Π_g p(i_g | i_1 ... i_g-1).

    ``logits`` are (groups, codes), or (codes,) for all groups alike; or a function of the numbers (..., groups) whose
    value (..., groups, codes) at each group depends on the groups before it alone. Samples cost one call of it, and
    one for each group.

    Shapes: batch (), event (groups * dim,).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    support = code_vectors
    has_rsample = False

    def __init__(self, book: Book, logits: Tensor | Callable[[Tensor], Tensor], like: Tensor) -> None:
        self.book, self.logits, self.like = book, logits, like
        super().__init__(torch.Size(), torch.Size([book.groups * book.dim]), validate_args=False)

    def _log_shares(self, index: Tensor) -> Tensor:
        logits = self.logits if isinstance(self.logits, Tensor) else self.logits(index)
        return logits.log_softmax(-1).expand(*index.shape, self.book.codes)

    def log_mass(self, index: Int[Tensor, "*b g"]) -> Float[Tensor, "*b"]:
        """Log probability of the codes of these numbers, in nats."""
        return self._log_shares(index).gather(-1, index.unsqueeze(-1)).squeeze(-1).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats; -inf for what is no code."""
        index = self.book.index(value)
        return torch.where((index >= 0).all(-1), self.log_mass(index.clamp_min(0)), -torch.inf)

    def image(self, eps: Tensor) -> Tensor:
        """The draws that standard normal noise decides, by the first number of each group."""
        first = eps.unflatten(-1, (self.book.groups, self.book.dim))[..., 0]
        return self._invert(torch.special.ndtr(first.double()))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples (*sample, groups * dim)."""
        shape = torch.Size(sample_shape) + torch.Size([self.book.groups])
        return self._invert(torch.rand(shape, dtype=torch.float64, device=self.like.device))

    @torch.no_grad()
    def _invert(self, u: Tensor) -> Tensor:
        """Group by group, the code at which the distribution function passes u (..., groups)."""
        index = torch.zeros(u.shape, dtype=torch.long, device=u.device)
        for g in range(self.book.groups):
            if g == 0 or not isinstance(self.logits, Tensor):
                shares = self._log_shares(index)
            upto = shares[..., g, :].double().exp().cumsum(-1)
            level = u[..., g : g + 1] * upto[..., -1:]
            index[..., g] = (upto <= level).sum(-1).clamp_max(self.book.codes - 1)
        return self.book.vectors(index)


@register_kl(Quantized, Codewords)
def _kl_quantized_codewords(q: Quantized, p: Codewords) -> Tensor:
    """-log p(z), without a search where both read one book."""
    return -(p.log_mass(q.index) if q.book is p.book else p.log_prob(q.loc))
