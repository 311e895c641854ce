"""Every number of a diagnosis, against its closed form on linear-Gaussian models and against quadrature on others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

import reparam as rp
from models import Constant, Function, LaplacePosterior, LinearGaussian, within
from refusals import refused
from reparam.evaluate.diagnosis import (
    Number,
    aggregate_kl,
    codes,
    correlations,
    fit_of,
    from_uniform,
    gaps,
    idle_dimensions,
    mutual_information,
    sbc,
)
from reparam.evaluate.diagnosis.rows import constants, equal_pairs, log_steps, outliers, shared_rows
from reparam.evaluate.diagnosis.subject import Subject
from reparam.evaluate.diagnosis.training import Run, dead_units

pytestmark = pytest.mark.usefixtures("double")


def amortised(model: LinearGaussian, variance: torch.Tensor, gain: float = 1.0, shift: float = 0.0) -> rp.VAE:
    """q(z|x) = N(gain * exact mean + shift, diag variance)."""
    net = Function(lambda x: torch.cat([gain * model.mean(x) + shift, variance.log().expand(len(x), -1)], -1))
    return model.vae(rp.posteriors.DiagonalGaussian(net))


def aggregate(model: LinearGaussian, variance: torch.Tensor, gain: float = 1.0, shift: float = 0.0):
    """q(z) over the model's own data, which is Gaussian."""
    project = torch.linalg.solve(model.precision, model.w.T / model.s**2)
    covariance = gain**2 * project @ model.marginal.covariance_matrix @ project.T + torch.diag(variance)
    return MultivariateNormal(torch.full((model.dim,), shift), covariance)


def informative(q_z: MultivariateNormal, variance: torch.Tensor) -> float:
    """I(x; z) = h(z) - h(z|x)."""
    return float(torch.logdet(q_z.covariance_matrix) - variance.log().sum()) / 2


def standard(dim: int) -> MultivariateNormal:
    return MultivariateNormal(torch.zeros(dim), torch.eye(dim))


# The latent space.


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5])
def test_information_and_holes_lie_between_their_bounds(dim):
    """On the closed forms of a linear-Gaussian model, 20 seeds, 4 se of their means; in one and two dimensions the two
    bounds of 400 rows are also within 0.05 nats of each other."""
    model = LinearGaussian.random(dim, dim + 2, seed=dim, gain=0.5)
    variance = torch.linspace(0.3, 0.6, dim)
    q_z = aggregate(model, variance, gain=1.4, shift=0.3)
    truth, away = informative(q_z, variance), float(kl_divergence(q_z, standard(dim)))
    vae = amortised(model, variance, 1.4, 0.3)
    found = [codes(vae, rp.Dataset(model.data(400, seed)), seed) for seed in range(20)]
    for bounds, value in ((mutual_information, truth), (aggregate_kl, away)):
        lower, upper = (torch.tensor([getattr(bounds(c), side).value for c in found]) for side in ("lower", "upper"))
        assert (
            float(lower.mean() - 4 * lower.std() / 20**0.5) <= value <= float(upper.mean() + 4 * upper.std() / 20**0.5)
        )
        if dim <= 2:
            assert float((upper - lower).mean()) < 0.05
    assert away > 0.05


def test_the_lower_bound_of_the_information_of_n_rows_is_at_most_log_n():
    model = LinearGaussian.random(4, 30, seed=0, s=0.01)
    c = codes(model.diagonal(), rp.Dataset(model.data(50)))
    assert mutual_information(c).lower.value <= math.log(50) + 1e-9
    assert mutual_information(c).upper.value > 2 * math.log(50)


@pytest.mark.parametrize("dim", [1, 5, 20])
def test_a_filled_prior_has_no_holes(dim):
    """With the exact posterior q(z) is p(z): the lower bound is at most 4 of its standard errors above 0 in each of 20
    seeds, and in the mean no more than its bias, in any dimension."""
    model = LinearGaussian.random(dim, dim + 2, seed=dim)
    vae = model.exact()
    lower = [aggregate_kl(codes(vae, rp.Dataset(model.data(500, seed)), seed)).lower for seed in range(20)]
    assert all(n.value <= 4 * n.error + 0.01 for n in lower)
    assert sum(n.value for n in lower) / 20 < 0.05


def test_holes_in_twenty_dimensions_are_seen_by_moments_and_marginals():
    """The joint leave-one-out bound says nothing there: I(x; z) is far above log N."""
    model = LinearGaussian.random(20, 22, seed=0)
    variance = 1 / model.precision.diagonal()
    vae = amortised(model, variance, gain=1.5)
    truth = float(kl_divergence(aggregate(model, variance, gain=1.5), standard(20)))
    found = aggregate_kl(codes(vae, rp.Dataset(model.data(1000, 1))))
    assert truth > 3
    assert found.lower.value == pytest.approx(truth, abs=4 * found.lower.error + 0.1)
    assert found.upper.value > truth


def test_the_kl_of_each_dimension_is_the_closed_form_and_sums_to_the_whole():
    model = LinearGaussian.random(3, 5, seed=0)
    variance = torch.tensor([0.2, 0.5, 1.0])
    x = model.data(300)
    c = codes(amortised(model, variance), rp.Dataset(x))
    mean = model.mean(x)
    torch.testing.assert_close(c.each, (mean.square() + variance - 1 - variance.log()) / 2)
    torch.testing.assert_close(c.each.sum(1), c.kl)
    torch.testing.assert_close(c.mean, mean)


def test_the_densities_of_draws_under_all_rows_are_those_of_a_loop():
    model = LinearGaussian.random(2, 4, seed=1)
    data = rp.Dataset(model.data(30))
    for vae in (
        model.diagonal(),
        model.exact(),
        model.vae(LaplacePosterior(rp.networks.mlp(4, 4))),
    ):
        c = codes(vae, data)
        with torch.no_grad():
            q = vae.posterior(data.x)
            table = torch.stack([q.log_prob(z.expand(30, -1)) for z in c.z])
        torch.testing.assert_close(c.total, table.logsumexp(1) - math.log(30))
        others = table.masked_fill(torch.eye(30, dtype=torch.bool), -math.inf)
        torch.testing.assert_close(c.others, others.logsumexp(1) - math.log(29))
        torch.testing.assert_close(c.log_qz, table.diagonal())


def test_idle_dimensions_are_those_that_carry_nothing():
    model = LinearGaussian(torch.tensor([[1.0, 0.0, 2.0], [0.5, 0.0, -1.0]]), torch.zeros(2), 0.5)
    assert idle_dimensions(codes(model.diagonal(), rp.Dataset(model.data(200)))) == [1]
    none = LinearGaussian.random(3, 4, seed=0)
    assert idle_dimensions(codes(none.diagonal(), rp.Dataset(none.data(200)))) == []


def test_correlations_are_those_of_the_aggregate_posterior():
    model = LinearGaussian.random(3, 4, seed=3)
    variance = torch.full((3,), 0.05)
    covariance = aggregate(model, variance).covariance_matrix
    truth = covariance / torch.outer(covariance.diagonal().sqrt(), covariance.diagonal().sqrt())
    found = torch.stack(
        [correlations(codes(amortised(model, variance), rp.Dataset(model.data(500, s)), s)) for s in range(10)]
    )
    within(found, truth, se=5, bias=0.003)
    assert float((truth - torch.eye(3)).abs().max()) > 0.3


# Gaps.


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_gaps_are_the_closed_forms(dim):
    """log p(x), the best diagonal q and the loss of a q with a wrong mean and variance are known for each row."""
    model = LinearGaussian.random(dim, dim + 1, seed=dim)
    best = 1 / model.precision.diagonal()
    wrong, shift = best * torch.linspace(1.5, 2.0, dim), 0.1
    x = model.data(40, 5)
    found = gaps(amortised(model, wrong, 1.0, shift), rp.Dataset(x), samples=4000)
    mean_cost = float(model.precision.sum()) * shift**2 / 2
    amortisation = model.kl(wrong) + mean_cost - model.kl(best)
    assert float(found.amortisation.mean()) == pytest.approx(amortisation, abs=0.02 + 0.02 * amortisation)
    assert float(found.approximation.mean()) == pytest.approx(model.kl(best), abs=0.02)
    torch.testing.assert_close(found.log_p, model.log_p(x), atol=0.15, rtol=0)
    assert amortisation > 0.05


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_gaps_of_a_network_agree_with_quadrature_and_with_the_optimum_found_directly(dim, likelihood):
    """The best ELBO is found again without noise, by L-BFGS on a Gauss-Hermite rule with 15 points along each axis."""
    torch.manual_seed(dim)
    scale = 0.5 if likelihood == "gaussian" else None
    vae = rp.recipes.vae(6, dim, likelihood=likelihood, hidden=(8,), activation="tanh", scale=scale)
    with torch.no_grad():
        for parameter in vae.likelihood.parameters():
            parameter.mul_(2)
    x = vae.sample(6)
    found = gaps(vae, rp.Dataset(x), steps=300, samples=4000)
    exact = rp.evaluate.log_likelihood(vae, x, method="exact").per_datum
    torch.testing.assert_close(found.log_p, exact, atol=0.1, rtol=0)
    optimum = torch.stack([direct(vae, row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(found.best, optimum, atol=0.1, rtol=0)
    within(found.best - optimum, 0.0, se=5, bias=0.03)
    assert bool((optimum <= exact + 1e-3).all())
    assert float(found.amortisation.mean()) > 0.05


def direct(vae: rp.VAE, x: torch.Tensor) -> torch.Tensor:
    """The largest ELBO of a diagonal Gaussian q for one datum, by quadrature and from several starts."""
    dim = vae.prior().event_shape[-1]
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(15))
    grid = torch.cartesian_prod(*[nodes] * dim).reshape(-1, 1, dim)
    share = torch.cartesian_prod(*[weights / weights.sum()] * dim).reshape(-1, dim).prod(1)
    best = -math.inf
    for seed in range(4):
        start = torch.randn(dim, generator=torch.Generator().manual_seed(seed)) * (seed > 0)
        value = torch.cat([start, torch.full((dim,), -0.5)]).requires_grad_()
        optimizer = torch.optim.LBFGS([value], max_iter=100, line_search_fn="strong_wolfe")

        def negative(value=value, optimizer=optimizer):
            optimizer.zero_grad()
            mean, log_sd = value.chunk(2)
            z = mean + log_sd.exp() * grid
            log_px = vae.likelihood(z).log_prob(x)[:, 0]
            kl = (mean.square() + (2 * log_sd).exp() - 1).sum() / 2 - log_sd.sum()
            loss = kl - (share * log_px).sum()
            loss.backward()
            return loss

        optimizer.step(negative)
        best = max(best, -float(negative().detach()))
    return torch.tensor(best)


def test_the_search_for_the_best_q_leaves_the_model_alone_and_rows_do_not_see_each_other():
    vae = rp.recipes.vae(5, 2, likelihood="gaussian", hidden=(8,))
    x = torch.randn(4, 5)
    before = {name: t.clone() for name, t in vae.state_dict().items()}
    whole = gaps(vae, rp.Dataset(x), steps=20, samples=40)
    alone = gaps(vae, rp.Dataset(x[2:3]), steps=20, samples=40)
    for a, b in zip(whole, alone, strict=True):
        torch.testing.assert_close(a[2:3], b)
    assert all(torch.equal(before[name], t) for name, t in vae.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in vae.parameters())


def test_a_posterior_whose_parameters_cannot_be_replaced_is_refused():
    model = LinearGaussian.random(2, 3, seed=0)
    prior_like = Function(lambda x: MultivariateNormal(torch.zeros(len(x), 2), torch.eye(2)))
    refused(lambda: gaps(model.vae(prior_like), rp.Dataset(model.data(3))), "does not tell")
    refused(lambda: gaps(rp.recipes.autoencoder(3, 2, likelihood="gaussian"), rp.Dataset(model.data(3))), "density")


# Calibration.


def test_ranks_of_an_exact_posterior_are_uniform_and_those_of_wrong_ones_show_how():
    """The distance that chance exceeds once in 10,000, here for 4 models."""
    model = LinearGaussian.random(2, 4, seed=0)
    data = rp.Dataset(model.data(10))
    exact = from_uniform(sbc(model.exact(), data, 2000))
    assert exact.value < exact.chance + 1 / 128  # ranks are on a grid of 64
    best = 1 / model.precision.diagonal()
    narrow = sbc(amortised(model, best * 0.04), data, 1000)
    assert from_uniform(narrow).value > 0.2
    assert float(((narrow < 0.1) | (narrow > 0.9)).double().mean()) > 0.4
    wide = sbc(amortised(model, best * 25), data, 1000)
    assert float(((wide < 0.1) | (wide > 0.9)).double().mean()) < 0.05
    assert float(sbc(amortised(model, best, 1.0, 1.0), data, 1000).mean()) < 0.35


def decoders() -> dict[str, tuple[rp.VAE, torch.Tensor]]:
    """Models whose decoder does not read z, so that every posterior is exact, with their parameters."""

    def of(likelihood: nn.Module) -> rp.VAE:
        return rp.VAE(rp.priors.StandardNormal(2), likelihood, rp.posteriors.DiagonalGaussian(Constant(torch.zeros(4))))

    level = torch.tensor([-1.0, 0.5, 1.5])
    return {
        "gaussian": of(rp.likelihoods.Gaussian(Constant(level), 0.3)),
        "laplace": of(rp.likelihoods.Laplace(Constant(level), 0.3)),
        "student": of(rp.likelihoods.StudentT(Constant(level), 0.3, 5.0)),
        "poisson": of(rp.likelihoods.Poisson(Constant(level))),
        "negative binomial": of(rp.likelihoods.NegativeBinomial(Constant(level), 2.0)),
        "bernoulli": of(rp.likelihoods.Bernoulli(Constant(level))),
        "continuous bernoulli": of(rp.likelihoods.ContinuousBernoulli(Constant(level))),
        "categorical": of(rp.likelihoods.Categorical(Constant(torch.randn(3, 4), 1), 4)),
    }


@pytest.mark.parametrize("name", list(decoders()))
def test_the_transform_of_data_of_the_model_is_uniform(name):
    """Continuous and discrete, in 1000 rows; each fails once in 10,000. The dispersion is 1 and 80% cover 80%, 4 se."""
    vae = decoders()[name]
    data = rp.Dataset(vae.sample(1000))
    fit = fit_of(Subject(vae, data, data, None, 3))
    distance = from_uniform(fit.pit)
    assert distance.value < distance.chance
    assert fit.coverage.value == pytest.approx(0.8, abs=4 * fit.coverage.error)
    if fit.dispersion is not None:
        assert fit.dispersion.value == pytest.approx(1, abs=4.5 * fit.dispersion.error)


def test_the_dispersion_is_the_square_of_a_wrong_scale():
    vae = decoders()["gaussian"]
    wrong = rp.VAE(vae.prior, rp.likelihoods.Gaussian(vae.likelihood.net, 3.0), vae.posterior)
    data = rp.Dataset(vae.sample(500))
    fit = fit_of(Subject(wrong, data, data, None, 0))
    assert fit.dispersion is not None
    assert fit.dispersion.value == pytest.approx(0.01, rel=4 * fit.dispersion.error / fit.dispersion.value)
    assert fit.coverage.value == 1


# Numbers and their errors.


def test_errors_cover_the_truth_as_often_as_they_claim():
    """400 samples of 100 rows: two standard errors of a mean and of a ratio hold the truth in 95% of them (± 3.3%,
    which chance leaves once in 400)."""
    torch.manual_seed(1)
    a = torch.rand(400, 100) + 0.5
    b = a + 0.3 * torch.randn(400, 100) + 1
    for numbers, truth in (
        ([Number.mean(row) for row in a], 1.0),
        ([Number.ratio(x, y) for x, y in zip(a, b, strict=True)], 0.5),
    ):
        inside = sum(abs(n.value - truth) < 1.96 * n.error for n in numbers) / 400
        assert inside == pytest.approx(0.95, abs=0.033)
    assert Number(3.0, 1.0).above(0.0) == pytest.approx(0.99865, abs=1e-5)
    assert Number(3.0, 0.0).above(3.0) == 0
    assert Number(math.nan, 1.0).above(0) == 0


# The data and the run.


def test_rows_of_the_data():
    x = torch.randn(100, 3)
    x[:, 1] = 4.0
    x[10:13] = x[0]
    data = rp.Dataset(x)
    assert constants(data) == [1]
    pairs = equal_pairs(data, torch.zeros(100), log_steps(data, discrete=False))
    assert (pairs.found, pairs.rows) == (6, 3)
    assert pairs.expected < 1e-3
    assert shared_rows(data, rp.Dataset(torch.cat([x[50:60], torch.randn(5, 3)]))) == 10


def test_chance_repeats_of_discrete_data_are_expected_by_log_p():
    """3 fair coins: of 200 rows, 19900 / 8 pairs are equal, to 5 standard deviations of that many (dependent) pairs."""
    vae = rp.VAE(
        rp.priors.StandardNormal(1), rp.likelihoods.Bernoulli(Constant(torch.zeros(3))),
        rp.posteriors.DiagonalGaussian(Constant(torch.zeros(2))),
    )  # fmt: skip
    data = rp.Dataset(vae.sample(200))
    log_p = rp.evaluate.log_likelihood(vae, data, 10).per_datum
    pairs = equal_pairs(data, log_p, log_steps(data, discrete=True))
    assert pairs.expected == pytest.approx(200 * 199 / 2 / 8, rel=1e-9)
    assert pairs.found == pytest.approx(pairs.expected, rel=0.1)


def test_outliers_are_rows_below_all_that_the_model_makes():
    model = LinearGaussian.random(2, 5, seed=0)
    own = model.log_p(model.data(500, 1))
    for seed in range(2, 22):
        assert outliers(model.log_p(model.data(500, seed)), own).rows == []
    x = model.data(500, 1)
    x[[3, 77]] += torch.tensor([[12.0], [30.0]])
    found = outliers(model.log_p(x), own)
    assert found.rows == [77, 3]
    assert found.log_p[0] < found.limit


def test_an_objective_is_read_from_either_way_of_writing_it():
    line = "Linear(start=0, end=2.0, over=0.5)"
    for text in ("ELBO{'k': 1, 'beta': " + line + "}", f"ELBO(1, beta={line})"):
        assert Run((), text).moving() == {"beta": rp.schedules.Linear(0.0, 2.0, 0.5)}
        assert Run((), text).beta == 2
    for text in ("ELBO{'k': 1, 'beta': 0.5}", "ELBO(k=1, beta=0.5)"):
        assert Run((), text).beta == 0.5


@pytest.mark.parametrize("written", [False, True])
def test_the_run_knows_its_weights_at_the_epoch_that_was_kept(written):
    objective = rp.objectives.ELBO(beta=rp.schedules.Linear(0, 1, over=0.5))
    records = [{"epoch": e, "train_objective": -10.0 + e} for e in range(1, 6)]
    given = repr(objective) if written else objective
    assert Run(records, given, 50).unfinished() == {"beta": (pytest.approx(0.2), 1.0)}
    assert Run(records, given, 5).unfinished() == {}
    assert Run(records, given, 5).beta == 1
    four = rp.objectives.ELBO(beta=4.0)
    assert Run((), repr(four) if written else four).beta == 4
    records[1]["validation_objective"] = -1.0
    assert Run(records, given, 8).unfinished() == {"beta": (pytest.approx(0.5), 1.0)}


def test_dead_units_are_counted():
    vae = rp.recipes.vae(4, 2, likelihood="gaussian", hidden=(10,))
    x = rp.Dataset(torch.randn(50, 4))
    with torch.no_grad():
        vae.posterior.net.layers[0].bias.zero_()
        vae.posterior.net.layers[0].bias[:3] = -1e6
        vae.likelihood.net.layers[0].bias.fill_(1e6)
    found = dead_units(vae, x)
    assert sorted(found.values()) == [0.0, pytest.approx(0.3)]
    assert not any(m._forward_hooks for m in vae.modules())
