"""Discrete latent vectors whose parts are independent, and how training draws them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl
from torch.nn.functional import logsigmoid, one_hot

from reparam.distributions.codes import Codes
from reparam.errors import InputError

_NEVER = 1e8  # nats below a known value: what exp takes to 0, and what stays a number beside the nats of any datum


class Samples(NamedTuple):
    """Samples z of q, (K, *batch, D), and what training must know of how they were made.

    ``log_shares`` (K, *batch) are the logarithms of the shares in which they stand for q: the mean of f under q is
    Σ shares f(z), exactly or in expectation; None stands for 1/K each. ``log_qz`` is log q of each, where it is known.
    ``soft`` (K, *batch, D) is what a likelihood reads in place of z for the sake of gradients, never of values.
    """

    z: Tensor
    log_shares: Tensor | None = None
    log_qz: Tensor | None = None
    soft: Tensor | None = None


@runtime_checkable
class OwnDraws(Protocol):
    """A distribution that knows better than ``rsample`` how training draws from it."""

    def draws(self, k: int) -> Samples | None:
        """K samples, or however many of them stand for the whole distribution; None for those of ``rsample``."""

    def listing(self) -> Samples | None:
        """All of its values, if that is how it wants to be read; no noise plays a part."""


def own_draws(q: Distribution, k: int) -> Samples | None:
    """K samples in the way that ``q`` has for training, if it has one."""
    return cast(OwnDraws, q).draws(k) if _has_own(q) else None


def own_listing(q: Distribution) -> Samples | None:
    """All values of ``q``, if that is how it wants to be read."""
    return cast(OwnDraws, q).listing() if _has_own(q) else None


def _has_own(q: Distribution) -> bool:
    """Whether it is :class:`OwnDraws`, asked in the quick way: it is asked at each step."""
    return hasattr(q, "draws") and hasattr(q, "listing")


class Discrete(Distribution):
    """A discrete vector, event (D,), with independent parts: sums of log probabilities that are linear in z.

    ``drawing`` is how training draws from it; None means plain samples without gradient.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)
    has_rsample = False
    has_enumerate_support = True
    trailing: int

    def __init__(self, logits: Tensor, drawing: Drawing | None, codes: Codes) -> None:
        self.logits, self.drawing, self.codes = logits, drawing, codes
        batch = logits.shape[: logits.dim() - self.trailing]
        super().__init__(batch, torch.Size([codes.size]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        tail = self.logits.shape[len(self.batch_shape) :]
        return type(self)(self.logits.expand(*batch_shape, *tail), self.drawing)  # type: ignore[call-arg]

    @abstractmethod
    def perturbed(self, eps: Tensor) -> Tensor:
        """Logits with the noise of the Gumbel-max trick, from standard normal eps (..., *batch, D)."""

    @abstractmethod
    def hard(self, logits: Tensor) -> Tensor:
        """The most probable value, (..., D)."""

    @abstractmethod
    def soft(self, logits: Tensor) -> Tensor:
        """The mean of these logits, (..., D)."""

    @abstractmethod
    def kl_each(self, p: Any) -> Tensor:
        """KL to another one of its kind in each independent part, (*batch, parts), in nats."""

    @property
    def support(self) -> Any:
        """The codes."""
        return self.codes

    @property
    def mean(self) -> Tensor:
        """The probability that each element is 1."""
        return self.soft(self.logits)

    @property
    def mode(self) -> Tensor:
        """The most probable value."""
        return self.hard(self.logits)

    @property
    def variance(self) -> Tensor:
        """That of each element."""
        return self.mean * (1 - self.mean)

    def image(self, eps: Tensor) -> Tensor:
        """The draws that standard normal noise (..., *batch, D) decides."""
        return self.hard(self.perturbed(eps))

    def noise(self, sample_shape: Any) -> Tensor:
        """Standard normal numbers for so many samples."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return torch.randn(shape, dtype=self.logits.dtype, device=self.logits.device)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        with torch.no_grad():
            return self.image(self.noise(sample_shape))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every value, (V, *batch, D), or with ``expand`` False (V, 1, ..., D)."""
        values = self.codes.values(0, self.codes.count, self.logits)
        values = values.reshape(len(values), *(1 for _ in self.batch_shape), -1)
        return values.expand(-1, *self.batch_shape, -1) if expand else values

    def draws(self, k: int) -> Samples:
        """As training draws: K samples, or every value."""
        return Samples(self.sample((k,))) if self.drawing is None else self.drawing(self, k)

    def listing(self) -> Samples | None:
        """Every value with its probability, if that is its way of drawing."""
        return list_values(self) if self.drawing is list_values else None


Drawing = Callable[[Discrete, int], Samples]


def list_values(q: Discrete, k: int = 0) -> Samples:
    """Every value, with its probability as its share: means are exact, and their gradients too."""
    z = q.enumerate_support()
    log_q = q.log_prob(z)
    return Samples(z, log_q, log_q)


def relax(temperature: float, straight_through: bool) -> Drawing:
    """Gumbel-softmax draws: values of q, with the gradient of softmax((logits + noise) / temperature).

    The likelihood is given the value itself if ``straight_through``, else the softmax.
    """

    def drawing(q: Discrete, k: int) -> Samples:
        y = q.perturbed(q.noise((k,)))
        soft = q.soft(y / temperature)
        z = q.hard(y.detach()) + (soft - soft.detach())
        return Samples(z) if straight_through else Samples(z, soft=soft)

    return drawing


class OneHots(Discrete):
    """``G`` independent categorical variables as one-hot vectors of ``C`` elements, one after the other.

    Shapes: logits (*batch, G, C); event (G C,).
    """

    trailing = 2

    def __init__(self, logits: Tensor, drawing: Drawing | None = None) -> None:
        super().__init__(logits.log_softmax(-1), drawing, Codes(*logits.shape[-2:]))

    def perturbed(self, eps: Tensor) -> Tensor:
        """Logits + Gumbel noise, (..., G, C)."""
        return self.logits - (-torch.special.log_ndtr(eps)).log().unflatten(-1, self.logits.shape[-2:])

    def hard(self, logits: Tensor) -> Tensor:
        """The largest of each group."""
        return one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype).flatten(-2)

    def soft(self, logits: Tensor) -> Tensor:
        """The softmax of each group."""
        return logits.softmax(-1).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        return (value * self.logits.flatten(-2)).sum(-1)

    def kl_each(self, p: OneHots) -> Tensor:
        """KL of each group."""
        return (self.logits.exp() * (self.logits - p.logits)).sum(-1)


class Known(OneHots):
    """One group of which the value is known for some rows of the batch: all mass there, ``free`` elsewhere.

    Shapes: free has logits (*batch, 1, C); seen (*batch, C) is one-hot where the value is known and zero elsewhere.
    """

    def __init__(self, free: OneHots, seen: Tensor) -> None:
        point = ((seen - 1) * _NEVER).unsqueeze(-2)
        super().__init__(torch.where(seen.sum(-1)[..., None, None] > 0, point, free.logits), free.drawing)
        self.free, self.seen = free, seen

    def expand(self, batch_shape: Any, _instance: Any = None) -> Known:
        """The same distribution with a larger batch shape."""
        return Known(self.free.expand(batch_shape), self.seen.expand(*batch_shape, -1))


def known_label(seen: Tensor, classes: int) -> Tensor:
    """A context (*batch, classes), if it can be a label: one-hot, or zeros where it is not known.

    Raises:
        InputError: for another shape, or other values.
    """
    if seen.shape[-1:] != (classes,):
        raise InputError(
            f"a label of {classes} classes is a context of {classes} numbers, one-hot, or zeros where it is not known; "
            f"this one has shape {tuple(seen.shape)}"
        )
    if not torch.compiler.is_compiling():
        odd = ((seen != 0) & (seen != 1)).any(-1) | (seen.sum(-1) > 1)
        if bool(odd.any()):
            row = int(odd.flatten().nonzero()[0])
            raise InputError(
                f"the label of row {row} is neither one-hot nor all zeros: {seen.flatten(0, -2)[row].tolist()}"
            )
    return seen


class Bits(Discrete):
    """``D`` independent bits.

    Shapes: logits (*batch, D), log odds of a 1; event (D,).
    """

    trailing = 1

    def __init__(self, logits: Tensor, drawing: Drawing | None = None) -> None:
        super().__init__(logits, drawing, Codes(logits.shape[-1]))

    def perturbed(self, eps: Tensor) -> Tensor:
        """Log odds + logistic noise, (..., D)."""
        return self.logits + torch.special.log_ndtr(eps) - torch.special.log_ndtr(-eps)

    def hard(self, logits: Tensor) -> Tensor:
        """1 where it is the more probable."""
        return (logits > 0).to(logits.dtype)

    def soft(self, logits: Tensor) -> Tensor:
        """The probability of a 1."""
        return logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        return (value * self.logits + logsigmoid(-self.logits)).sum(-1)

    def kl_each(self, p: Bits) -> Tensor:
        """KL of each bit."""
        ones = self.logits.sigmoid() * (self.logits - p.logits)
        return ones + logsigmoid(-self.logits) - logsigmoid(-p.logits)


@register_kl(OneHots, OneHots)
@register_kl(Bits, Bits)
def _kl_of_independent_parts(q: Discrete, p: Discrete) -> Tensor:
    if q.event_shape != p.event_shape or q.codes.groups != p.codes.groups:
        raise NotImplementedError(f"{q.codes} and {p.codes} are different places")
    return q.kl_each(p).sum(-1)
