"""A linear-Gaussian model has one answer, in closed form: everything that estimates it must give it."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

import reparam as rp
from models import Constant, LinearGaussian, cubature, within

pytestmark = pytest.mark.usefixtures("double")

# Rounding only: weights are sums of a dozen terms of size up to about 100, each exact to 1e-16 of itself, after the
# solution of systems whose condition number stays below 1e4.
ROUNDING = 1e-9


@pytest.fixture(
    params=[(dim, seed) for dim in range(1, 6) for seed in range(3)], ids=lambda p: "dim{}-seed{}".format(*p)
)
def model(request):
    dim, seed = request.param
    return LinearGaussian.random(dim, dim + 2, seed)


@pytest.mark.parametrize("k", [1, 50])
def test_with_the_exact_posterior_every_log_weight_is_log_p(model, k):
    x = model.data(20)
    draw = model.exact()(x, k=k)
    torch.testing.assert_close(draw.log_w, model.log_p(x).expand(k, -1), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("k", [1, 50])
def test_with_the_exact_posterior_every_bound_is_tight(model, k):
    x = model.data(20)
    draw = model.exact()(x, k=k)
    for objective in (rp.objectives.ELBO(k, estimator="A"), rp.objectives.IWAE(k)):
        torch.testing.assert_close(objective.bound(draw), model.log_p(x), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("estimator", ["A", "B", "auto"])
def test_the_elbo_is_log_p_less_the_kl_from_the_posterior(model, estimator):
    x, variance = model.data(20), torch.linspace(0.2, 1.5, model.dim)
    objective = rp.objectives.ELBO(estimator=estimator)
    exact, vae = model.exact(), model.diagonal(variance)
    for each, gap in ((exact, 0.0), (vae, model.kl(variance))):
        draw = each.at(cubature(each.posterior(x)), x)
        torch.testing.assert_close(objective.bound(draw), model.log_p(x) - gap, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("estimator", ["A", "B"])
def test_the_best_diagonal_posterior_misses_by_the_hadamard_gap(model, estimator):
    """No diagonal covariance comes nearer than 1/2 (Σ log P_jj - log det P)."""
    x, p = model.data(20), model.precision
    gap = (p.diagonal().log().sum() - torch.logdet(p)) / 2
    best = 1 / p.diagonal()
    missed = []
    for variance in (best, 1.1 * best, 0.9 * best):
        vae = model.diagonal(variance)
        bound = rp.objectives.ELBO(estimator=estimator).bound(vae.at(cubature(vae.posterior(x)), x))
        missed.append(model.log_p(x) - bound)
    torch.testing.assert_close(missed[0], gap.expand(20), atol=ROUNDING, rtol=0)
    assert all(bool((m > gap).all()) for m in missed[1:])


def test_the_best_posterior_mean_is_the_exact_one(model):
    """The ELBO's gradient with respect to the mean and log-variance of q is zero at the best diagonal posterior."""
    x = model.data(1)
    best = torch.cat([model.mean(x)[0], -model.precision.diagonal().log()])
    net = Constant(best)
    vae = model.vae(rp.posteriors.DiagonalGaussian(net))
    bound = rp.objectives.ELBO().bound(vae.at(cubature(vae.posterior(x)), x))
    (gradient,) = torch.autograd.grad(bound.sum(), [net.value])
    torch.testing.assert_close(gradient, torch.zeros_like(best), atol=1e-7, rtol=0)


def test_evaluation_by_the_exact_posterior_has_no_variance(model):
    x = model.data(7)
    log_p = model.log_p(x)
    estimate = rp.evaluate.log_likelihood(model.exact(), x, k=50, chunk=64)
    torch.testing.assert_close(estimate.per_datum, log_p, atol=ROUNDING, rtol=0)
    # ess is exp of a difference of logs of size 100: exact to about 1e-13 of itself, times the weights' rounding
    torch.testing.assert_close(estimate.ess, torch.full((7,), 50.0), atol=0, rtol=ROUNDING)
    assert estimate.value == pytest.approx(float(log_p.mean()), abs=ROUNDING)
    assert estimate.stderr == pytest.approx(float(log_p.std()) / 7**0.5, abs=ROUNDING)
    assert float(estimate) == estimate.value
    assert (estimate.k, estimate.method) == (50, "importance")


def test_an_elbo_by_the_exact_posterior_is_log_p_in_expectation(model):
    """With the KL in closed form the reconstruction still varies: 4 se, failure rate 6e-5 for each of 15 models."""
    x = model.data(500)
    elbo, reconstruction, kl = (t.per_datum for t in rp.evaluate.elbo_terms(model.exact(), x, k=5))
    within(elbo - model.log_p(x), 0.0)
    torch.testing.assert_close(elbo, reconstruction - kl, atol=1e-12, rtol=0)
    p = model.precision
    exact = (torch.linalg.inv(p).trace() + model.mean(x).square().sum(-1) - model.dim + torch.logdet(p)) / 2
    torch.testing.assert_close(kl, exact, atol=1e-9, rtol=0)


def test_the_prior_as_posterior_has_a_kl_of_zero(model):
    x = model.data(5)
    draw = model.prior_as_posterior()(x, k=3)
    torch.testing.assert_close(draw.kl_exact, torch.zeros(5), atol=1e-14, rtol=0)
    torch.testing.assert_close(draw.kl_monte_carlo, torch.zeros(5), atol=1e-13, rtol=0)
    torch.testing.assert_close(draw.log_w, draw.log_px, atol=1e-12, rtol=0)


def test_a_draw_holds_the_normalised_densities(model):
    """Each log density of a draw is a sum of one-dimensional Gaussian log densities, written out here."""
    x, variance = model.data(4), torch.linspace(0.2, 1.5, model.dim)
    draw = model.diagonal(variance)(x, k=3)
    by_hand = (
        Normal(draw.z @ model.w.T + model.b, model.s).log_prob(x).sum(-1),
        Normal(0.0, 1.0).log_prob(draw.z).sum(-1),
        Normal(model.mean(x), variance.sqrt()).log_prob(draw.z).sum(-1),
    )
    for got, expected in zip((draw.log_px, draw.log_pz, draw.log_qz), by_hand, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


def test_samples_of_the_model_have_its_marginal():
    """Mean and second moment of 20000 samples of x, 5 se: failure rate 6e-7 for each of 12 numbers."""
    model = LinearGaussian.random(2, 3, seed=0)
    vae = model.exact()
    centred = vae.sample(20000) - model.b
    within(centred, torch.zeros(3), se=5)
    within(centred.unsqueeze(-1) * centred.unsqueeze(-2), model.marginal.covariance_matrix, se=5)
    means = vae.sample(20000, mean=True) - model.b
    within(means.unsqueeze(-1) * means.unsqueeze(-2), model.w @ model.w.T, se=5)


def test_reconstruction_is_the_decoded_posterior_mean(model):
    x = model.data(6)
    torch.testing.assert_close(rp.evaluate.encode(model.exact(), x), model.mean(x), atol=1e-10, rtol=0)
    expected = model.mean(x) @ model.w.T + model.b
    torch.testing.assert_close(model.exact().reconstruct(x), expected, atol=1e-10, rtol=0)
