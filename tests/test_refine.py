"""Refinement of q for each datum: it comes to the best of its family, helps importance sampling, and changes no law."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

import reparam as rp
from models import Constant, LaplacePosterior, LinearGaussian, within
from refusals import refused
from reparam import priors
from reparam.errors import InputError
from reparam.evaluate import elbo, log_likelihood, refine, refined
from rows import EVENT, LATENT
from rows_posteriors import OTHERS, POSTERIORS
from test_contexts import conditional_vae

pytestmark = pytest.mark.usefixtures("double")


@cache
def model() -> LinearGaussian:
    return LinearGaussian.random(2, 3, seed=4, s=1.0, gain=0.8)


def bad() -> rp.VAE:
    """With an encoder that gives every datum the prior."""
    return model().prior_as_posterior()


def gap(q: torch.distributions.Distribution, x: Tensor) -> Tensor:
    """What the ELBO by a diagonal q lacks to the best diagonal one, exactly, in nats for each row."""
    p, off = model().precision, q.mean - model().mean(x)
    kl = (q.variance @ p.diagonal() - model().dim - q.variance.log().sum(-1) - torch.logdet(p)) / 2
    return kl + ((off @ p) * off).sum(-1) / 2 - model().kl(1 / p.diagonal())


def test_a_diagonal_gaussian_comes_to_the_best_diagonal_gaussian():
    """Its mean is that of p(z|x), its variances are 1 / P_jj.

    By pairs of noise the slope in the mean is free of noise where q is Gaussian; what is left falls with the noise of
    the slope in the widths and with the rate of Adam, which ends at 0. 0.01 nats are an error of 20 % in one variance:
    e²/4 of a relative error e.
    """
    x = model().data(30)
    gaps = {n: gap(refine(bad(), x, steps=n, lr=0.1), x) for n in (50, 100, 400)}
    start = gap(bad().posterior(x), x)
    assert float(start.detach().mean()) > 1
    means = [float(g.mean()) for g in gaps.values()]
    assert means[0] > means[1] > means[2]
    assert float(gaps[400].max()) < 0.01
    q = refine(bad(), x, steps=400)
    torch.testing.assert_close(q.variance, (1 / model().precision.diagonal()).expand(30, -1), rtol=0.2, atol=0)
    torch.testing.assert_close(q.mean, model().mean(x), rtol=0, atol=1e-3)


def test_the_elbo_after_refinement_is_log_p_less_the_gap_of_the_family():
    """20 samples for each of 500 rows; with estimator B the noise is that of the reconstruction alone: 5 se."""
    x = model().data(500)
    best = model().log_p(x) - model().kl(1 / model().precision.diagonal())
    within(elbo(bad(), x, k=20, refine=200).per_datum - best, 0.0, se=5, bias=0.01)


def prior_for(name: str) -> torch.nn.Module:
    if name.startswith("VonMises"):
        return priors.SphereUniform(3 if name.endswith("ball") else 2)
    simplex = name in ("Dirichlet", "LogisticNormal")
    return (
        priors.Dirichlet(3) if simplex else priors.Gamma(LATENT) if name == "Gamma" else priors.StandardNormal(LATENT)
    )


LAYERED = ("BottomUp", "TopDown", "Ladder", "OfFeatures")  # no one output of a net tells their q
NAMES = [name for name in POSTERIORS | OTHERS if name not in ("Point", *LAYERED)]


def model_of(name: str) -> rp.VAE:
    row, prior = (POSTERIORS | OTHERS)[name], prior_for(name)
    dim = prior().event_shape[0]
    decoder = rp.networks.mlp(dim, EVENT, (8,), "tanh")
    with torch.no_grad():
        decoder.last.weight *= 5
    return rp.VAE(prior, rp.likelihoods.Gaussian(decoder, 0.3), row.make())


@pytest.mark.parametrize("name", NAMES)
def test_every_posterior_gains_and_none_loses(name):
    """On average by much more than the noise; and no row loses more than 4 se of the difference of its estimates."""
    vae, x = model_of(name), torch.randn(6, 2)
    before, after = (log_w(v, x) for v in (vae, refined(vae, steps=30, lr=0.1)))
    noise = ((before.var(0) + after.var(0)) / len(before)).sqrt()
    change = after.mean(0) - before.mean(0)
    assert bool((change > -4 * noise).all())
    assert float(change.mean()) > 4 * float(noise.square().mean().sqrt()) / 6**0.5


@pytest.mark.parametrize("name", LAYERED)
def test_hierarchies_are_refused(name):
    refused(lambda: refined(model_of(name), 3), "does not tell how")


@torch.no_grad()
def log_w(vae: rp.VAE, x: Tensor) -> Tensor:
    return vae(x, k=2000).log_w


def test_by_a_refined_q_importance_sampling_stays_unbiased_and_wastes_less():
    """E exp(estimate - log p) = 1 for every k: 400 estimates of 100 samples each, 4 se, failure rate 6e-5."""
    x = model().data(40) * 2
    plain, better = (log_likelihood(bad(), x, k=100, refine=n, repeats=1) for n in (0, 60))
    assert bool((better.ess > plain.ess).double().mean() > 0.9)
    assert float(better.ess.mean()) > 2 * float(plain.ess.mean())
    x = x[:4]
    ratios = [
        (log_likelihood(bad(), x, k=100, refine=5, seed=s).per_datum - model().log_p(x)).exp().mean()
        for s in range(100)
    ]
    within(torch.stack(ratios), 1.0)
    mixed = log_likelihood(bad(), x, k=2000, method="mixture", refine=60)
    # the relative error of a mean weight is sqrt(1 / ess): 5 of them
    assert bool(((mixed.per_datum - model().log_p(x)).abs() < 5 / mixed.ess.sqrt()).all())


@pytest.mark.parametrize("name", ["DiagonalGaussian", "Gamma", "Flow spline"])
def test_a_refined_row_depends_on_its_neighbours_by_rounding_only_and_repeats_to_the_bit(name):
    vae, x = model_of(name), torch.randn(5, 2)
    with torch.no_grad():
        value = torch.full((5, LATENT), 0.4)
        whole = refine(vae, x, steps=10).log_prob(value)
        assert torch.equal(refine(vae, x, steps=10).log_prob(value), whole)
        assert not torch.equal(refine(vae, x, steps=10, seed=1).log_prob(value), whole)
        alone = refine(vae, x[3:4], steps=10).log_prob(value[:1])
    torch.testing.assert_close(alone[0], whole[3], atol=1e-8, rtol=0)


def test_nothing_of_the_model_changes():
    vae, x = model_of("DiagonalGaussian").train(), torch.randn(5, 2)
    before, state = {n: t.clone() for n, t in vae.state_dict().items()}, torch.get_rng_state()
    elbo(vae, x, refine=3)
    assert all(torch.equal(t, before[n]) for n, t in vae.state_dict().items())
    assert all(p.grad is None for p in vae.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert vae.training


def test_contexts_pass():
    c = torch.nn.functional.one_hot(torch.arange(12) % 3, 3).double()
    vae, x = conditional_vae(), torch.randn(12, 4)
    plain, better = (elbo(vae, x, k=50, contexts=(c,), refine=n).value for n in (0, 40))
    assert better > plain
    assert refine(vae, x, steps=2, contexts=(c,)).batch_shape == (12,)


def test_what_cannot_be_refined_is_refused():
    x = torch.randn(4, 2)
    own = model_of("DiagonalGaussian")
    own.posterior = LaplacePosterior(Constant(torch.zeros(2 * LATENT)))
    with pytest.raises(InputError, match=r"LaplacePosterior does not tell.*posteriors.base.Posterior"):
        elbo(own, x, refine=3)
    with pytest.raises(InputError, match="Point"):
        refine(rp.recipes.autoencoder(2, 2, likelihood="gaussian"), x)
    vae = model_of("DiagonalGaussian")
    for call, said in (
        (lambda: refined(vae, steps=0), "steps"),
        (lambda: refined(vae, lr=-1.0), "lr"),
        (lambda: log_likelihood(vae, x, method="prior", refine=3), "does not propose from q"),
        (lambda: log_likelihood(vae, x, refine=-3), "steps"),
        (lambda: refine(vae, torch.full((4, 2), torch.inf)), "inf"),
    ):
        with pytest.raises(InputError, match=said):
            call()
