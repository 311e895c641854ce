"""The total correlation by a classifier that learns to tell codes from codes with exchanged dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from reparam.errors import InputError
from reparam.networks import mlp
from reparam.objectives.adversary import Adversary
from reparam.objectives.penalties.base import Penalty
from reparam.vae import Draw


class DensityRatio(Penalty, Adversary):
    """The total correlation KL(q(z) || Π_j q(z_j)), by the FactorVAE's density ratio (Kim & Mnih 2018, eq. 3).

    ``net``, the discriminator, gives one number for each z (..., D): the log odds that z is a code, and not one whose
    dimensions come each from another datum of the batch. Where it is the best classifier, its number is
    log q(z) / Π_j q(z_j), and the mean over codes is the total correlation in nats. Before, it is an estimate of
    unknown sign and error: 0 at the start of ``DensityRatio.untrained``.

    ``net`` learns beside the model by Adam at the rate ``lr``; an objective that is used for a second run brings what
    it has learned in the first.

    Shapes: net maps (..., D) to (..., 1).

    Raises:
        InputError: for a learning rate that is not positive; at the first draw, for a net of another number of outputs.
    """

    least_rows = 2

    def __init__(self, net: nn.Module, lr: float = 1e-4) -> None:
        if not 0 < lr < math.inf:
            raise InputError(f"lr, the learning rate of the discriminator, must be positive, not {lr}")
        self.net, self.lr = net, float(lr)

    @classmethod
    def untrained(cls, dim: int, hidden: Sequence[int] = (256, 256, 256), lr: float = 1e-4) -> DensityRatio:
        """With a discriminator for ``dim`` latent dimensions that says nothing yet: its output is 0 everywhere."""
        net = mlp(dim, 1, hidden)
        nn.init.zeros_(net.last.weight)
        nn.init.zeros_(net.last.bias)
        return cls(net, lr)

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The mean log odds of the codes, a scalar in nats."""
        fixed = {name: p.detach() for name, p in (*self.net.named_parameters(), *self.net.named_buffers())}
        return self._one_number(torch.func.functional_call(self.net, fixed, (draw.z,))).mean()

    def loss(self, draw: Draw) -> Tensor:
        """The cross-entropy of telling codes from codes with exchanged dimensions, a scalar: log 2 for a guess."""
        z = draw.z.detach()
        order = torch.rand_like(z).argsort(1)  # for each sample and dimension, another order of the batch
        codes, exchanged = self._one_number(self.net(z)), self._one_number(self.net(z.gather(1, order)))
        return (softplus(-codes).mean() + softplus(exchanged).mean()) / 2

    def _one_number(self, out: Tensor) -> Tensor:
        if out.shape[-1] != 1:
            raise InputError(f"the discriminator of a density ratio gives 1 number, and its net {out.shape[-1]}")
        return out.squeeze(-1)
