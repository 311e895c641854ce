"""What is examined: a model, and some rows of its data, chosen by the seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import seeding
from reparam.data import Dataset
from reparam.distributions import Affine, Joined, unwrap
from reparam.evaluate.draws import batches, evaluating, rows_per_call, sample_rows
from reparam.vae import VAE, reference


@dataclass(frozen=True)
class Subject:
    """A model with ``data``, the chosen rows of ``whole``; ``train`` are those that it learned from, if they are known.

    ``whole`` are held out of training where ``train`` is given; otherwise they are whatever the caller has.
    """

    vae: VAE
    data: Dataset
    whole: Dataset
    train: Dataset | None
    seed: int

    def explained(self) -> Iterator[tuple[slice, Tensor, Distribution]]:
        """(which rows, x, p(x|z)) with one z from q(z|x) of each row."""
        like = reference(self.vae)
        with evaluating(self.vae):
            for at, x, c in batches(self.data, like, max(1, rows_per_call(self.vae, self.data) // 8), self.seed):
                q = self.vae.posterior(x, *c)
                keys = seeding.row_keys(x, self.seed, "doctor")
                z = sample_rows(self.vae, q, "posterior", x, c, keys, 1)[0]
                yield at, x, self.vae.likelihood(z, *c)

    def simulated(self, n: int) -> Dataset:
        """n data of the model itself, with contexts of the data where it has any."""
        data, _ = simulate(self.vae, self.data, n, self.seed)
        return data


def some(data: Dataset, rows: int, seed: int) -> Dataset:
    """At most so many rows, chosen by the seed, in their order."""
    if len(data) <= rows:
        return data
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data[order[:rows].sort().values]


def simulate(vae: VAE, data: Dataset, n: int, seed: int) -> tuple[Dataset, Tensor]:
    """(x, z) from p(z) p(x|z): n rows as a Dataset in the model's own units, and z (n, D)."""
    like = reference(vae)
    rows = torch.arange(n) % len(data)
    c = tuple(t[rows].to(like.device) for t in data.contexts)
    with evaluating(vae), seeding.seeded(seed):
        p = vae.prior(*c)
        z = p.sample((n,)) if p.batch_shape == () else p.sample()
        step = rows_per_call(vae, data)
        x = torch.cat(
            [vae.likelihood(z[i : i + step], *(t[i : i + step] for t in c)).sample() for i in range(0, n, step)]
        )
    made = Dataset(x.cpu().to(like.dtype), contexts=tuple(t[rows] for t in data.contexts))
    return made, z


def families(p_x: Distribution) -> list[tuple[Distribution, Tensor | None, Tensor | None]]:
    """The distributions of one number that p(x|z) consists of: (family, its columns or None for all, its unit).

    The unit is the factor of ``Affine``, by which a scale inside is multiplied; None where there is none.
    """
    base = unwrap(p_x)
    if isinstance(base, Affine):
        return [(inner, columns, base.scale) for inner, columns, _ in families(base.base)]
    if isinstance(base, Joined):
        return [(unwrap(part), columns, None) for part, columns in zip(base.parts, base.columns, strict=True)]
    return [(base, None, None)]
