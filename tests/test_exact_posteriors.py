"""Posteriors that are p(z|x), the density of flows, and noise that decides a draw."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Beta,
    Distribution,
    Independent,
    Laplace,
    LogNormal,
    LowRankMultivariateNormal,
    Normal,
)

import reparam as rp
from models import Function, LinearGaussian, within
from refusals import refused
from reparam import posteriors
from reparam.distributions import LogisticNormal, centre, from_standard_normal
from reparam.distributions.polar import log_mean_exp_cosine
from reparam.errors import InputError
from rows_posteriors import OTHERS
from test_posteriors import statistic

pytestmark = pytest.mark.usefixtures("double")


# exact posteriors: the weights have no variance


class Poisson(rp.Conditional):
    def forward(self, z: Tensor, *c: Tensor) -> Distribution:
        return Independent(torch.distributions.Poisson(z), 1)


class Multinomial(rp.Conditional):
    def forward(self, z: Tensor, *c: Tensor) -> Distribution:
        return torch.distributions.Multinomial(10, z, validate_args=False)


def conjugate(name: str) -> tuple[rp.VAE, Tensor, Tensor]:
    """A model, data, and log p(x) of each row."""
    if name == "Gamma":
        x = torch.tensor([[0.0, 3.0], [7.0, 1.0]])
        q = posteriors.Gamma(Function(lambda x: torch.cat([x + 0.7, torch.full_like(x, 3.0)], -1).log()))
        log_p = torch.distributions.NegativeBinomial(torch.tensor(0.7), probs=torch.tensor(1 / 3)).log_prob(x).sum(-1)
        return rp.VAE(rp.priors.Gamma(2, 0.7, 2.0), Poisson(), q), x, log_p
    if name == "Dirichlet":
        x, a = torch.tensor([[3.0, 7.0, 0.0], [1.0, 4.0, 5.0]]), torch.tensor(0.6)
        q = posteriors.Dirichlet(Function(lambda x: (x + 0.6).log()))
        count = torch.lgamma(torch.tensor(11.0)) - torch.lgamma(x + 1).sum(-1)
        log_p = count + torch.lgamma(3 * a) - torch.lgamma(3 * a + 10) + (torch.lgamma(x + a) - torch.lgamma(a)).sum(-1)
        return rp.VAE(rp.priors.Dirichlet(3, 0.6), Multinomial(), q), x, log_p
    w, s = torch.linalg.qr(torch.randn(5, 3))[0], 0.4
    x = torch.randn(4, 5)
    pull = x @ w / s**2
    q = posteriors.VonMisesFisher(
        Function(lambda x: torch.cat([x @ w, (x @ w / s**2).norm(dim=-1, keepdim=True).log()], -1))
    )
    vae = rp.VAE(rp.priors.SphereUniform(3), rp.likelihoods.Gaussian(Function(lambda z: z @ w.T), s), q)
    flat = -(x.square().sum(-1) + 1) / (2 * s**2) - 5 * math.log(s * math.sqrt(2 * math.pi))
    return vae, x, flat + log_mean_exp_cosine(pull.norm(dim=-1), 3)


@pytest.mark.parametrize("name", ["Gamma", "Dirichlet", "VonMisesFisher"])
def test_an_exact_posterior_gives_weights_that_are_all_p_of_x(name):
    vae, x, log_p = conjugate(name)
    with torch.no_grad():
        log_w = vae(x, k=50).log_w
        torch.testing.assert_close(log_w, log_p.expand(50, -1), rtol=0, atol=1e-9)
        estimate = rp.evaluate.log_likelihood(vae, x, k=20)
        torch.testing.assert_close(estimate.per_datum, log_p, rtol=0, atol=1e-9)


def test_a_low_rank_gaussian_holds_the_exact_posterior_of_two_factors():
    """A 2 x 2 covariance is a multiple of I plus rank one."""
    model = LinearGaussian.random(2, 4, seed=1)
    values, vectors = torch.linalg.eigh(torch.linalg.inv(model.precision))
    factor = vectors[:, 1] * ((values[1] - values[0]) / values[0]).sqrt()
    rest = torch.cat([values[0].log().expand(2), factor])
    net = Function(lambda x: torch.cat([model.mean(x), rest.expand(len(x), 4)], -1))
    x = model.data(6)
    with torch.no_grad():
        log_w = model.vae(posteriors.LowRankGaussian(net, 1))(x, k=30).log_w
    torch.testing.assert_close(log_w, model.log_p(x).expand(30, -1), rtol=0, atol=1e-10)


# flows


@pytest.mark.parametrize("kind", ["affine", "spline"])
@pytest.mark.parametrize("role", ["posterior", "prior"])
def test_the_log_determinant_of_a_flow_is_that_of_its_jacobian(role, kind):
    """log q(z) = log N(eps) - log |det dz/d eps|, by autograd."""
    if role == "prior":
        d = rp.priors.Flow(3, 2, (8,), kind)()
    else:
        d = posteriors.Flow(rp.networks.mlp(2, 8, (3,)), 3, context=2, hidden=(8,), kind=kind)(torch.randn(2))
    for eps in torch.randn(5, 3):
        jacobian = torch.autograd.functional.jacobian(d.image, eps)
        expected = Normal(0.0, 1.0).log_prob(eps).sum() - torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(d.log_prob(d.image(eps)), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["affine", "spline"])
def test_a_flow_that_knows_its_noise_says_what_it_says_of_any_value(kind):
    """Density and total gradient by the remembered noise are those by inversion; a changed tensor is not remembered."""
    part = OTHERS[f"Flow {kind}"].make()
    given, parameters = torch.randn(4, 2), None
    results = []
    for value in (lambda z: z, lambda z: z.clone()):
        torch.manual_seed(3)
        q = part(given)
        z = q.rsample((5,))
        log_q = q.log_prob(value(z))
        parameters = list(part.parameters())
        results.append((log_q, torch.autograd.grad((log_q * torch.arange(1.0, 5)).sum() + z.sum(), parameters)))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-9, atol=1e-9)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    q = part(given)
    z = q.sample((5,))
    assert q.log_prob(z).requires_grad
    before = q.log_prob(z)
    z += 0.1
    assert not torch.equal(q.log_prob(z), before)


# noise, centres and parts that reparam has never seen


@pytest.mark.parametrize(
    "d",
    [
        Independent(LogNormal(torch.tensor([[0.1, -0.3]]), torch.tensor([[0.5, 0.2]])), 1),
        torch.distributions.LogisticNormal(torch.tensor([[0.1, -0.3]]), torch.tensor([[0.5, 0.9]])),
        Independent(Laplace(torch.tensor([[0.1, -0.3]]), torch.tensor([[0.5, 0.9]])), 1),
        LowRankMultivariateNormal(torch.zeros(1, 2), torch.tensor([[[0.5], [0.9]]]), torch.ones(1, 2)),
    ],
    ids=lambda d: type(d).__name__,
)
def test_noise_becomes_draws_of_torch_distributions(d):
    """Moments against torch's own sampler: 20000 draws each, 5 se."""
    d = copy.deepcopy(d)
    n = d.event_shape[0]
    dtype = d.sample().dtype
    eps = torch.randn(20000, 1, n, dtype=dtype)
    z, other = from_standard_normal(d, eps), d.sample((20000,))
    assert z.shape == other.shape
    within(statistic(z.double()) - statistic(other.double()), torch.zeros(1), se=5)
    assert torch.equal(from_standard_normal(d, eps[:3]), z[:3])


def test_a_flow_that_the_caller_built_with_zuko_works_and_its_noise_too():
    zuko = pytest.importorskip("zuko")

    class Spline(rp.Conditional):
        def __init__(self) -> None:
            super().__init__()
            self.flow = zuko.flows.NSF(2, context=2, transforms=1, hidden_features=(4,))

        def forward(self, x: Tensor, *c: Tensor) -> Distribution:
            return self.flow(x)

    vae = rp.VAE(rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(nn.Linear(2, 2)), Spline())
    x = torch.randn(6, 2)
    assert vae(x, k=3).log_w.shape == (3, 6)
    with torch.no_grad():
        q = vae.posterior(x)
        assert from_standard_normal(q, torch.randn(4, 6, 2)).shape == (4, 6, 2)
    whole = rp.evaluate.log_likelihood(vae, x, k=10).per_datum
    torch.testing.assert_close(rp.evaluate.log_likelihood(vae, x[3:4], k=10).per_datum, whole[3:4])


def test_what_has_no_noise_and_no_mean_has_no_centre():
    class Unknown(Distribution):
        arg_constraints = {}  # noqa: RUF012

        def __init__(self) -> None:
            self.loc = torch.zeros(2)
            super().__init__(torch.Size(), torch.Size([2]), validate_args=False)

    with pytest.raises(NotImplementedError):
        centre(Unknown())
    assert from_standard_normal(Beta(torch.ones(2), torch.ones(2)), torch.zeros(2)) is None


def test_the_centre_of_a_logistic_normal_is_near_its_mean():
    """256 antithetic draws: within 5 se of a mean over 1e5."""
    d = LogisticNormal(torch.tensor([[0.3, -1.0]]), torch.tensor([[0.5, 0.8]]))
    assert torch.equal(centre(d), centre(d))
    z = d.sample((100000,))
    assert bool(((centre(d) - z.mean(0)).abs() < 5 * z.std(0) / 16).all())
    assert float(centre(d).sum()) == pytest.approx(1, abs=1e-12)


def test_posteriors_that_live_elsewhere_than_the_prior_are_refused_in_one_line():
    """When the model is built; a posterior that does not tell, when it first draws."""
    prior, likelihood = rp.priors.SphereUniform(2), rp.likelihoods.Gaussian(nn.Linear(2, 2))
    posterior = posteriors.Laplace(rp.networks.mlp(2, 4, (3,)))
    words = ("all real numbers", "vectors of length one")
    refused(lambda: rp.VAE(prior, likelihood, posterior), *words, kinds=(InputError,))
    x, vae = torch.randn(6, 2), rp.VAE(prior, likelihood, nn.Sequential(posterior))
    for call in (
        lambda: vae(x),
        lambda: rp.fit(vae, x, epochs=1, progress=False),
        lambda: rp.evaluate.log_likelihood(vae, x, k=2),
    ):
        refused(call, *words, kinds=(InputError,))
