"""What is examined: a model, and some rows of its data, chosen by the seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import seeding
from reparam.data import Dataset
from reparam.data.table import TableSchema
from reparam.distributions import Affine, Joined, Observed, element_support, unwrap
from reparam.evaluate.draws import batches, evaluating, rows_per_call, sample_rows
from reparam.vae import VAE, has_density, reference

_SHARPER = 20  # draws of q, of which one is chosen by its weight: most of what a q lacks in its shape


@dataclass(frozen=True)
class Subject:
    """A model with ``data``, the chosen rows of ``whole``; ``train`` are those that it learned from, if they are known.

    ``whole`` are held out of training where ``train`` is given; otherwise they are whatever the caller has. ``table``
    is the schema of a mixed table, and ``k`` the number of samples of the importance-weighted bound that the model was
    trained for, 1 for the ELBO.
    """

    vae: VAE
    data: Dataset
    whole: Dataset
    train: Dataset | None
    seed: int
    table: TableSchema | None = None
    k: int = 1

    @cached_property
    def has_density(self) -> bool:
        """Whether q(z|x) has one: a point has none."""
        row = self.data[:1]
        like = reference(self.vae)
        with evaluating(self.vae):
            return has_density(self.vae.posterior(row.fixed(row.x, like, 0), *row.contexts_of(slice(0, 1), like)))

    @cached_property
    def parts(self) -> list[tuple[Distribution, Tensor | None, Tensor | None]]:
        """The families of p(x|z), at one datum: see :func:`families`."""
        _, _, p_x = next(self.explained())
        return families(p_x)

    @property
    def counts(self) -> bool:
        """Whether all elements of x are discrete."""
        return all(_is_discrete(family) for family, _, _ in self.parts)

    @cached_property
    def discrete(self) -> Tensor:
        """Which elements of a flattened datum are discrete."""
        mask = torch.zeros(self.data.event_shape, dtype=torch.bool)
        for family, columns, _ in self.parts:
            if _is_discrete(family):
                mask[... if columns is None else columns.cpu()] = True
        return mask.flatten()

    def units(self, data: Dataset) -> Tensor:
        """What each row's log p gains from the model's units to those of the columns of a table, (N,), in nats."""
        if self.table is None:
            return torch.zeros(len(data), dtype=torch.float64)
        return torch.from_numpy(self.table.log_units(data.x.cpu().numpy()))

    def explained(self) -> Iterator[tuple[slice, Tensor, Distribution]]:
        """(which rows, x, p(x|z)) with one z for each row, from q(z|x) brought nearer to p(z|x) by its weights.

        What q misses would else be taken for what the likelihood misses.
        """
        like, k = reference(self.vae), max(self.k, _SHARPER)
        with evaluating(self.vae):
            rows = max(1, rows_per_call(self.vae, self.data) // (8 * k if self.has_density else 8))
            for at, x, c in batches(self.data, like, rows, self.seed):
                if self.has_density:
                    z = posterior_draws(self.vae, x, c, self.seed, "doctor", 1, k)[0]
                else:
                    q, keys = self.vae.posterior(x, *c), seeding.row_keys(x, self.seed, "doctor")
                    z = sample_rows(self.vae, q, "posterior", x, c, keys, 1)[0]
                yield at, x, self.vae.likelihood(z, *c)

    def simulated(self, n: int) -> Dataset:
        """n data of the model itself, with contexts and holes of the data where it has any."""
        data, _ = simulate(self.vae, self.data, n, self.seed, self.table)
        return data


def chosen(n: int, rows: int, seed: int) -> Tensor:
    """The numbers of at most so many of n rows, chosen by the seed, in their order."""
    if n <= rows:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:rows].sort().values


def some(data: Dataset, rows: int, seed: int) -> Dataset:
    """At most so many rows, chosen by the seed, in their order."""
    return data if len(data) <= rows else data[chosen(len(data), rows, seed)]


def posterior_draws(vae: VAE, x: Tensor, c: tuple[Tensor, ...], seed: int, purpose: str, n: int, k: int = 1) -> Tensor:
    """n draws for each row, (n, B, D): each is one of k draws of q(z|x), chosen by its importance weight.

    That is the distribution which the bound of k samples takes for p(z|x) (Cremer et al. 2017, "reinterpreting
    importance-weighted autoencoders"): q for k = 1, and p(z|x) as k grows.
    """
    q = vae.posterior(x, *c)
    z = sample_rows(vae, q, "posterior", x, c, seeding.row_keys(x, seed, purpose), n * k)
    if k == 1:
        return z
    step = max(1, 4096 // len(x))
    log_w = torch.cat([vae.at(part, x, *c, q=q, check=False).log_w for part in z.split(step)])
    u = seeding.uniform(seeding.row_keys(x, seed, f"{purpose} choice"), (n, k), x).movedim(0, -1)
    gumbel = -(-u.clamp_min(1e-30).log()).clamp_min(1e-30).log()
    chosen = (log_w.reshape(n, k, -1) + gumbel).argmax(1)
    every = z.reshape(n, k, *z.shape[1:])
    return every.gather(1, chosen[:, None, :, None].expand(-1, 1, -1, z.shape[-1]))[:, 0]


def simulate(vae: VAE, data: Dataset, n: int, seed: int, table: TableSchema | None = None) -> tuple[Dataset, Tensor]:
    """(x, z) from p(z) p(x|z): n rows as a Dataset in the model's own units, and z (n, D).

    Contexts, and which elements are missing, are those of the data, row by row from the first and again; where a table
    models which cells are missing, those are that the model says.
    """
    like = reference(vae)
    rows = torch.arange(n) % len(data)
    c = tuple(t.to(like.device) for t in data.contexts_of(rows, like))
    with evaluating(vae), seeding.seeded(seeding.derived(seed, "simulated")):
        p = vae.prior(*c)
        z = p.sample((n,)) if p.batch_shape == () else p.sample()
        step = rows_per_call(vae, data)
        x = torch.cat(
            [vae.likelihood(z[i : i + step], *(t[i : i + step] for t in c)).sample() for i in range(0, n, step)]
        )
    x = with_holes(x.cpu().to(like.dtype), data.x[rows], table) if data.missing else x.cpu().to(like.dtype)
    return Dataset(x, contexts=tuple(t[rows] for t in data.contexts), missing=data.missing), z


def with_holes(x: Tensor, like: Tensor, table: TableSchema | None = None) -> Tensor:
    """Made rows (N, E) with the holes of as many others; of a table that models which cells are missing, its own."""
    holes = like.isnan()
    for i, name in enumerate(table.indicators if table else ()):
        holes[:, table.places[name]] = x[:, len(table.modelled) + i] == 1  # type: ignore[union-attr]
    return torch.where(holes, torch.nan, x)


def families(
    p_x: Distribution, columns: Tensor | None = None, unit: Tensor | None = None
) -> list[tuple[Distribution, Tensor | None, Tensor | None]]:
    """The distributions of one number that p(x|z) consists of: (family, its columns or None for all, its unit).

    The unit is the factor of ``Affine``, by which a scale inside is multiplied; None where there is none.
    """
    base = unwrap(p_x)
    if isinstance(base, Observed):
        return families(base.base, columns, unit)
    if isinstance(base, Affine):
        return families(base.base, columns, base.scale)
    if isinstance(base, Joined):
        return [found for part, at in zip(base.parts, base.columns, strict=True) for found in families(part, at, unit)]
    if unit is not None and columns is not None and unit.dim() and unit.shape[-1] != len(columns):
        unit = unit[..., columns]
    return [(base, columns, unit)]


def _is_discrete(family: Distribution) -> bool:
    support = element_support(family)
    return support is not None and bool(support.is_discrete)
