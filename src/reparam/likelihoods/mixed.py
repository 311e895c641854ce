"""Tables with columns of several kinds, and data in units of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from reparam.conditional import Conditional, apply_to_rows
from reparam.distributions import Affine, Joined, element_support
from reparam.distributions import Observed as ObservedDistribution
from reparam.errors import InputError
from reparam.likelihoods.base import positive

Part = tuple[Conditional | Callable[[nn.Module], Conditional], Sequence[int]]


class Mixed(Conditional):
    """A table whose columns are of several kinds: one likelihood for each column or group of columns.

    ``parts`` pairs a likelihood with the numbers of its columns, each column once. The likelihood is a class or a
    function of a net: ``Mixed(net, [(Bernoulli, [0, 3]), (lambda net: Gaussian(net, "predicted"), [1, 2])])``. Its
    net is a slice of the output of ``net``, cut in the order of the parts.

    Shapes: net gives (..., P), with P the sum of the parts' numbers of parameters, ``outputs((D,))[0]``; event (D,).

    Raises:
        InputError: if a column is named twice or left out, or a part cannot say which output it needs.
    """

    own_contexts = 0

    def __init__(self, net: nn.Module, parts: Sequence[Part]) -> None:
        super().__init__()
        self.net = net
        columns = [tuple(int(i) for i in chosen) for _, chosen in parts]
        named = sorted(i for chosen in columns for i in chosen)
        if not named or named != list(range(len(named))) or not all(columns):
            raise InputError(f"the parts name the columns {named}: each of 0, 1, ... must be named once")
        self.members = nn.ModuleList(_member(p, len(c)) for (p, _), c in zip(parts, columns, strict=True))
        self.sizes = [math.prod(_outputs(m, (len(c),))) for m, c in zip(self.members, columns, strict=True)]
        self.columns = columns
        for i, chosen in enumerate(columns):
            self.register_buffer(f"columns_{i}", torch.tensor(chosen), persistent=False)

    @property
    def parts(self) -> list[tuple[nn.Module, tuple[int, ...]]]:
        """Each likelihood, with the numbers of its columns."""
        return list(zip(self.members, self.columns, strict=True))

    @property
    def allowed(self) -> str:
        """The support of each group of columns in words."""
        return "; ".join(f"in {_names(c)} {_words(m, 'allowed')}" for m, c in self.parts)

    @property
    def remedy(self) -> str:
        """What to do about data outside the support, for each group of columns."""
        return "; ".join(f"for {_names(c)} {_words(m, 'remedy')}" for m, c in self.parts)

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """The number of parameters of all parts.

        Raises:
            InputError: for a datum of another size than the columns.
        """
        count = sum(map(len, self.columns))
        if tuple(event_shape) != (count,):
            raise InputError(f"the parts name {count} columns; a datum has shape {tuple(event_shape)}")
        return (sum(self.sizes),)

    def forward(self, z: Tensor, *c: Tensor) -> Joined:
        """Batch ``z.shape[:-1]``, event (D,)."""
        parameters = apply_to_rows(self.net, z, *c)
        if parameters.shape[z.dim() - 1 :] != (sum(self.sizes),):
            raise InputError(
                f"these parts need a net with output (..., {sum(self.sizes)}); "
                f"this one gives (..., {', '.join(map(str, parameters.shape[z.dim() - 1 :]))})"
            )
        pieces = parameters.split(self.sizes, -1)
        parts = [member(piece) for member, piece in zip(self.members, pieces, strict=True)]
        return Joined(parts, [getattr(self, f"columns_{i}") for i in range(len(parts))])


def _member(part: Any, count: int) -> nn.Module:
    """The part, made with a net that gives its slice the shape that it reads."""
    if isinstance(part, nn.Module):
        return part
    shape = _outputs(part(nn.Identity()), (count,))
    member: nn.Module = part(nn.Unflatten(-1, shape))
    return member


def _outputs(member: Any, event_shape: Sequence[int]) -> tuple[int, ...]:
    if not hasattr(member, "outputs"):
        raise InputError(f"{type(member).__name__} cannot say which output of a net it needs: it has no outputs()")
    if getattr(member, "own_contexts", 0):
        raise InputError("a part of a mixed table has no context of its own: give an exposure to a plain likelihood")
    shape: tuple[int, ...] = member.outputs(event_shape)
    return shape


def _names(columns: Sequence[int]) -> str:
    return ("column " if len(columns) == 1 else "columns ") + ", ".join(map(str, columns))


def _words(member: nn.Module, name: str) -> str:
    return str(getattr(member, name, "its support" if name == "allowed" else "choose another likelihood"))


class Standardized(Conditional):
    """A likelihood of (x - loc) / scale, as a likelihood of x: densities are per unit of x.

    With the data's mean and standard deviation the network works on numbers of order one, while every score,
    sample and mean is in the data's own units.

    Shapes: loc and scale have the event shape, or broadcast to it.
    """

    loc: Tensor
    spread: Tensor

    def __init__(self, likelihood: Conditional, loc: Tensor, spread: Tensor) -> None:
        super().__init__()
        positive(spread)
        self.likelihood = likelihood
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("spread", spread.detach().clone())

    @property
    def remedy(self) -> str:
        """What to do about data outside the support: what the likelihood inside says."""
        return str(getattr(self.likelihood, "remedy", "choose a likelihood whose support holds these values"))

    @property
    def allowed(self) -> str:
        """The support in words."""
        return str(getattr(self.likelihood, "allowed", "in its support"))

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """What the likelihood inside needs."""
        return _outputs(self.likelihood, event_shape)

    def forward(self, z: Tensor, *c: Tensor) -> Affine:
        """Batch ``z.shape[:-1]``, event: one datum."""
        base = self.likelihood(z, *c)
        if element_support(base) not in (None, constraints.real):
            raise InputError(
                f"values that are {self.allowed} cannot be standardised: use {type(self.likelihood).__name__} without "
                "loc and spread"
            )
        return Affine(base, self.loc, self.spread)


class Observed(Conditional):
    """A likelihood of data with missing elements, which are NaN: the density is that of what is seen.

    Missing elements are integrated out, which for elements that are independent given z means left out, so that every
    objective becomes a bound of log p(x_seen): of Mattei & Frellsen (2019, MIWAE) with ``objectives.IWAE``, of Nazabal
    et al. (2020, HI-VAE) with the ELBO. That is right where values are missing at random: whether one is missing may
    depend on what is seen, and not on itself.

    Raises:
        InputError: when a density is asked for, where the elements are not independent given z.
    """

    def __init__(self, likelihood: Conditional) -> None:
        super().__init__()
        self.likelihood = likelihood

    @property
    def own_contexts(self) -> int:
        """Those of the likelihood inside."""
        return int(getattr(self.likelihood, "own_contexts", 0))

    @property
    def remedy(self) -> str:
        """What to do about data outside the support: what the likelihood inside says."""
        return _words(self.likelihood, "remedy")

    @property
    def allowed(self) -> str:
        """The support in words."""
        return f"missing or {_words(self.likelihood, 'allowed')}"

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """What the likelihood inside needs."""
        return _outputs(self.likelihood, event_shape)

    def forward(self, z: Tensor, *c: Tensor) -> ObservedDistribution:
        """Batch ``z.shape[:-1]``, event: one datum."""
        return ObservedDistribution(self.likelihood(z, *c))
