"""Hamiltonian Monte Carlo in the latent space, for many chains of many data at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import seeding
from reparam.data import Dataset
from reparam.errors import InputError
from reparam.evaluate.draws import batches, filled, rows_per_call
from reparam.shapes import Float
from reparam.vae import VAE, Draw, reference

CHAINS = 16  # chains of a row that share a generator and a call
# Rows of a block: on a processor so few that a single row costs little, and a multiple of what its vector instructions
# and its matrix products take at once (16 numbers; 6 rows with AVX2, where 2 left over of 512 round differently), so
# that no row falls to the remainder of a loop; an accelerator needs more to be busy.
_ROWS, _ROWS_ON_ACCELERATOR = 48, 384
_FAR = 1e10  # a trajectory that comes so far has diverged


class State(NamedTuple):
    """Where chains are on the path r(z) (p(x, z) / r(z))^beta, and all that a step at any beta needs to know.

    ``base`` is log r(z), and ``ratio`` is log p(x, z) - log r(z). Shapes: z and the two gradients (K, B, D); base and
    ratio (K, B).
    """

    z: Tensor
    base: Tensor
    ratio: Tensor
    d_base: Tensor
    d_ratio: Tensor

    def log_density(self, beta: float) -> Tensor:
        """The unnormalised log density at this inverse temperature, (K, B)."""
        return self.base + beta * self.ratio

    def gradient(self, beta: float) -> Tensor:
        """The gradient of the log density, (K, B, D)."""
        return self.d_base + beta * self.d_ratio


Path = Callable[[Tensor], State]


def path(vae: VAE, x: Tensor, c: tuple[Tensor, ...], r: Distribution, p: Distribution) -> Path:
    """The path from r(z) to p(x, z), with gradients to z alone: the model's parameters receive none."""

    def at(z: Tensor) -> State:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            p_x = vae.likelihood(z, *(t.expand(z.shape[0], *t.shape) for t in c))
            draw = Draw(r, p, z, p_x.log_prob(x), p.log_prob(z), r.log_prob(z))
            if not draw.log_qz.requires_grad:
                raise InputError(
                    f"annealing follows the gradient of log density, and {type(r).__name__} gives none: "
                    "choose method='importance' or 'prior'"
                )
            base, ratio = draw.log_qz, draw.log_w
            (d_base,) = torch.autograd.grad(base.sum(), z, retain_graph=True)
            (d_ratio,) = torch.autograd.grad(ratio.sum(), z)
        return State(z.detach(), base.detach(), ratio.detach(), d_base, d_ratio)

    return at


class Block(NamedTuple):
    """Some rows, filled up with copies of the first of them to a number that is the same for all blocks.

    Motion in a curved density enlarges the least difference, by some e-fold in every few transitions, and products of
    matrices round as their shapes are. Chains whose calls all have one shape move alike, to the bit, alone or among
    others, and whatever the others are; chains in calls of changing shapes come to differ by as much as they vary.

    Shapes: x (R, *event), each of c (R, ...); the first ``rows`` of them are those of the data at ``at``.
    """

    at: slice
    x: Tensor
    c: tuple[Tensor, ...]

    @property
    def rows(self) -> int:
        """How many rows are not copies."""
        return self.at.stop - self.at.start

    def keys(self, seed: int, purpose: str) -> list[int]:
        """As :func:`reparam.seeding.row_keys`."""
        keys = seeding.row_keys(self.x[: self.rows], seed, purpose)
        return keys + keys[:1] * (len(self.x) - self.rows)


def blocks(vae: VAE, data: Dataset, seed: int) -> Iterator[Block]:
    """The data in blocks of a size that the model, the shape of a datum and the device decide, checked."""
    like = reference(vae)
    size = _ROWS if like.device.type == "cpu" else _ROWS_ON_ACCELERATOR
    fit = max(1, rows_per_call(vae, data) // CHAINS)
    while size > fit:
        size //= 2  # whole tiles still, as far as they fit
    for at, x, c in batches(data, like, size, seed):
        vae.check(x, *c, columns=data.columns, first_row=at.start)
        yield Block(at, filled(x, size), tuple(filled(t, size) for t in c))


def over_chains(t: Float[Tensor, "k b"]) -> Float[Tensor, " b"]:
    """The mean of each row over its chains: by itself, since a sum down columns rounds by the column's place."""
    return t.mT.contiguous().mean(-1)


class ChainNoise:
    """Normal noise for chains (K, B, ...), each group of 16 chains of a row from a generator with its own key.

    ``first`` is the number of the first chain: a multiple of 16. Only the first ``rows`` rows have noise of their own;
    the others copy that of the first.
    """

    def __init__(self, x: Tensor, seed: int, stream: str, first: int, count: int, rows: int | None = None) -> None:
        self.like, self.count, self.size = x, count, len(x)
        x = x[:rows]
        groups = range(first // CHAINS, -(-(first + count) // CHAINS))
        keys = [seeding.row_keys(x, seed, f"{stream}chains {g}") for g in groups]
        self.generators = [[torch.Generator().manual_seed(key) for key in row] for row in zip(*keys, strict=True)]

    def normal(self, size: int) -> Float[Tensor, "k b size"]:
        """Standard normal noise that was not given before."""
        out = torch.empty(len(self.generators), self.count, size, dtype=self.like.dtype)
        for row, generators in zip(out, self.generators, strict=True):
            for part, generator in zip(row.split(CHAINS), generators, strict=True):
                part.normal_(generator=generator)
        return filled(out, self.size).movedim(0, 1).contiguous().to(self.like.device)


def leapfrog(
    at: Path, state: State, v: Tensor, size: Tensor, beta: float, steps: int
) -> tuple[State, Tensor, Float[Tensor, "k b"]]:
    """Some leapfrog steps of the Hamiltonian -log density(z) + v'v / 2: the new state and v, and who went astray.

    The map of (z, v) keeps volume, and becomes its own inverse when v is turned round. A trajectory that diverges is
    stopped; that it did is the same seen from either end.

    Shapes: v (K, B, D); size (K, B, 1); astray (K, B), 1 or 0.
    """
    astray = torch.zeros_like(state.base)
    v = v + size / 2 * state.gradient(beta)
    for i in range(steps):
        z = state.z + size * v
        lost = ~(z.abs() < _FAR).all(-1)  # NaN is lost too
        astray = torch.where(lost, 1.0, astray)
        state = at(torch.where(lost.unsqueeze(-1), state.z, z))
        v = v + (size if i < steps - 1 else size / 2) * state.gradient(beta)
    return state, v, astray


def transition(
    at: Path, state: State, beta: float, size: Float[Tensor, " b"], noise: ChainNoise, steps: int
) -> tuple[State, Float[Tensor, "k b"]]:
    """One step of a chain that leaves the density at ``beta`` invariant, and its probability of acceptance.

    The momentum is drawn anew and the step size varies by up to a fifth about ``size``, so that no trajectory is
    periodic; neither looks at z, so that the step satisfies detailed balance.
    """
    dim = state.z.shape[-1]
    eps = noise.normal(dim + 2)
    v, log_u = eps[..., :dim], torch.special.log_ndtr(eps[..., dim])
    jitter = 0.8 + 0.4 * torch.special.ndtr(eps[..., dim + 1])
    new, w, astray = leapfrog(at, state, v, (size * jitter).unsqueeze(-1), beta, steps)
    gain = new.log_density(beta) - state.log_density(beta)
    log_accept = gain + (v.square().sum(-1) - w.square().sum(-1)) / 2
    # not a number: rejected. From where the density is zero, every place where it is not is accepted.
    log_accept = torch.where((astray > 0) | log_accept.isnan(), -torch.inf, log_accept).clamp_max(0)
    accept = log_u < log_accept
    chosen = [
        torch.where(accept.reshape(*accept.shape, *(1,) * (a.dim() - 2)), a, b) for a, b in zip(new, state, strict=True)
    ]
    return State(*chosen), log_accept.exp()
