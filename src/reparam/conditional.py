"""The one type of model part: a module that returns a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution


class Conditional(nn.Module, ABC):
    """A conditional distribution: given tensors, it returns a ``torch.distributions.Distribution``.

    Prior, likelihood and posterior are roles that it plays:

    - ``prior(*c)``: batch () or (B,), event (D,)
    - ``posterior(x, *c)``: batch (B,), event (D,), reparameterized where gradients are to pass through z
    - ``likelihood(z, *c)``: batch ``z.shape[:-1]``, event ``x.shape[1:]``

    ``*c`` are contexts; "unconditional" means that there are none of them.
    """

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Distribution:
        """The distribution, given the tensors of the role: ``(*c)``, ``(z, *c)`` or ``(x, *c)``."""


def apply_to_rows(net: nn.Module, z: Tensor, *c: Tensor) -> Tensor:
    """``net`` of the last dimension of z, whatever stands before it.

    The leading dimensions are folded into one, so that a network written for (rows, features), convolutions
    included, serves samples of shape (K, B, D) too. Contexts have the leading shape of z and are folded alike.

    Shapes: z (..., D) and c (..., *) give (..., *event).
    """
    lead = z.shape[:-1]
    rows = [t.reshape(lead.numel(), *t.shape[len(lead) :]) for t in (z, *c)]
    out: Tensor = net(*rows)
    return out.reshape(*lead, *out.shape[1:])
