"""What is timed: models, batches and objectives of the usual sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reparam import recipes
from reparam.bench.hand import HandWritten
from reparam.objectives import ELBO, IWAE, Objective
from reparam.vae import VAE


@dataclass(frozen=True)
class Case:
    """One line of the table: ``rows`` make a round of it, ``few`` of them one of what goes row by row."""

    name: str
    shape: tuple[int, ...]
    latent: int
    hidden: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    batch: int = 128
    k: int = 1
    rows: int = 8192
    few: int = 16
    evaluation: bool = False

    @property
    def forms(self) -> tuple[tuple[bool, str], ...]:
        """(compiled, precision) of the library's runs."""
        if self.evaluation:
            return (False, "float32"), (True, "float32"), (True, "bfloat16")
        forms = (False, "float32"), (True, "float32"), (True, "bfloat16")
        return ((False, "float32"), (False, "bfloat16")) if self.channels else forms

    def data(self) -> Tensor:
        """Rows of zeros and ones, the first fifth of the columns always zero as the border of digits is."""
        generator = torch.Generator().manual_seed(0)
        x = (torch.rand(self.rows, *self.shape, generator=generator) < 0.3).float()
        flat = x.reshape(self.rows, -1)
        flat[:, : flat.shape[1] // 5] = 0
        return x

    def vae(self) -> VAE:
        """The library's model."""
        if self.channels:
            return recipes.vae(self.shape, self.latent, network="conv", channels=self.channels)
        return recipes.vae(self.shape, self.latent, hidden=self.hidden)

    def objective(self) -> Objective:
        """The library's objective."""
        return ELBO() if self.k == 1 else IWAE(self.k)

    def hand_written(self) -> HandWritten:
        """The same model in plain torch, with the layers of the library's networks."""
        model = self.vae()
        encoder, decoder = model.posterior.net, model.likelihood.net
        assert isinstance(encoder, nn.Module)
        assert isinstance(decoder, nn.Module)
        return HandWritten(encoder, decoder, self.k)

    def products(self, rows: int) -> list[tuple[int, int, int]]:
        """(m, n, k) of every matrix product of a step on so many rows; empty for convolutions."""
        if self.channels:
            return []
        found: list[tuple[int, int, int]] = []
        model = self.vae()
        for part, count in ((model.posterior, rows), (model.likelihood, rows * self.k)):
            layers = [m for m in part.modules() if isinstance(m, nn.Linear)]
            for i, layer in enumerate(layers):
                inputs, outputs = layer.in_features, layer.out_features
                found += [(count, outputs, inputs), (outputs, inputs, count)]
                if part is model.likelihood or i:  # the data need no gradient
                    found.append((count, inputs, outputs))
        return found


_ALL = (
    # as many rows as MNIST has: short runs end before Adam's moments of dead pixels become denormal numbers
    Case("mlp-128", (784,), 20, hidden=(400,), rows=60_000),
    Case("mlp-1024", (784,), 20, hidden=(400,), batch=1024, rows=60_000),
    Case("conv-28", (28, 28), 20, channels=(32, 64), rows=1024),
    Case("conv-64", (3, 64, 64), 32, channels=(32, 64, 128, 256), rows=256),
    Case("iwae-50", (784,), 50, hidden=(200, 200), batch=100, k=50, rows=400),
    Case("importance", (784,), 20, hidden=(400,), k=5000, rows=1000, evaluation=True),
)
CASES: dict[str, Case] = {case.name: case for case in _ALL}
