"""log p(x), by the method that is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor

from reparam.data import Dataset
from reparam.errors import InputError, nearest
from reparam.evaluate.annealing import Annealing
from reparam.evaluate.draws import rows_of
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.exact import Exact
from reparam.evaluate.harmonic import Harmonic
from reparam.evaluate.importance import Sampling
from reparam.evaluate.refine import refined
from reparam.evaluate.weights import Progress
from reparam.objectives import sample_count
from reparam.vae import VAE


class Estimator(Protocol):
    """What a method is once its options are chosen."""

    def __call__(
        self, vae: VAE, data: Dataset, k: int, seed: int, stream: str, chunk: int | None, progress: Progress | None
    ) -> Estimate:
        """The estimate for each row of the data."""


class Method(NamedTuple):
    """A way to log p(x): what makes its estimator, the options that it takes, and its usual k."""

    make: Callable[..., Estimator]
    options: tuple[str, ...]
    k: int


def _options(make: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(make).parameters)


METHODS: dict[str, Method] = {
    "importance": Method(partial(Sampling, "importance"), ("compile", "precision"), 5000),
    "prior": Method(partial(Sampling, "prior"), (), 5000),
    "mixture": Method(partial(Sampling, "mixture"), ("alpha",), 5000),
    "ais": Method(Annealing, _options(Annealing), 16),
    "exact": Method(Exact, (), 1),
    "harmonic": Method(Harmonic, _options(Harmonic), 1000),
}


def log_likelihood(
    vae: VAE,
    x: Any,
    k: int | None = None,
    method: Literal["importance", "prior", "mixture", "ais", "exact", "harmonic"] | str = "importance",
    seed: int = 0,
    *,
    contexts: Sequence[Tensor] = (),
    chunk: int | None = None,
    progress: Progress | None = None,
    repeats: int = 1,
    refine: int = 0,
    **options: Any,
) -> Estimate:
    """log p(x) of each datum, in nats. Every method but the last two is a lower bound in expectation that rises with k.

    ``method`` is one of

    - "importance": log 1/k Σ p(x, z_i) / q(z_i|x), z_i from q(z|x) (Burda et al. 2016, eq. 8). Options ``compile``
      ("auto": where there are samples enough for it to pay; True; False) and ``precision`` ("auto"; "bfloat16" rounds
      the operands of products, where the hardware has such products, which moves a row by some 0.03 nats);
    - "prior": log 1/k Σ p(x|z_i), z_i from p(z), plain Monte Carlo, which needs many more samples;
    - "mixture": proposals from (1 - alpha) q(z|x) + alpha p(z) (Hesterberg 1995), so that no weight exceeds p(x|z) /
      alpha, however narrow q is. Of k samples ceil(alpha k) come from the prior. Option ``alpha`` (0.1);
    - "ais": annealed importance sampling by k independent chains, which works where q is poor: see
      :class:`reparam.evaluate.Annealing`. Options ``steps`` (500), ``leapfrog`` (10), ``start`` ("prior") and
      ``schedule`` ("sigmoid");
    - "exact": in closed form for linear-Gaussian models, as a sum over all z for discrete latents of up to a million
      values, to 1e-6 nats by quadrature for latent spaces of one or two dimensions, and refused for others; k and
      seed play no part;
    - "harmonic": the harmonic mean of appendix D of Kingma & Welling (2014), for comparison with that paper and for
      fewer than 5 latent dimensions alone. It is no lower bound: it errs upwards, and where chains miss a mode or the
      fitted density has heavier tails than p(z|x) it is wrong without showing it (Neal 2008, "the harmonic mean of the
      likelihood: worst Monte Carlo method ever"); see :class:`reparam.evaluate.harmonic.Harmonic`. Options
      ``leapfrog`` (10) and ``thin`` (2).

    ``k`` is 5000 unless given, 1000 for "harmonic" and 16 for "ais". Samples are summed in log space and in float64 as
    they come, in calls of ``chunk`` decoder rows (chosen to fit caches and about 1 GB unless given), which changes the
    value by rounding only. The chains of "ais" and "harmonic" would enlarge rounding: they move in calls of one shape,
    16 chains of 32 rows (of 256 on an accelerator), whatever ``chunk`` is, and fewer rows take the time of as many.
    ``repeats`` averages that many independent estimates, and their spread is ``stderr_repeats``. ``refine`` lets q(z|x)
    of each datum take so many steps of :func:`reparam.evaluate.refined` first, for the methods that propose from it:
    "importance" and "mixture".

    ``x`` is an array or tensor (N, *event), or a Dataset. The value of a row depends on the row, the seed, k and the
    options alone. ``progress`` is called with the rows done and the rows in all.

    Raises:
        InputError: for data outside the likelihood's support, k < 1, an unknown method or option, ``refine`` where it
            cannot be, a posterior without density (Point) where q proposes, and a model for which "exact" has no
            answer.
        NonFiniteError: for a model that gives a weight that is not a number.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}: {nearest(method, METHODS)}")
    chosen = METHODS[method]
    for name in options:
        if name not in chosen.options:
            takes = nearest(name, chosen.options) if chosen.options else "it takes none"
            raise InputError(f"method {method!r} has no option {name!r}: {takes}")
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk, the decoder rows in one call, must be at least 1, not {chunk}")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise InputError(f"repeats must be a whole number of at least 1, not {repeats!r}")
    if refine and method not in ("importance", "mixture"):
        raise InputError(f"refine improves the q that proposes, and method {method!r} does not propose from q")
    vae = refined(vae, refine, seed=seed) if refine else vae
    data, k = rows_of(vae, x, contexts), sample_count(chosen.k if k is None else k)
    estimator = chosen.make(**options)
    return Estimate.over(
        [
            estimator(vae, data, k, seed, f"repeat {i} " if i else "", chunk, _shifted(progress, i, repeats, len(data)))
            for i in range(repeats)
        ]
    )


def _shifted(progress: Progress | None, i: int, repeats: int, n: int) -> Progress | None:
    """Progress over all repeats, from that of the i-th."""
    return progress and (lambda done, _: progress(i * n + done, repeats * n))
