"""Every pair of posterior and prior: trained and estimated where it makes sense, refused elsewhere."""

from __future__ import annotations

import math
import tomllib
from itertools import product

import pytest
import torch

import reparam as rp
from models import LinearGaussian
from refusals import refused
from reparam import posteriors, priors
from reparam.errors import InputError
from reparam.run import describe, dump_toml, rebuild

pytestmark = pytest.mark.usefixtures("double")


DIM = 3
NETS = {
    "DiagonalGaussian": (posteriors.DiagonalGaussian, 6, "real"),
    "FullGaussian": (posteriors.FullGaussian, 9, "real"),
    "LowRankGaussian": (lambda net: posteriors.LowRankGaussian(net, 1), 9, "real"),
    "Laplace": (posteriors.Laplace, 6, "real"),
    "Flow affine": (lambda net: posteriors.Flow(net, DIM, 2, 2, (8,)), 8, "real"),
    "Flow spline": (lambda net: posteriors.Flow(net, DIM, 2, 1, (8,), "spline"), 8, "real"),
    "Gamma": (posteriors.Gamma, 6, "positive"),
    "Dirichlet": (posteriors.Dirichlet, 3, "simplex"),
    "LogisticNormal": (posteriors.LogisticNormal, 4, "simplex"),
    "VonMisesFisher": (posteriors.VonMisesFisher, 4, "sphere"),
}
MAKERS = {
    "StandardNormal": (lambda q: priors.StandardNormal(DIM), "real"),
    "Gaussian": (lambda q: priors.Gaussian(torch.ones(DIM), torch.eye(DIM) + 0.5), "real"),
    "Mixture": (lambda q: priors.Mixture(DIM, 4), "real"),
    "Flow affine": (lambda q: priors.Flow(DIM, 2, (8,)), "real"),
    "Flow spline": (lambda q: priors.Flow(DIM, 1, (8,), "spline"), "real"),
    "Gamma": (lambda q: priors.Gamma(DIM), "positive"),
    "Dirichlet": (lambda q: priors.Dirichlet(DIM), "simplex"),
    "SphereUniform": (lambda q: priors.SphereUniform(DIM), "sphere"),
    "VampPrior": (lambda q: priors.VampPrior(q, 4, (5,)), "any"),
}
X = LinearGaussian.random(DIM, 5, seed=2).data(64).float()


def build(q: str, p: str) -> rp.VAE:
    make, outputs, _ = NETS[q]
    posterior = make(rp.networks.mlp(5, outputs, (16,)))
    return rp.VAE(
        MAKERS[p][0](posterior), rp.likelihoods.Gaussian(rp.networks.mlp(DIM, 5, (16,)), 0.7), posterior
    ).float()


SENSE = [(q, p) for q, p in product(NETS, MAKERS) if MAKERS[p][1] in ("any", NETS[q][2])]
NONSENSE = [(q, p) for q, p in product(NETS, MAKERS) if (q, p) not in SENSE]


@pytest.mark.parametrize(("q", "p"), SENSE)
def test_twenty_steps_improve_every_pair_that_makes_sense(q, p):
    vae = build(q, p)
    before = rp.evaluate.elbo(vae, X, k=20)
    history = rp.fit(vae, X, epochs=20, batch_size=64, lr=1e-2, progress=False)
    after = rp.evaluate.elbo(vae, X, k=20)
    assert len(history) == 20
    assert math.isfinite(float(after))
    assert float(after) > float(before) + 0.1


@pytest.mark.parametrize(("q", "p"), SENSE)
def test_estimates_of_every_pair_belong_to_the_row(q, p):
    """Alone, in another order, in other calls and after another round through a file: equal to rounding of float32."""
    vae = build(q, p)
    for method in ("importance", "prior"):
        whole = rp.evaluate.log_likelihood(vae, X[:5], k=6, method=method).per_datum
        assert bool(whole.isfinite().all())
        for order in ([3], [4, 2, 0, 1, 3]):
            part = rp.evaluate.log_likelihood(vae, X[order], k=6, method=method, chunk=4).per_datum
            torch.testing.assert_close(part, whole[order], rtol=1e-4, atol=1e-4)
    again = rebuild(tomllib.loads(dump_toml(describe(vae)))).float()
    again.load_state_dict(vae.state_dict())
    torch.testing.assert_close(
        rp.evaluate.log_likelihood(again, X[:5], k=6, method="prior").per_datum, whole, rtol=0, atol=0
    )
    assert vae.encode(X).shape == (64, DIM)
    assert torch.equal(vae.encode(X), vae.encode(X))
    assert vae.reconstruct(X).shape == vae.sample(64).shape == X.shape
    assert bool(vae.sample(9).isfinite().all())


@pytest.mark.parametrize(("q", "p"), NONSENSE)
def test_pairs_that_live_in_different_places_are_refused(q, p):
    vae = build(q, p)
    for call in (lambda: vae(X), lambda: rp.fit(vae, X, epochs=1, progress=False)):
        refused(call, "the posterior gives", "the prior expects", kinds=(InputError,))


def test_how_many_pairs_there_are():
    assert (len(SENSE), len(NONSENSE)) == (44, 46)
