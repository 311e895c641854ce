"""Priors of discrete latents: one-hot codes, and bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reparam.conditional import Conditional
from reparam.distributions import Bits, Codes, Known, OneHots, Ordered, bounded_logits, known_label
from reparam.networks.masked import Masked
from reparam.priors.contexts import joined
from reparam.priors.gaussian import latent_dim


class _Independent(Conditional):
    """Parts with the same logits for all data: zero, or learned from there."""

    logits: Tensor

    def __init__(self, shape: tuple[int, ...], learned: bool) -> None:
        super().__init__()
        self.learned = learned
        if learned:
            self.logits = nn.Parameter(torch.zeros(shape))
        else:
            self.register_buffer("logits", torch.zeros(shape), persistent=False)


class Categorical(_Independent):
    """``groups`` independent variables of ``classes`` classes as one-hot vectors: uniform, or ``learned`` from there.

    Logits are taken relative to their mean in each group, exact up to 30 and below 40.

    Raises:
        InputError: for fewer than 1 group or 2 classes.
    """

    def __init__(self, groups: int, classes: int, learned: bool = False) -> None:
        Codes(groups, classes)  # refuses numbers that make none
        super().__init__((groups, classes), learned)
        self.groups, self.classes = groups, classes

    def forward(self, *given: Tensor) -> OneHots:
        """Batch (), event (groups * classes,)."""
        return OneHots(bounded_logits(self.logits, centred=True))


class Label(Conditional):
    """p(y) of one of ``classes`` classes, a one-hot vector: uniform, or the class itself for rows where it is known.

    The last context is the label, as :class:`reparam.posteriors.Label` has it; a call without contexts has none.

    Raises:
        InputError: for fewer than 2 classes; when called, for labels of another shape or with other values.
    """

    zero: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = Codes(1, classes).size
        self.register_buffer("zero", torch.zeros(1, classes), persistent=False)

    def forward(self, *c: Tensor) -> OneHots:
        """Batch () without contexts, else (B,); event (classes,)."""
        if not c:
            return OneHots(self.zero)
        seen = known_label(c[-1], self.classes)
        return Known(OneHots(self.zero.expand(*seen.shape[:-1], 1, -1)), seen)


class Bernoulli(_Independent):
    """``dim`` independent bits: even chances, or ``learned`` from there. Log odds are exact up to 30 and below 40.

    Raises:
        InputError: for a dimension below 1.
    """

    def __init__(self, dim: int, learned: bool = False) -> None:
        super().__init__((latent_dim(dim),), learned)
        self.dim = dim

    def forward(self, *given: Tensor) -> Bits:
        """Batch (), event (D,)."""
        return Bits(bounded_logits(self.logits))


class Autoregressive(Conditional):
    """Π_g p(z_g | z_1 ... z_{g-1}, c) by one masked network (Germain et al. 2015): any dependence between the groups.

    Values are ``groups`` one-hot vectors of ``classes`` elements, or with ``classes`` None so many bits. Densities,
    which training needs, cost one pass; samples cost ``groups`` passes. ``hidden`` are the sizes of hidden layers, ()
    for none. ``context`` is the total size of the contexts c; at 0 they are ignored. Logits are bounded as those of
    Categorical.

    Shapes: contexts (B, ...) are flattened and joined to (B, context).

    Raises:
        InputError: for fewer than 1 group or 2 classes, or a hidden size below 1; when called, for contexts of another
            size.
    """

    zero: Tensor

    def __init__(
        self, groups: int, classes: int | None = None, hidden: Sequence[int] = (64,), context: int = 0
    ) -> None:
        super().__init__()
        self.codes = Codes(groups, classes)
        self.groups, self.classes, self.hidden, self.context = groups, classes, tuple(hidden), context
        self.net = Masked(groups, classes or 1, hidden, context)
        self.register_buffer("zero", torch.zeros(self.codes.size), persistent=False)

    def forward(self, *given: Tensor) -> Ordered:
        """Batch () without contexts, else (B,); event (D,)."""
        c = joined(given, self.context, self.zero)
        if c is None:
            return Ordered(lambda z: self._parts(self.net(z)), self.zero, self.codes)
        zero = self.zero.expand(len(c), -1)
        return Ordered(lambda z: self._parts(self.net(z, c.expand(*z.shape[:-1], -1))), zero, self.codes)

    def _parts(self, out: Tensor) -> OneHots | Bits:
        if self.classes is None:
            return Bits(bounded_logits(out))
        return OneHots(bounded_logits(out.unflatten(-1, (self.groups, self.classes)), centred=True))
