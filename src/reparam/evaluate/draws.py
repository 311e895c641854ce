"""Draws of a model for every row of the data, in calls of bounded size, with noise that belongs to the row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import seeding
from reparam.data import Dataset, as_dataset
from reparam.distributions import Blend, from_standard_normal, own_listing
from reparam.distributions import Samples as Listing
from reparam.likelihoods import Observed
from reparam.objectives import require_density
from reparam.vae import VAE, Draw, reference

Role = Literal["posterior", "prior"]
Proposal = Literal["posterior", "prior", "mixture"]

# Noise comes in blocks of this many samples of one row, each block with its own key: the samples of a row depend
# on its content, the seed and k, and never on how they are cut into calls.
_NOISE_BLOCK = 1000
# Decoder rows in one call: enough to fill the matrix products, few enough for the caches and for memory.
_ROWS_PER_CALL = 4096
_BYTES_PER_CALL = 128 << 20


def rows_of(vae: VAE, x: Any, contexts: Sequence[Tensor] = ()) -> Dataset:
    """The data as this model reads them: NaN is a missing value where its likelihood integrates such values out."""
    return as_dataset(x, contexts, missing=isinstance(vae.likelihood, Observed))


def rows_per_call(vae: VAE, data: Dataset) -> int:
    """How many rows the decoder is given at once, so that a call stays within about 1 GB with all its temporaries."""
    width = max(1, math.prod(data.event_shape)) * reference(vae).element_size()
    return max(1, min(_ROWS_PER_CALL, _BYTES_PER_CALL // width))


@contextmanager
def evaluating(vae: VAE) -> Iterator[None]:
    """The model in evaluation mode and without gradients inside the block."""
    modes = [(module, module.training) for module in vae.modules()]
    vae.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:  # one by one: a frozen part stays frozen
            module.training = training


def batches(data: Dataset, like: Tensor, rows: int, seed: int) -> Iterator[tuple[slice, Tensor, tuple[Tensor, ...]]]:
    """The data as an evaluation reads them, ``rows`` at a time: (which rows, x, contexts)."""
    for start in range(0, len(data), rows):
        at = slice(start, min(start + rows, len(data)))
        yield at, data.fixed(data.x[at], like, seed), data.contexts_of(at, like)


def filled(t: Tensor, size: int, dim: int = 0) -> Tensor:
    """``size`` slices along ``dim``: those of t, then its first again and again."""
    missing = size - t.shape[dim]
    if missing == 0:
        return t
    return torch.cat([t, t.narrow(dim, 0, 1).expand(*t.shape[:dim], missing, *t.shape[dim + 1 :])], dim)


def draws(
    vae: VAE,
    data: Dataset,
    k: int,
    seed: int,
    proposal: Proposal,
    call: int | None = None,
    whole: bool = False,
    *,
    alpha: float = 0.1,
    stream: str = "",
    listed: bool = False,
) -> Iterator[tuple[slice, Draw]]:
    """Draws of k samples for each row, cut into calls; ``whole`` keeps the k samples of a row in one draw.

    With ``listed``, a posterior that lists its values is read so: one draw of all of them, whatever k.

    ``q`` of a draw is the proposal, so that ``log_w`` are its importance weights. ``alpha`` is the share of the prior
    in "mixture". Draws of another ``stream`` are independent. Values outside the likelihood's support are refused.
    """
    for s in samples(vae, data, k, seed, proposal, call, whole, alpha=alpha, stream=stream, listed=listed):
        yield s.at, vae.at(s.listing or s.z, s.x, *s.c, q=s.q, check=False)


class Samples(NamedTuple):
    """Samples z (s, B, D) from the proposal q for some rows x (B, *event) with their contexts."""

    at: slice
    z: Tensor
    x: Tensor
    c: tuple[Tensor, ...]
    q: Distribution
    listing: Listing | None = None  # z and more, where it is all values of a discrete latent


def samples(
    vae: VAE,
    data: Dataset,
    k: int,
    seed: int,
    proposal: Proposal,
    call: int | None = None,
    whole: bool = False,
    *,
    alpha: float = 0.1,
    stream: str = "",
    listed: bool = False,
) -> Iterator[Samples]:
    """What :func:`draws` evaluates."""
    like = reference(vae)
    call = rows_per_call(vae, data) if call is None else call
    count_in_call = k if whole else min(k, _NOISE_BLOCK, call)
    for at, x, c in batches(data, like, max(1, call // count_in_call), seed):
        vae.check(x, *c, columns=data.columns, first_row=at.start)
        if listed and (values := own_listing(vae.posterior(*(t[:1] for t in (x, *c))))) is not None:
            yield from _lists(vae, x, c, at.start, max(1, call // len(values.z)))
            continue
        q, strata = _strata(vae, proposal, k, alpha, x, c)
        parts = (
            sample_rows(vae, r, role, x, c, seeding.row_keys(x, seed, f"{stream}{noise} {block}"), size)
            for r, role, count, noise in strata
            for block, size in _blocks(count)
        )
        for z in [torch.cat(list(parts))] if whole else parts:
            for part in z.split(count_in_call):
                yield Samples(at, part, x, c, q)


def _lists(vae: VAE, x: Tensor, c: tuple[Tensor, ...], first: int, rows: int) -> Iterator[Samples]:
    """All values of z for so many rows at a time."""
    for start in range(0, len(x), rows):
        part = [t[start : start + rows] for t in (x, *c)]
        q = vae.posterior(*part)
        values = own_listing(q)
        assert values is not None
        yield Samples(slice(first + start, first + start + len(part[0])), values.z, part[0], tuple(part[1:]), q, values)


def _strata(
    vae: VAE, proposal: Proposal, k: int, alpha: float, x: Tensor, c: tuple[Tensor, ...]
) -> tuple[Distribution, list[tuple[Distribution, Role, int, str]]]:
    """The proposal's density, and what is sampled: (distribution, its role, how many, a name for the noise).

    The mixture is not drawn sample by sample: the shares of its components are fixed, which has less variance. With
    the density of the mixture by these very shares in the denominator (the balance heuristic of Veach & Guibas 1995)
    the mean weight is unbiased: Σ_i n_i/k E_i[f / Σ_j n_j/k p_j] = ∫ f.
    """
    if proposal != "mixture":
        r = vae.posterior(x, *c) if proposal == "posterior" else vae.prior(*c)
        return r, [(r, proposal, k, "noise")]
    q, p = vae.posterior(x, *c), vae.prior(*c)
    require_density(q, "a mixture with the posterior")
    from_prior = math.ceil(alpha * k)  # rounded up: no weight exceeds p(x|z) / alpha
    if from_prior == k:
        return p, [(p, "prior", k, "defence")]
    blend = Blend([q, p], [1 - from_prior / k, from_prior / k])
    return blend, [(q, "posterior", k - from_prior, "noise"), (p, "prior", from_prior, "defence")]


def _blocks(k: int) -> Iterator[tuple[int, int]]:
    for block, start in enumerate(range(0, k, _NOISE_BLOCK)):
        yield block, min(_NOISE_BLOCK, k - start)


def sample_rows(
    vae: VAE, r: Distribution, role: Role, x: Tensor, c: tuple[Tensor, ...], keys: list[int], size: int
) -> Tensor:
    """Samples (size, B, D) of the posterior or prior: by its reparameterization of the rows' noise, else row by row."""
    z = from_standard_normal(r, seeding.normal(keys, (size, r.event_shape[-1]), x).movedim(0, 1))
    return _row_by_row(vae, role, keys, size, x, c) if z is None else z


def _row_by_row(vae: VAE, role: Role, keys: list[int], size: int, x: Tensor, c: tuple[Tensor, ...]) -> Tensor:
    """For distributions whose draws no given noise decides: each row is drawn alone, with its key as seed."""
    columns = []
    for i, key in enumerate(keys):
        row = [t[i : i + 1] for t in (x, *c)]
        r = vae.posterior(*row) if role == "posterior" else vae.prior(*row[1:])
        with seeding.seeded(key):
            z = r.sample((size,))
        columns.append(z.reshape(size, 1, -1))
    return torch.cat(columns, 1)
