"""The harmonic mean estimator where it is known to work: few dimensions, one mode."""

from __future__ import annotations

import pytest
import torch

import reparam as rp
from models import LinearGaussian, within
from refusals import refused

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_harmonic_mean_finds_the_closed_form_in_few_dimensions(dim):
    """p(z|x) is Gaussian, and so is the density that is fitted to it: weights hardly vary. 40 rows, 4 se, and a bias of
    0.02 nats upwards for 1000 draws."""
    model = LinearGaussian.random(dim, dim + 1, seed=dim)
    x = model.data(40)
    found = rp.evaluate.log_likelihood(model.diagonal(), x, method="harmonic")
    assert (found.method, found.k) == ("harmonic", 1000)
    within(found.per_datum - model.log_p(x), 0.0, bias=0.02)
    torch.testing.assert_close(found.per_datum, model.log_p(x), atol=0.25, rtol=0)


def test_it_agrees_with_quadrature_on_a_network_of_one_latent_dimension():
    vae = rp.VAE(
        rp.priors.StandardNormal(1), rp.likelihoods.Gaussian(rp.networks.mlp(1, 2, (4,)), 1.0),
        rp.posteriors.DiagonalGaussian(rp.networks.mlp(2, 2, (4,))),
    )  # fmt: skip
    x = vae.sample(10)
    exact = rp.evaluate.log_likelihood(vae, x, method="exact").per_datum
    found = rp.evaluate.log_likelihood(vae, x, 500, method="harmonic").per_datum
    torch.testing.assert_close(found, exact, atol=0.3, rtol=0)


def test_it_is_the_same_twice_and_refuses_what_it_cannot_do():
    model = LinearGaussian.random(2, 3, seed=0)
    x = model.data(4)
    first, second = (rp.evaluate.log_likelihood(model.exact(), x, 50, method="harmonic") for _ in range(2))
    assert torch.equal(first.per_datum, second.per_datum)
    refused(lambda: rp.evaluate.log_likelihood(model.exact(), x, 5, method="harmonic"), "give k of at least 8")
    refused(lambda: rp.evaluate.log_likelihood(model.exact(), x, method="harmonic", thin=0), "thin")
