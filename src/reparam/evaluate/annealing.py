"""Annealed importance sampling, and bidirectional Monte Carlo, which holds log p(x) between two bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import seeding
from reparam.data import Dataset, as_dataset
from reparam.errors import InputError, nearest
from reparam.evaluate.draws import evaluating, filled, sample_rows
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.hmc import CHAINS, Block, ChainNoise, Path, blocks, over_chains, path, transition
from reparam.evaluate.weights import Progress, collect
from reparam.objectives import require_density, sample_count
from reparam.shapes import Float
from reparam.vae import VAE, check_rows, reference

STARTS = ("prior", "posterior")
SCHEDULES = ("sigmoid", "linear")

_PILOT_CHAINS = 8
_TARGET = 0.65  # acceptance, where the cost of a decorrelated state is least in many dimensions (Beskos et al. 2013)
_RATE, _WARM_UP, _PILOT_TRANSITIONS = 0.2, 30, 100
_STEEPNESS = 4.0


class Annealing:
    """Annealed importance sampling (Neal 2001) of log p(x) by Hamiltonian Monte Carlo.

    Each chain starts at z from r, and goes through the densities r(z) (p(x, z) / r(z))^beta with beta from 0 to 1 in
    ``steps`` increments, with one transition of ``leapfrog`` leapfrog steps at each beta between them. Its weight w is
    the product of (p(x, z) / r(z))^(increment of beta); E w = p(x) whatever the transitions do, as long as each leaves
    its density invariant, so that the log of the mean weight is a lower bound of log p(x) in expectation.

    For that the step sizes must not look at the chain. They are found in a pilot run of 8 other chains of the same
    row with noise of their own, for each row and each beta, at an acceptance of about 0.65, and then frozen: given
    the pilot, every transition is one fixed Markov kernel with its density invariant.

    ``start`` is r: "prior", which covers whatever has mass under the model and does not depend on the encoder, or
    "posterior", q(z|x), a shorter path where q is good, and a bound that is loose where q misses a mode. ``schedule``
    is "sigmoid", with small increments at both ends (Wu et al. 2017), or "linear". With steps = 1 this is importance
    sampling from r.

    Raises:
        InputError: for steps or leapfrog below 1 or unknown names; when called, for a prior over latents that are
            not real vectors, for one without gradient, and for "posterior" where q has no density (Point).
    """

    def __init__(
        self,
        steps: int = 500,
        leapfrog: int = 10,
        start: Literal["prior", "posterior"] | str = "prior",
        schedule: Literal["sigmoid", "linear"] | str = "sigmoid",
    ) -> None:
        for name, count in (("steps", steps), ("leapfrog", leapfrog)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {count!r}")
        for name, value, known in (("start", start, STARTS), ("schedule", schedule, SCHEDULES)):
            if value not in known:
                raise InputError(f"unknown {name} {value!r}: {nearest(str(value), known)}")
        self.steps, self.leapfrog, self.start, self.schedule = steps, leapfrog, start, schedule

    @property
    def betas(self) -> list[float]:
        """steps + 1 inverse temperatures, from 0 to 1."""
        t = torch.linspace(-1, 1, self.steps + 1, dtype=torch.float64)
        if self.schedule == "sigmoid":
            t = torch.tanh(_STEEPNESS / 2 * t)  # sigmoid(4 t) in other units
        betas = ((t - t[0]) / (t[-1] - t[0])).tolist()
        return [0.0, *betas[1:-1], 1.0]

    def __call__(
        self, vae: VAE, data: Dataset, k: int, seed: int, stream: str, chunk: int | None, progress: Progress | None
    ) -> Estimate:
        """The estimate for each row, from k chains; they move in calls of one shape, whatever ``chunk`` is."""
        parts = ((at, forward) for at, forward, _ in self.chains(vae, data, k, seed, stream))
        with evaluating(vae):
            return collect(parts, len(data), k, "ais", progress)

    def chains(
        self, vae: VAE, data: Dataset, k: int, seed: int, stream: str = "", exact: Tensor | None = None
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """(which rows, log-weights (s, rows) forward, log-weights (s, rows) backward), 16 chains of a block at a time.

        With ``exact``, one sample of p(z|x) for each row, (N, D), the chains that start there and go back to r have
        E w = 1 / p(x); without, there are none, and the third tensor is empty.
        """
        for block in blocks(vae, data, seed):
            at, x, c = block
            r, p = self._ends(vae, x, c)
            along = path(vae, x, c, r, p)
            sizes = self._pilot(vae, along, r, block, seed, stream)
            for first in range(0, k, CHAINS):
                count = min(CHAINS, k - first)
                noise = ChainNoise(x, seed, stream, first, count, block.rows)
                z = self._starts(vae, r, block, seed, f"{stream}start {first // CHAINS}", count)
                forward = self._weights(along, z, sizes, noise)[:, : block.rows]
                backward = forward[:0]
                if exact is not None:
                    noise = ChainNoise(x, seed, f"{stream}backward ", first, count, block.rows)
                    z = filled(exact[at], len(x)).to(x.device).expand(count, -1, -1)
                    backward = self._weights(along, z, sizes, noise, backward=True)[:, : block.rows]
                yield at, forward, backward

    def _ends(self, vae: VAE, x: Tensor, c: tuple[Tensor, ...]) -> tuple[Distribution, Distribution]:
        """The start r of the path, and the prior."""
        p = vae.prior(*c)
        require_real(p, "annealing")
        if self.start == "prior":
            return p, p
        r = vae.posterior(x, *c)
        require_density(r, "annealing from the posterior")
        return r, p

    def _starts(self, vae: VAE, r: Distribution, block: Block, seed: int, purpose: str, count: int) -> Tensor:
        """The first z of so many chains, (count, B, D)."""
        role: Literal["prior", "posterior"] = "prior" if self.start == "prior" else "posterior"
        return sample_rows(vae, r, role, block.x, block.c, block.keys(seed, purpose), count)

    def _pilot(
        self, vae: VAE, along: Path, r: Distribution, block: Block, seed: int, stream: str
    ) -> Float[Tensor, "t b"]:
        """A step size for each row at each beta between 0 and 1, from chains that are used for nothing else."""
        betas, stream = self.betas[1:-1], f"{stream}pilot "
        noise = ChainNoise(block.x, seed, stream, 0, _PILOT_CHAINS, block.rows)
        state = along(self._starts(vae, r, block, seed, f"{stream}start 0", _PILOT_CHAINS))
        # at the scale of the chains' start, and as the stability limit goes with the number of dimensions
        log_size = (state.z.std(0).mean(-1) / state.z.shape[-1] ** 0.25).log()
        sizes, each = [], math.ceil(_PILOT_TRANSITIONS / self.steps)
        for i, beta in enumerate(betas):
            for _ in range(each if i else each + _WARM_UP):
                state, accept = transition(along, state, beta, log_size.exp(), noise, self.leapfrog)
                log_size = log_size + _RATE * (over_chains(accept) - _TARGET)
            sizes.append(log_size.exp())
        return torch.stack(sizes) if sizes else log_size[None, :][:0]

    def _weights(
        self, along: Path, z: Tensor, sizes: Float[Tensor, "t b"], noise: ChainNoise, backward: bool = False
    ) -> Float[Tensor, "s b"]:
        """The log-weights of chains that start at z, (s, B), float64; backward, the same kernels in reverse order."""
        betas = self.betas
        state = along(z)
        log_w = torch.zeros_like(state.ratio, dtype=torch.float64)
        legs = range(1, self.steps + 1)  # leg t goes from betas[t - 1] to betas[t]
        for t in reversed(legs) if backward else legs:
            log_w += (betas[t] - betas[t - 1]) * state.ratio.double()
            between = t - 1 if backward else t
            if 0 < between < self.steps:
                state, _ = transition(along, state, betas[between], sizes[between - 1], noise, self.leapfrog)
        return -log_w if backward else log_w


class Sandwich(NamedTuple):
    """Two estimates with E lower <= E log p(x) <= E upper."""

    lower: Estimate
    upper: Estimate


def bdmc(
    vae: VAE,
    n: int = 100,
    k: int = 16,
    seed: int = 0,
    *,
    contexts: Sequence[Tensor] = (),
    steps: int = 500,
    leapfrog: int = 10,
    start: Literal["prior", "posterior"] | str = "prior",
    schedule: Literal["sigmoid", "linear"] | str = "sigmoid",
    progress: Progress | None = None,
) -> Sandwich:
    """Bidirectional Monte Carlo (Grosse et al. 2015): log p(x) of n data of the model itself, from below and above.

    z from the prior and x from p(x|z) make z an exact sample of p(z|x). Annealed importance sampling from r to
    p(x, z) bounds log p(x) from below; run backward from that z, it estimates 1 / p(x) without bias, and minus the log
    of the mean bounds log p(x) from above, both in expectation, in nats. Their gap is the most by which "ais" with
    these settings can be wrong on data such as the model makes. All k backward chains of a datum start at its one z.

    ``contexts`` are (n, ...) for a conditional model. For the options see :class:`Annealing`.

    Raises:
        InputError: for n below 1, and as Annealing does.
    """
    plan, k = Annealing(steps, leapfrog, start, schedule), sample_count(k)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"the number of data n must be a whole number of at least 1, not {n!r}")
    check_rows(n, contexts)
    with evaluating(vae):
        data, z = simulated(vae, n, seed, contexts)
        lower, upper = [], []
        for at, forward, backward in plan.chains(vae, data, k, seed, exact=z):
            lower.append((at, forward))
            upper.append((at, backward))
            if progress is not None:
                progress(at.stop, n)
    below, above = (collect(parts, n, k, "ais") for parts in (lower, upper))
    return Sandwich(below, Estimate.of(-above.per_datum, k, "reverse ais", above.ess, above.khat))


@torch.no_grad()
def simulated(vae: VAE, n: int, seed: int, contexts: Sequence[Tensor] = ()) -> tuple[Dataset, Tensor]:
    """n data of the model, on which :func:`bdmc` with this seed stands, and their z (n, D): samples of p(z|x).

    Raises:
        InputError: for z that are not real vectors.
    """
    like = reference(vae)
    given = tuple(c.to(like) if c.is_floating_point() else c.to(like.device) for c in contexts)
    p = vae.prior(*given)
    require_real(p, "annealing")
    # weights may have been drawn by the same seed, and z would repeat them
    with seeding.seeded(seeding.derived(seed, "simulated")):
        z = p.sample((n,)) if p.batch_shape == () else p.sample()
        x = vae.likelihood(z, *given).sample()
    return as_dataset(x.cpu(), contexts), z


def require_real(p: Distribution, what: str) -> None:
    """Refuse a prior whose z are not all real vectors, as far as it tells.

    Raises:
        InputError: naming what needs them.
    """
    try:
        support = p.support
    except NotImplementedError:  # a distribution need not tell
        return
    if support is None:
        return
    whole = not support.is_discrete
    if whole:
        probe = torch.tensor([-1e4, -0.5, 0.5, 1e4]).unsqueeze(-1).expand(4, *p.event_shape)
        whole = bool(support.check(probe).all())
    if not whole:
        raise InputError(
            f"{what} needs a prior over all real vectors, and the z of this one ({type(p).__name__}) are {support}: "
            "choose method='importance' or 'prior'"
        )
