"""Numbers of classes: one of them (categorical, ordinal), or how often each occurs (multinomial)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from reparam.distributions.element import Element
from reparam.distributions.logistic import log_mass
from reparam.distributions.saddle import deviance, excess


class Categorical(Element):
    """The number of a class, 0 ... C-1, as a value of the dtype of the logits.

    Mean and variance are those of the number; where classes have no order, ask for ``mode`` or ``probs``.

    Shapes: logits (*batch, C), event ().
    """

    trailing = 1

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits.log_softmax(-1))

    @property
    def probs(self) -> Tensor:
        """The probability of each class, (*batch, C)."""
        return self.parameters[0].exp()

    @property
    def support(self) -> Any:
        """0, 1, ..., C - 1."""
        return constraints.integer_interval(0, self.parameters[0].shape[-1] - 1)

    @property
    def _numbers(self) -> Tensor:
        like = self.parameters[0]
        return torch.arange(like.shape[-1], dtype=like.dtype, device=like.device)

    @property
    def mean(self) -> Tensor:
        """The mean of the class number."""
        return (self.probs * self._numbers).sum(-1)

    @property
    def variance(self) -> Tensor:
        """The variance of the class number."""
        return (self.probs * (self._numbers - self.mean.unsqueeze(-1)).square()).sum(-1)

    @property
    def mode(self) -> Tensor:
        """The most probable class."""
        return self.parameters[0].argmax(-1).to(self.parameters[0].dtype)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        upto = self._numbers <= value.unsqueeze(-1)
        return (self.probs * upto).sum(-1)

    def icdf(self, value: Tensor) -> Tensor:
        """The smallest class number at which the distribution function reaches the value."""
        below = self.probs.cumsum(-1)[..., :-1] < value.unsqueeze(-1)
        return below.sum(-1).to(self.parameters[0].dtype)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        with torch.no_grad():
            return self.icdf(self._uniform(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        table = self.parameters[0].expand(*shape, self.parameters[0].shape[-1])
        return table.gather(-1, value.long().expand(shape).unsqueeze(-1)).squeeze(-1)


def ordinal(predictor: Tensor, first: Tensor, gaps: Tensor) -> Categorical:
    """Ordered classes: P(x <= k) = σ(cut_k - predictor), with cuts at first, first + gaps[0], ... (McCullagh 1980).

    Shapes: predictor and first (*batch), gaps (*batch, C - 2), positive; C >= 2 classes.
    """
    gaps = gaps.expand(*predictor.shape, gaps.shape[-1])
    start = (first - predictor).unsqueeze(-1)
    cuts = torch.cat([start, start + gaps.cumsum(-1)], -1)
    middle = log_mass(cuts[..., :-1], cuts[..., 1:], gaps)
    return Categorical(torch.cat([logsigmoid(cuts[..., :1]), middle, logsigmoid(-cuts[..., -1:])], -1))


class _Counted(constraints.Constraint):
    """Whole numbers from 0 whose sum is ``total``, or any: a wrong sum is a fault of every element."""

    is_discrete = True

    def __init__(self, total: int | None) -> None:
        self.total = total

    def check(self, value: Tensor) -> Tensor:
        """Whether each element is a count, and all of them have the sum."""
        whole = constraints.nonnegative_integer.check(value)
        if self.total is None:
            return whole
        right = value.sum(-1, keepdim=True) == self.total
        return whole & (right | ~whole.all(-1, keepdim=True))


class Multinomial(Distribution):
    """How often each of V classes occurs among n draws: normalised over the counts with that sum.

    With ``total`` None, n is the sum of the datum itself, on which the probability is conditional, and samples and
    means are of one draw.

    Shapes: logits (*batch, V), event (V,).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)

    def __init__(self, logits: Tensor, total: int | None = None) -> None:
        self.log_probs, self.total = logits.log_softmax(-1), total
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Multinomial:
        """The same distribution with a larger batch shape."""
        return Multinomial(self.log_probs.expand(*batch_shape, *self.event_shape), self.total)

    @property
    def support(self) -> Any:
        """Counts with this sum."""
        return _Counted(self.total)

    @property
    def draws(self) -> int:
        """How many draws a sample and the mean are of."""
        return 1 if self.total is None else self.total

    @property
    def mean(self) -> Tensor:
        """Draws times the probabilities."""
        return self.draws * self.log_probs.exp()

    @property
    def variance(self) -> Tensor:
        """That of each count alone."""
        p = self.log_probs.exp()
        return self.draws * p * (1 - p)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient: each count is a binomial of the draws that those before it have left."""
        with torch.no_grad():
            p = self.log_probs.exp().expand(self._extended_shape(torch.Size(sample_shape)))
            rest = p.flip(-1).cumsum(-1).flip(-1)
            left, columns = torch.full_like(p[..., 0], self.draws), []
            for v in range(p.shape[-1] - 1):
                share = (p[..., v] / rest[..., v].clamp_min(torch.finfo(p.dtype).tiny)).clamp(0, 1)
                columns.append(torch.binomial(left, share))
                left = left - columns[-1]
            return torch.stack([*columns, left], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats, given the sum of the value."""
        n = value.sum(-1)
        log_n = torch.where(n > 0, n, 1.0).log().unsqueeze(-1)
        log_m = torch.where(n.unsqueeze(-1) > 0, log_n + self.log_probs, -torch.inf)
        return excess(n) - (excess(value) + deviance(value, log_m)).sum(-1)
