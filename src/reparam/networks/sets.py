"""A network over the set of those elements of a datum that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reparam.calls import Written
from reparam.errors import InputError
from reparam.networks.perceptron import activation as make_activation
from reparam.networks.perceptron import as_shape, mlp


class SetEncoder(Written, nn.Module):
    """A network of data with missing elements, which are NaN (Ma et al. 2019, the partial VAE; after Qi et al. 2017).

    Each element that is known gives h([x_d, e_d]), of ``features`` numbers: one layer with an activation, the same for
    all elements, of the value and a learned identity e_d of ``embedding`` numbers. Their sum over the known elements
    enters a multilayer perceptron with the sizes ``hidden``. Nothing is filled in: a missing element adds nothing, and
    a datum of which nothing is known has a sum of zero. Contexts, of ``context`` numbers in all, go to the perceptron.

    Shapes: x (..., *inputs), NaN where missing, and contexts (..., c) give (..., *outputs).

    Raises:
        InputError: for sizes or an activation that make no network; when called, for other shapes than these.
    """

    def __init__(
        self,
        inputs: int | Sequence[int],
        outputs: int | Sequence[int],
        hidden: Sequence[int] = (400,),
        activation: str = "relu",
        context: int = 0,
        features: int = 64,
        embedding: int = 10,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = as_shape(inputs, "input sizes"), as_shape(outputs, "output sizes")
        (self.features,), (self.embedding,) = as_shape(features, "features"), as_shape(embedding, "embedding sizes")
        self.hidden, self.activation, self.context = tuple(hidden), activation, context
        self.identities = nn.Parameter(torch.randn(math.prod(self.inputs), embedding))
        self.element = nn.Linear(1 + embedding, features)
        self.active = make_activation(activation)
        self.net = mlp(features, outputs, hidden, activation, context)

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the output."""
        return self.net.last

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The output for each datum, of its elements that are not NaN."""
        return self.known(x, ~x.isnan(), *c)

    def known(self, x: Tensor, seen: Tensor, *c: Tensor) -> Tensor:
        """The output for each datum, of the elements where ``seen`` is true; what stands in the others is not read."""
        lead = x.shape[: x.dim() - len(self.inputs)]
        if x.shape[len(lead) :] != self.inputs:
            raise InputError(f"this network takes arrays of shape {self.inputs}; got {tuple(x.shape[1:])}")
        mask = seen.reshape(*lead, -1, 1)
        values = torch.where(mask, x.reshape(*lead, -1, 1), 0.0)
        weight, identity = self.element.weight[:, 0], self.identities @ self.element.weight[:, 1:].mT
        each = self.active(values * weight + identity + self.element.bias)
        out: Tensor = self.net(torch.where(mask, each, 0.0).sum(-2), *c)
        return out
