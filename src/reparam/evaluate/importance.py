"""Importance sampling of log p(x), and the bound as a curve over the number of samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.distributions import codes_of
from reparam.errors import InputError
from reparam.evaluate.draws import Proposal, Samples, draws, evaluating, rows_of, samples
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.weigher import Weigher
from reparam.evaluate.weights import Progress, collect
from reparam.objectives import require_density, sample_count
from reparam.shapes import Float
from reparam.vae import VAE, Draw, reference

PROPOSALS: dict[str, Proposal] = {"importance": "posterior", "prior": "prior", "mixture": "mixture"}


class Sampling:
    """log 1/k Σ p(x, z_i) / r(z_i) with z_i from a proposal r: one of :data:`PROPOSALS`."""

    def __init__(self, method: str, alpha: float = 0.1, compile: bool | str = "auto", precision: str = "auto") -> None:
        if not 0 < alpha <= 1:
            raise InputError(f"alpha, the share of samples from the prior, is above 0 and at most 1, not {alpha}")
        if compile not in ("auto", True, False):
            raise InputError(f"compile is 'auto', True or False, not {compile!r}")
        self.method, self.alpha, self.compile, self.precision = method, alpha, compile, precision

    def __call__(
        self, vae: VAE, data: Dataset, k: int, seed: int, stream: str, chunk: int | None, progress: Progress | None
    ) -> Estimate:
        """The estimate for each row; the weights of a discrete z are finitely many numbers, whose tail has no shape."""
        with evaluating(vae):
            weigh = Weigher(vae, self.compile, self.precision, len(data) * k) if self.method == "importance" else None
            parts = samples(vae, data, k, seed, PROPOSALS[self.method], chunk, alpha=self.alpha, stream=stream)
            weights = ((s.at, _log_weight(vae, s) if weigh is None else weigh(s)) for s in parts)
            estimate = collect(weights, len(data), k, self.method, progress)
            discrete = codes_of(vae.prior(*(c[:1].to(reference(vae).device) for c in data.contexts))) is not None
            return replace(estimate, khat=None) if discrete else estimate


class Curve(NamedTuple):
    """The importance-weighted bound over the number of samples, in nats per datum.

    Shapes: value and stderr (len(ks),), per_datum (len(ks), N), float64.
    """

    ks: tuple[int, ...]
    value: Float[Tensor, " m"]
    stderr: Float[Tensor, " m"]
    per_datum: Float[Tensor, "m n"]


def bound_curve(
    vae: VAE,
    x: Any,
    ks: Sequence[int] = (1, 10, 100, 1000),
    seed: int = 0,
    *,
    contexts: Sequence[Tensor] = (),
    chunk: int | None = None,
) -> Curve:
    """E log 1/k Σ p(x, z_i) / q(z_i|x) for each k of ``ks``, all from one pass of max(ks) samples for each datum.

    The bound rises with k to log p(x) (Burda et al. 2016, theorem 1); where it still rises, log p(x) is higher yet.
    The value for k is the mean over the max(ks) // k disjoint groups of k samples. Where each k divides the next, it
    rises for every row and seed, not only in expectation. At 1 it is the ELBO.

    Raises:
        InputError: for no ks or a k below 1, and as :func:`log_likelihood` does.
    """
    if not ks:
        raise InputError("a curve needs at least one number of samples in ks")
    counts = tuple(sample_count(k) for k in ks)
    data, most = rows_of(vae, x, contexts), max(counts)
    per_datum = torch.empty(len(counts), len(data), dtype=torch.float64)  # in one place: see weights.collect
    with evaluating(vae):
        parts = _log_weights(draws(vae, data, most, seed, "posterior", chunk))
        for start, same_rows in itertools.groupby(parts, key=lambda part: part[0].start):
            log_w = torch.cat([part.double().cpu() for _, part in same_rows])
            per_datum[:, start : start + log_w.shape[1]] = torch.stack([grouped(log_w, k) for k in counts])
    n = per_datum.shape[1]
    stderr = per_datum.std(1) / math.sqrt(n) if n > 1 else per_datum.new_full((len(counts),), math.nan)
    return Curve(counts, per_datum.mean(1), stderr, per_datum)


def grouped(log_w: Float[Tensor, "most b"], k: int) -> Float[Tensor, " b"]:
    """The mean over disjoint groups of k of the log-mean-exp within each: a row's bound of k samples, in nats."""
    groups = len(log_w) // k
    return (log_w[: groups * k].reshape(groups, k, -1).logsumexp(1) - math.log(k)).mean(0)


def _log_weight(vae: VAE, s: Samples) -> Tensor:
    require_density(s.q, "importance sampling by the posterior")
    return vae.at(s.z, s.x, *s.c, q=s.q, check=False).log_w


def _log_weights(parts: Iterator[tuple[slice, Draw]]) -> Iterator[tuple[slice, Tensor]]:
    for at, draw in parts:
        require_density(draw.q, "importance sampling by the posterior")
        yield at, draw.log_w
