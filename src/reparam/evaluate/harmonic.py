"""The harmonic mean estimator of log p(x) (Kingma & Welling 2014, appendix D)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from reparam.data import Dataset
from reparam.errors import InputError
from reparam.evaluate.annealing import require_real
from reparam.evaluate.draws import Role, evaluating, sample_rows
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.hmc import CHAINS, ChainNoise, blocks, over_chains, path, transition
from reparam.evaluate.weights import Progress, collect
from reparam.vae import VAE, has_density

POSTERIOR: Role = "posterior"
PRIOR: Role = "prior"
_WARM_UP, _RATE, _TARGET = 50, 0.2, 0.65


class Harmonic:
    """-log 1/k Σ f(z_i) / p(x, z_i), z_i from p(z|x) by Hamiltonian Monte Carlo, f fitted to other such draws.

    E f(z) / p(x, z) under p(z|x) is 1 / p(x) for every density f within the support of p(z|x) (Gelfand & Dey 1994), so
    minus the log of the mean is, once the chains have come to p(z|x), an UPPER bound of log p(x) in expectation, where
    importance sampling gives a lower one. f is the Gaussian with the moments of ``k`` draws, and k further draws are
    averaged.

    Trust it in few dimensions and with a p(z|x) of one mode alone (the paper's own limit is "less than 5" dimensions):
    chains that miss a mode, or an f with heavier tails than p(z|x), give a variance without bound or a wrong value, and
    neither shows in the standard error. "importance", "ais" and "exact" are better where they can be used.

    ``leapfrog`` steps make a transition, and ``thin`` transitions lie between draws of a chain.

    Raises:
        InputError: for options below 1, fewer than 4 draws for each latent dimension; when called, for a prior whose z
            are not real vectors.
    """

    def __init__(self, leapfrog: int = 10, thin: int = 2) -> None:
        for name, count in (("leapfrog", leapfrog), ("thin", thin)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {count!r}")
        self.leapfrog, self.thin = leapfrog, thin

    def __call__(
        self, vae: VAE, data: Dataset, k: int, seed: int, stream: str, chunk: int | None, progress: Progress | None
    ) -> Estimate:
        """The estimate for each row; ``ess`` is of the weights f(z) / p(x, z). ``chunk`` plays no part."""
        with evaluating(vae):
            inverse = collect(self._weights(vae, data, k, seed, stream), len(data), k, "harmonic", progress)
        return Estimate.of(-inverse.per_datum, k, "harmonic", inverse.ess, inverse.khat)

    def _weights(self, vae: VAE, data: Dataset, k: int, seed: int, stream: str) -> Iterator[tuple[slice, Tensor]]:
        """(which rows, log f(z) - log p(x, z)), (k, B)."""
        each = -(-k // CHAINS)  # draws of a chain in each half
        for block in blocks(vae, data, seed):
            at, x, c = block
            p = vae.prior(*c)
            require_real(p, "the harmonic mean")
            dim = p.event_shape[-1]
            if k < 4 * dim:
                raise InputError(f"the harmonic mean fits a Gaussian in {dim} dimensions: give k of at least {4 * dim}")
            along = path(vae, x, c, p, p)
            keys, q = block.keys(seed, f"{stream}harmonic"), vae.posterior(x, *c)
            r, role = (q, POSTERIOR) if has_density(q) else (p, PRIOR)
            state = along(sample_rows(vae, r, role, x, c, keys, CHAINS))
            noise = ChainNoise(x, seed, f"{stream}harmonic ", 0, CHAINS, block.rows)
            log_size = (state.z.std(0).mean(-1) / dim**0.25).clamp_min(1e-6).log()
            for _ in range(_WARM_UP):
                state, accept = transition(along, state, 1.0, log_size.exp(), noise, self.leapfrog)
                log_size = log_size + _RATE * (over_chains(accept) - _TARGET)
            draws, joints = [], []
            for _ in range(2 * each):
                for _ in range(self.thin):
                    state, _ = transition(along, state, 1.0, log_size.exp(), noise, self.leapfrog)
                draws.append(state.z.double())
                joints.append(state.log_density(1.0).double())
            fit = torch.cat(draws[:each])[:k]
            rest = (fit - fit.mean(0)).movedim(0, 1)  # (B, k, D)
            covariance = rest.mT @ rest / (len(fit) - 1)
            # rounding alone may make it singular where a dimension hardly varies
            jitter = 1e-10 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-20)
            f = MultivariateNormal(
                fit.mean(0), covariance + jitter[:, None, None] * torch.eye(dim, dtype=torch.float64).to(x.device),
                validate_args=False,
            )  # fmt: skip
            z, log_joint = torch.cat(draws[each:])[:k], torch.cat(joints[each:])[:k]
            yield at, (f.log_prob(z) - log_joint)[:, : block.rows]
