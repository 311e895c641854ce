"""Estimates of log p(x) over many models and seeds, and diagnoses of many healthy models: the long versions are run by
``make proofs``, and a few seeds of each with every test."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom
from scipy.stats import t as student
from torch import Tensor

import reparam as rp
from models import Function, LinearGaussian
from reparam.evaluate import bdmc, diagnose, log_likelihood
from reparam.evaluate.annealing import simulated

ROWS = 32
LONG = pytest.mark.slow

CASES = [(1, 5), (20, 5), *(pytest.param(dim, 200, marks=LONG) for dim in (1, 2, 5, 10, 20))]


def near(model: LinearGaussian) -> rp.VAE:
    """q a little shifted from p(z|x) and wider: weights are bounded, and unequal."""
    factor = torch.linalg.cholesky(torch.linalg.inv(model.precision))
    shift = 0.1 * factor.sum(1)
    net = Function(lambda x: rp.posteriors.FullGaussian.pack(model.mean(x) + shift, math.sqrt(1.3) * factor))
    return model.vae(rp.posteriors.FullGaussian(net))


def beyond(errors: list[Tensor], se: float) -> int:
    """For how many seeds the mean of independent errors lies beyond so many of its standard errors from 0."""
    return sum(abs(float(e.mean())) > se * float(e.std()) / math.sqrt(len(e)) + 1e-12 for e in errors)


def allowed(seeds: int, rate: float) -> int:
    """The number of failures that so many seeds exceed with probability below 1e-4."""
    return int(binom.ppf(1 - 1e-4, seeds, rate))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("dim", "seeds"), CASES)
def test_estimates_are_within_four_standard_errors_and_these_cover_as_often_as_they_claim(dim, seeds):
    """A model, its data and the noise are new for each seed; 32 data in float64.

    Importance sampling and both sides of the sandwich estimate p(x), or 1 / p(x), without bias: the mean of their ratio
    to the truth is 1. Beyond 4 standard errors of 32 rows, by Student's law, 4e-4 of the seeds. 1.96 errors of a
    mean over data hold E log p(x) in 94.1% (Student, 31 degrees); weights of variance 1 at most, in 20 dimensions,
    bias a log-mean of 500 by 1e-3 nats, where the error of a mean is above 0.1. Each count fails by chance with
    probability below 1e-4.
    """
    ratios: dict[str, list[Tensor]] = {"importance": [], "ais": [], "reverse ais": []}
    covered = dict.fromkeys(ratios, 0)
    for seed in range(seeds):
        model = LinearGaussian.random(dim, dim + 2, seed)
        vae = near(model)
        x = simulated(vae, ROWS, seed)[0].x  # the data of the sandwich
        truth = model.log_p(x)
        exact = log_likelihood(vae, x, method="exact").per_datum
        torch.testing.assert_close(exact, truth, atol=1e-9, rtol=0)
        lower, upper = bdmc(vae, ROWS, 16, seed, steps=20, leapfrog=3, start="posterior")
        for estimate, sign in ((log_likelihood(vae, x, 500, seed=seed), 1), (lower, 1), (upper, -1)):
            ratios[estimate.method].append((sign * (estimate.per_datum - truth)).exp() - 1)
            covered[estimate.method] += abs(estimate.value - model.mean_log_p) < 1.96 * estimate.stderr
    rate, cover = 2 * student.sf(4, ROWS - 1), 1 - 2 * student.sf(1.96, ROWS - 1)
    for name, errors in ratios.items():
        assert beyond(errors, 4) <= allowed(seeds, rate), name
        if seeds >= 100:
            every = torch.cat(errors)
            assert abs(float(every.mean())) < 4 * float(every.std()) / math.sqrt(len(every)), name
        assert binom.ppf(1e-4, seeds, cover) <= covered[name] <= binom.ppf(1 - 1e-4, seeds, cover), name


@pytest.mark.slow
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("dim", [1, 2])
def test_every_method_finds_the_quadrature_of_fifty_random_decoders(dim):
    """12 rows each, 4 standard errors and the bias Var w / 2k of a log-mean: by Student's law 2e-3 of the seeds lie
    beyond; the count fails by chance with probability below 1e-4 for each method."""
    methods = {"importance": {"k": 4000}, "prior": {"k": 4000}, "mixture": {"k": 4000},
               "ais": {"steps": 60, "leapfrog": 4}}  # fmt: skip
    failed = dict.fromkeys(methods, 0)
    for seed in range(50):
        torch.manual_seed(seed)
        vae = rp.recipes.vae(8, dim, hidden=(10,), activation="tanh")
        with torch.no_grad():
            for parameter in vae.likelihood.parameters():
                parameter.mul_(3)
        x = vae.sample(12)
        truth = log_likelihood(vae, x, method="exact").per_datum
        for name, options in methods.items():
            estimate = log_likelihood(vae, x, method=name, seed=seed, **options)
            error = estimate.per_datum - truth
            bias = float(((estimate.k / estimate.ess - 1) / (2 * estimate.k)).mean())
            failed[name] += abs(float(error.mean())) > 4 * float(error.std()) / math.sqrt(12) + 2 * bias
    assert all(count <= allowed(50, 2 * student.sf(4, 11)) for count in failed.values()), failed


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5])
def test_a_healthy_model_is_called_so_two_hundred_times(dim):
    """40 seeds for each dimension. A finding needs a probability of 0.9999, of about 20 numbers: of 40 diagnoses less
    than 0.1 has one by chance, more than 1 with probability below 4e-3."""
    alarms = []
    for seed in range(40):
        model = LinearGaussian.random(dim, dim + 3, seed)
        found = diagnose(
            model.exact(), model.data(400, seed + 100), train=model.data(400, seed + 200), rows=400, gap_rows=30,
            seed=seed,
        )  # fmt: skip
        alarms += [(seed, f.name) for f in found.findings]
    assert len(alarms) <= 1, alarms
