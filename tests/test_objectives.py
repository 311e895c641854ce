"""Objectives: what each value is, which bounds bound, and that gradients are gradients of the value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import reparam as rp
from models import Constant, FullPrior, LaplacePosterior, LinearGaussian, cubature, with_parameters, within
from reparam.errors import InputError
from reparam.objectives import CIWAE, ELBO, IWAE, MIWAE, Capacity, Reconstruction, Renyi, kl_per_dimension

pytestmark = pytest.mark.usefixtures("double")

OBJECTIVES = {
    "elbo": ELBO(2),
    "elbo A": ELBO(3, estimator="A"),
    "elbo B": ELBO(3, estimator="B"),
    "beta elbo": ELBO(2, beta=4.0),
    "beta elbo A": ELBO(2, beta=0.3, estimator="A"),
    "iwae": IWAE(3),
    "reconstruction": Reconstruction(2),
    "miwae": MIWAE(2, 2),
    "ciwae": CIWAE(3, 0.3),
    "renyi": Renyi(0.5, 3),
    "renyi above 1": Renyi(2.5, 3),
    "capacity": Capacity(0.05, 7.0, k=2),
}


def small(posterior: str = "diagonal", likelihood: str = "gaussian", prior: nn.Module | None = None) -> rp.VAE:
    """3 data dimensions, 2 latent ones, few enough parameters for finite differences. tanh: ReLU has kinks."""
    scale = "predicted" if likelihood == "gaussian" else 1.0
    vae = rp.recipes.vae(3, 2, likelihood=likelihood, posterior=posterior, hidden=(3,), activation="tanh", scale=scale)
    return vae if prior is None else rp.VAE(prior, vae.likelihood, vae.posterior)


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "continuous_bernoulli"])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_gradients_are_those_of_the_value_by_finite_differences(objective, likelihood, posterior):
    """With the noise fixed, what training differentiates equals the reported bound and so does its derivative."""
    vae, x = small(posterior, likelihood), torch.rand(2, 3)
    x = x.round() if likelihood == "bernoulli" else x

    def surrogate(call):
        torch.manual_seed(1)
        draw = call(x, k=objective.k)
        bound = objective.bound(draw)
        value = objective.surrogate(draw, bound)
        assert torch.equal(value, bound)
        return value

    assert with_parameters(vae, surrogate)


def test_gradients_reach_a_prior_of_another_library():
    prior = FullPrior(torch.randn(2), torch.randn(2, 2).tril(-1) + 2 * torch.eye(2))
    vae, x = small("full", prior=prior), torch.rand(2, 3)

    def bound(call):
        torch.manual_seed(1)
        return ELBO(2).bound(call(x, k=2))

    assert with_parameters(vae, bound)


def test_values_are_their_formulas():
    draw = small("full")(torch.rand(4, 3), k=5)
    w = draw.log_w.exp()
    torch.testing.assert_close(IWAE(5).bound(draw), w.mean(0).log(), atol=1e-12, rtol=0)
    torch.testing.assert_close(Reconstruction(5).bound(draw), draw.log_px.mean(0), atol=0, rtol=0)
    torch.testing.assert_close(ELBO(5, estimator="A").bound(draw), draw.log_w.mean(0), atol=1e-12, rtol=0)
    exact = torch.distributions.kl_divergence(draw.q, draw.p)
    for beta in (0.0, 0.5, 1.0, 7.0):
        expected = draw.log_px.mean(0) - beta * exact
        torch.testing.assert_close(ELBO(5, beta).bound(draw), expected, atol=1e-12, rtol=0)
        torch.testing.assert_close(ELBO(5, beta, "B").bound(draw), expected, atol=1e-12, rtol=0)
    one = small()(torch.rand(4, 3))
    torch.testing.assert_close(IWAE(1).bound(one), ELBO(1, estimator="A").bound(one), atol=1e-13, rtol=0)


def test_estimators_a_and_b_have_one_mean():
    """Their difference has mean 0: 20000 independent rows, 4 se, failure rate 6e-5 for each posterior."""
    for posterior in ("diagonal", "full"):
        vae, x = small(posterior), torch.rand(1, 3).expand(20000, 3)
        draw = vae(x, k=2)
        within(ELBO(2, estimator="A").bound(draw) - ELBO(2, estimator="B").bound(draw), 0.0)


def test_the_elbo_does_not_depend_on_k_in_the_mean():
    """Exact value by cubature; 20000 independent draws of k = 1 and k = 4, 4 se, failure rate 6e-5 each."""
    model = LinearGaussian.random(3, 4, seed=1)
    vae, x = model.diagonal(torch.tensor([0.3, 0.2, 0.5])), model.data(1)
    truth = ELBO().bound(vae.at(cubature(vae.posterior(x)), x))[0]
    for k in (1, 4):
        for estimator in ("A", "B"):
            within(ELBO(k, estimator=estimator).bound(vae(x.expand(20000, -1), k=k)), truth)


@pytest.fixture(scope="module")
def iwae():
    """Values of IWAE_K at one datum, 40000 independent ones for each K, and log p(x) and the variance of w / p(x)."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = LinearGaussian.random(2, 3, seed=4, s=1.0, gain=0.8)
    variance = 2.0 / model.precision.diagonal()
    vae, x = model.diagonal(variance), model.data(1)
    with torch.no_grad():
        values = {k: IWAE(k).bound(vae(x.expand(40000, -1), k=k)) for k in (1, 2, 4, 8, 32)}
    torch.set_default_dtype(torch.float32)
    return values, model.log_p(x)[0], model.chi_square(variance), model.kl(variance)


def test_iwae_rises_with_k_and_stays_below_log_p(iwae):
    """Each step of K beats the last by more than 4 se of their difference, so a fall would be seen; 6e-5 each."""
    values, log_p, _, kl = iwae
    within(values[1], log_p - kl)
    means = torch.stack([v.mean() for v in values.values()])
    se = torch.stack([v.std() / math.sqrt(len(v)) for v in values.values()])
    assert bool((means < log_p + 4 * se).all())
    assert bool((means.diff() > -4 * (se[1:] ** 2 + se[:-1] ** 2).sqrt()).all())
    assert float(means[-1] - means[0]) > 10 * float(se[0])


def test_iwae_misses_log_p_by_half_the_variance_of_the_weights_over_k(iwae):
    """log p(x) - E[IWAE_K] = v / 2K + (3v²/4 - m/3) / K² + ..., with v, m the central moments of w / p(x).

    The delta method; v in closed form. At K = 8 the first term is more than 15 se, so a wrong factor would be seen;
    4 se, failure rate 6e-5. Twice the second term, with m from the samples, bounds all that follows.
    """
    values, log_p, variance, _ = iwae
    third = ((values[1] - log_p).exp() - 1).pow(3).mean().abs()
    assert variance / 16 > 15 * float(values[8].std()) / 200
    within(values[8], log_p - variance / 16, bias=2 * float(third / 3 + 0.75 * variance**2) / 64)


def test_estimator_b_without_a_closed_form_is_refused_and_auto_falls_back_to_a():
    net = rp.networks.mlp(3, 4, (3,))
    prior = FullPrior(torch.zeros(2), torch.eye(2))
    vae = rp.VAE(prior, rp.likelihoods.Bernoulli(rp.networks.mlp(2, 3)), LaplacePosterior(net))
    draw = vae(torch.ones(4, 3), k=2)
    assert draw.kl_exact is None
    with pytest.raises(InputError, match="estimator='A'"):
        ELBO(2, estimator="B").bound(draw)
    assert torch.equal(ELBO(2, estimator="auto").bound(draw), ELBO(2, estimator="A").bound(draw))


def test_bounds_by_a_posterior_without_density_are_refused():
    vae = small("point", "bernoulli")
    draw = vae(torch.ones(4, 3), k=2)
    for objective in (ELBO(2), ELBO(2, beta=0.0), ELBO(2, estimator="A"), IWAE(2)):
        with pytest.raises(InputError, match="Point"):
            objective.bound(draw)
    x = vae.likelihood(vae.posterior(torch.ones(4, 3)).mean)
    torch.testing.assert_close(Reconstruction(2).bound(draw), x.log_prob(torch.ones(4, 3)), atol=1e-14, rtol=0)


def test_the_kl_of_each_dimension_sums_to_the_kl():
    draw = small()(torch.rand(4, 3), k=2)
    each = kl_per_dimension(draw)
    assert each.shape == (4, 2)
    torch.testing.assert_close(each.sum(-1), draw.kl_exact, atol=1e-12, rtol=0)


def test_a_floor_under_the_kl_takes_its_gradient_away_below_and_leaves_it_above():
    """Dimension 0 has a KL below 0.5 nats for every datum, dimension 1 above: only 1 has a gradient of KL."""
    value = torch.tensor([0.1, 2.0, 0.05, -0.3])
    net = Constant(value)
    vae = rp.VAE(
        rp.priors.StandardNormal(2),
        rp.likelihoods.Gaussian(Constant(torch.zeros(3))),
        rp.posteriors.DiagonalGaussian(net),
    )
    x = torch.rand(4, 3)
    gradients = {}
    for floor in (0.0, 0.5):
        draw = vae(x)  # the decoder ignores z: all gradient is that of the KL
        (gradients[floor],) = torch.autograd.grad(ELBO(free_nats=floor).bound(draw).sum(), [net.value])
        each = kl_per_dimension(draw).detach()
        expected = draw.reconstruction - each.clamp_min(floor).sum(-1)
        torch.testing.assert_close(ELBO(free_nats=floor).bound(draw), expected, atol=1e-12, rtol=0)
    assert bool((each[:, 0] < 0.5).all())
    assert bool((each[:, 1] > 0.5).all())
    assert torch.equal(gradients[0.5][[0, 2]], torch.zeros(2))
    torch.testing.assert_close(gradients[0.5][[1, 3]], gradients[0.0][[1, 3]], atol=1e-12, rtol=0)
    assert float(gradients[0.0].abs().min()) > 0.01


def test_a_floor_needs_the_kl_of_each_dimension():
    for options in ({"estimator": "A"}, {"gradient": "stl"}):
        with pytest.raises(InputError, match="closed form"):
            ELBO(free_nats=0.1, **options)
    draw = small("full")(torch.rand(4, 3))
    with pytest.raises(InputError, match="DiagonalGaussian"):
        ELBO(free_nats=0.1).bound(draw)


def test_a_capacity_pulls_the_kl_to_itself_from_both_sides():
    """A decoder that ignores z leaves the KL alone; its gradient has the sign of KL - capacity, 7 times."""
    net = Constant(torch.tensor([0.4, 0.4, 0.0, 0.0]))  # KL = 0.16 nats
    vae = rp.VAE(
        rp.priors.StandardNormal(2),
        rp.likelihoods.Gaussian(Constant(torch.zeros(3))),
        rp.posteriors.DiagonalGaussian(net),
    )
    draw = vae(torch.rand(4, 3))
    (pull,) = torch.autograd.grad(draw.kl.sum(), [net.value], retain_graph=True)
    for capacity, sign in ((0.01, -7.0), (5.0, 7.0)):
        bound = Capacity(capacity, 7.0).bound(draw)
        torch.testing.assert_close(bound, draw.reconstruction - 7 * abs(0.16 - capacity), atol=1e-12, rtol=0)
        (gradient,) = torch.autograd.grad(bound.sum(), [net.value], retain_graph=True)
        torch.testing.assert_close(gradient, sign * pull, atol=1e-12, rtol=0)


@pytest.mark.parametrize("k", [0, -1, True])
@pytest.mark.parametrize("objective", [ELBO, IWAE, Reconstruction])
def test_a_number_of_samples_is_a_whole_number_of_at_least_one(objective, k):
    with pytest.raises(InputError, match="at least 1"):
        objective(k=k)


@pytest.mark.parametrize("beta", [-1.0, math.nan])
def test_beta_is_not_negative(beta):
    with pytest.raises(InputError, match="beta"):
        ELBO(beta=beta)


def test_with_a_constant_posterior_the_gradient_pulls_towards_the_exact_answer():
    """Ascent on the cubature-exact ELBO from q = N(0, I) reaches the exact mean: the signs of all terms are right."""
    model = LinearGaussian.random(2, 3, seed=0)
    x, net = model.data(1), Constant(torch.zeros(4))
    vae = model.vae(rp.posteriors.DiagonalGaussian(net))
    optimiser = torch.optim.LBFGS(
        [net.value], max_iter=200, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss():
        optimiser.zero_grad()
        value = -ELBO().bound(vae.at(cubature(vae.posterior(x)), x)).sum()
        value.backward()
        return value

    optimiser.step(loss)
    best = torch.cat([model.mean(x)[0], -model.precision.diagonal().log()])
    torch.testing.assert_close(net.value.detach(), best, atol=1e-6, rtol=0)
