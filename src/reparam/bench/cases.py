"""What is timed: models, batches and objectives of the usual sizes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

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
    whole: bool = False  # a process from its start to its end

    @property
    def forms(self) -> tuple[tuple[bool, str], ...]:
        """(compiled, precision) of the library's runs."""
        if self.evaluation:
            return (False, "float32"), (True, "float32"), (True, "bfloat16")
        if self.whole:
            return ((False, "float32"),)
        forms = (False, "float32"), (True, "float32"), (True, "bfloat16")
        return ((False, "float32"), (False, "bfloat16")) if self.channels else forms

    def data(self) -> Tensor:
        """Rows of zeros and ones, the first fifth of the columns always zero as the border of digits is."""
        generator = torch.Generator().manual_seed(0)
        x = torch.empty(self.rows, *self.shape)
        for part in x.split(_AT_ONCE):  # in parts, so that the most memory of a run is not that of its making
            part.copy_(torch.rand(part.shape, generator=generator) < 0.3)
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
        """(m, n, k) of every matrix product of a step on so many rows; of convolutions, that of their patches."""
        model, found = self.vae(), list[tuple[int, int, int]]()
        first = next(m for m in model.posterior.modules() if isinstance(m, _LAYERS))

        def note(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            assert isinstance(layer, _LAYERS)
            kernel = math.prod(getattr(layer, "kernel_size", ()))
            outward = isinstance(layer, nn.ConvTranspose2d)  # whose patches are those of what it gives
            inner, patched = (given[0], out) if outward else (out, given[0])
            if isinstance(layer, nn.Linear):
                m, n, k = given[0].numel() // layer.in_features, layer.out_features, layer.in_features
            else:
                m, n, k = inner.numel() // inner.shape[1], inner.shape[1], kernel * patched.shape[1]
            found.extend([(m, n, k), (n, k, m)] + [(m, k, n)] * (layer is not first))  # the data need no gradient

        for layer in (m for m in model.modules() if isinstance(m, _LAYERS)):
            layer.register_forward_hook(note)
        with torch.no_grad():
            model(self.data()[:1].expand(rows, *self.shape), k=self.k)
        return found


_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_AT_ONCE = 4096  # rows

_ALL = (
    # as many rows as MNIST has: short runs end before Adam's moments of dead pixels become denormal numbers
    Case("mlp-128", (784,), 20, hidden=(400,), rows=60_000),
    Case("mlp-1024", (784,), 20, hidden=(400,), batch=1024, rows=60_000),
    Case("conv-28", (28, 28), 20, channels=(32, 64), rows=1024),
    Case("conv-64", (3, 64, 64), 32, channels=(32, 64, 128, 256), rows=256),
    Case("iwae-50", (784,), 50, hidden=(200, 200), batch=100, k=50, rows=400),
    Case("importance", (784,), 20, hidden=(400,), k=5000, rows=1000, evaluation=True),
    Case("process", (64,), 8, hidden=(256,), rows=1797, whole=True),
)
CASES: dict[str, Case] = {case.name: case for case in _ALL}


def of_json(text: str) -> Case:
    """The case that was written by ``json.dumps(asdict(case))``."""
    fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in json.loads(text).items()}
    return Case(**fields)
