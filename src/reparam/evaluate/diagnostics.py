"""What the latent space does: means, active units, and likelihood per dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reparam import seeding
from reparam.evaluate.draws import batches, evaluating, rows_of, rows_per_call, sample_rows
from reparam.shapes import Float
from reparam.vae import VAE, reference


def encode(
    vae: VAE, x: Any, seed: int = 0, *, contexts: Sequence[Tensor] = (), sample: bool = False
) -> Float[Tensor, "n d"]:
    """The mean of q(z|x) for each row, or one sample of it, which row and seed decide: (N, D)."""
    data = rows_of(vae, x, contexts)
    codes = []
    with evaluating(vae):
        for at, rows, c in batches(data, reference(vae), rows_per_call(vae, data), seed):
            vae.check(rows, *c, columns=data.columns, first_row=at.start)
            if sample:
                keys = seeding.row_keys(rows, seed, "encode")
                codes.append(sample_rows(vae, vae.posterior(rows, *c), "posterior", rows, c, keys, 1)[0])
            else:
                codes.append(vae.encode(rows, *c))
    return torch.cat(codes)


def active_units(means: Float[Tensor, "n d"], threshold: float = 0.01) -> int:
    """How many latent dimensions the posterior means use: variance over data above 0.01 (Burda et al. 2016, 2.5)."""
    return int((means.var(0) > threshold).sum()) if len(means) > 1 else 0


def bits_per_dim(nats: float, event_shape: Sequence[int], log_units: float = 0.0) -> float:
    """A log-likelihood of a datum in nats as bits for each of its elements (smaller is better).

    ``log_units`` are the nats for each element from a density per model unit to one per unit of the data: -log 255 for
    densities of pixels that were divided by 255.
    """
    return -(nats / math.prod(event_shape) + log_units) / math.log(2)
