"""Exact answers: the closed form is found where the structure shows it, and the quadrature agrees with every oracle."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import nn
from torch.distributions import (
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Poisson,
)

import reparam as rp
from models import Constant, FullPrior, Function, LinearGaussian
from refusals import refused
from reparam.evaluate.affine import affine_map, gaussian_marginal
from reparam.evaluate.quadrature import log_integral

pytestmark = pytest.mark.usefixtures("double")


def exact(vae: rp.VAE, x: torch.Tensor, **options) -> torch.Tensor:
    estimate = rp.evaluate.log_likelihood(vae, x, method="exact", **options)
    assert (estimate.method, estimate.k, estimate.khat) == ("exact", 1, None)
    assert torch.equal(estimate.ess, torch.ones(len(x)))
    return estimate.per_datum


def anywhere(dim: int) -> nn.Module:
    """An encoder that is never asked."""
    return rp.posteriors.DiagonalGaussian(Constant(torch.zeros(2 * dim)))


# In closed form.


@pytest.mark.parametrize("dim", range(1, 9))
def test_a_linear_gaussian_model_has_its_marginal(dim):
    model = LinearGaussian.random(dim, dim + 2, dim)
    x = model.data(10)
    torch.testing.assert_close(exact(model.exact(), x), model.log_p(x), atol=1e-9, rtol=0)


def general(dim: int, net: nn.Module, w, b, scale, seed=0, loc=None, spread=None) -> tuple:
    """A model with a full Gaussian prior, and its marginal as torch computes it."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(dim, generator=generator)
    factor = torch.randn(dim, dim, generator=generator).tril(-1) + torch.diag(
        torch.rand(dim, generator=generator) + 0.5
    )
    likelihood: nn.Module = rp.likelihoods.Gaussian(net, scale, event_shape=(len(b),))
    sd = scale if isinstance(scale, torch.Tensor | float) else likelihood.log_scale.detach().exp()
    sd = torch.as_tensor(sd).expand(len(b))
    if loc is not None:
        likelihood = rp.likelihoods.Standardized(likelihood, loc, spread)
        w, b, sd = spread[:, None] * w, loc + spread * b, spread * sd
    covariance = w @ factor @ factor.T @ w.T + torch.diag(sd**2)
    vae = rp.VAE(FullPrior(mean, factor), likelihood, anywhere(dim))
    return vae, MultivariateNormal(b + w @ mean, covariance)


NETS = {
    "linear": lambda: nn.Linear(3, 5),
    "without bias": lambda: nn.Linear(3, 5, bias=False),
    "sequential": lambda: nn.Sequential(
        nn.Linear(3, 4), nn.Identity(), nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 5))
    ),
    "mlp without hidden layers": lambda: rp.networks.mlp(3, 5, ()),
    "rescale": lambda: rp.networks.Rescale(nn.Linear(3, 5), torch.randn(3), torch.rand(3) + 0.5),
}


@pytest.mark.parametrize("scale", [0.3, torch.linspace(0.1, 2, 5, dtype=torch.float64), "shared", "elementwise"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("standardized", [False, True])
def test_affine_structure_is_read_with_every_prior_scale_and_unit(net, scale, standardized):
    network = NETS[net]()
    units = {"loc": torch.randn(5) * 10, "spread": torch.rand(5) + 0.5} if standardized else {}
    with torch.no_grad():
        b = network(torch.zeros(1, 3))[0]
        w = (network(torch.eye(3)) - b).T
    vae, marginal = general(3, network, w, b, scale, **units)
    if isinstance(scale, str):
        with torch.no_grad():
            inner = vae.likelihood.likelihood if standardized else vae.likelihood
            inner.log_scale.add_(torch.randn(inner.log_scale.shape) / 2)
        sd = inner.log_scale.detach().exp() * units.get("spread", 1.0)
        shift = torch.diag(sd.expand(5) ** 2 - units.get("spread", torch.ones(5)) ** 2)
        marginal = MultivariateNormal(marginal.loc, marginal.covariance_matrix + shift)
    x = marginal.sample((10,))
    assert gaussian_marginal(vae) is not None
    torch.testing.assert_close(exact(vae, x), marginal.log_prob(x), atol=1e-8, rtol=0)


def test_a_small_scale_cancels_no_digits():
    """s = 1e-5, one latent dimension along the first axis: log p(x) is a sum of known terms, near 1e1 each."""
    w, s = torch.tensor([[2.0], [0.0], [0.0]]), 1e-5
    net = nn.Linear(1, 3)
    net.load_state_dict({"weight": w, "bias": torch.ones(3)})
    vae = rp.VAE(rp.priors.StandardNormal(1), rp.likelihoods.Gaussian(net, s), anywhere(1))
    x = torch.tensor([[3.0, 1 + 2e-5, 1 - 1e-5]])
    truth = Normal(1.0, math.sqrt(4 + s**2)).log_prob(x[:, 0]) + Normal(1.0, s).log_prob(x[:, 1:]).sum(1)
    torch.testing.assert_close(exact(vae, x), truth, atol=1e-8, rtol=0)


def test_pictures_and_large_data_have_a_closed_form_too():
    """An event of shape (20, 30) and a float32 model: to the rounding of its data."""
    torch.set_default_dtype(torch.float32)
    vae = rp.recipes.vae((20, 30), 3, hidden=(), likelihood="gaussian", scale=0.5)
    x = torch.randn(4, 20, 30)
    w, b = affine_map(vae.likelihood.net, 3)
    marginal = MultivariateNormal(b, w @ w.T + 0.25 * torch.eye(600, dtype=torch.float64))
    torch.testing.assert_close(exact(vae, x), marginal.log_prob(x.double().flatten(1)), atol=1e-8, rtol=0)


class Squared(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) ** 2


def hooked() -> nn.Module:
    net = nn.Linear(3, 5)
    net.register_forward_hook(lambda module, given, out: out**2)
    return net


UNKNOWN = {
    "a hidden layer": lambda: rp.networks.mlp(3, 5, (4,)),
    "an activation": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)),
    "a subclass": lambda: Squared(3, 5),
    "a hook": hooked,
    "a hook within": lambda: nn.Sequential(hooked()),
    "a parametrization": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 5)),
    "a function": lambda: Function(lambda z: z @ torch.ones(3, 5)),
}


@pytest.mark.parametrize("net", UNKNOWN)
def test_what_only_seems_affine_has_no_closed_form(net):
    network = UNKNOWN[net]()
    assert affine_map(network, 3) is None
    vae = rp.VAE(rp.priors.StandardNormal(3), rp.likelihoods.Gaussian(network), anywhere(3))
    assert gaussian_marginal(vae) is None
    refused(lambda: exact(vae, torch.zeros(1, 5)), "linear-Gaussian", "one or two", "has 3", "ais")


def test_other_scales_likelihoods_and_priors_have_no_closed_form():
    normal, net = rp.priors.StandardNormal(3), nn.Linear(3, 5)
    predicted = rp.likelihoods.Gaussian(rp.networks.mlp(3, (2, 5), ()), "predicted")
    laplace = Function(lambda *c: Independent(Laplace(torch.zeros(3), torch.ones(3)), 1))
    for prior, likelihood in (
        (normal, predicted),
        (normal, rp.likelihoods.Bernoulli(net)),
        (laplace, rp.likelihoods.Gaussian(net)),
    ):
        assert gaussian_marginal(rp.VAE(prior, likelihood, anywhere(3))) is None


# By quadrature.


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("s", [1.0, 0.1, 1e-3])
def test_quadrature_finds_the_closed_form(dim, s):
    """A Function hides that the decoder is affine. The last row is 12 standard deviations out."""
    model = LinearGaussian.random(dim, dim + 1, seed=dim, s=s)
    net = Function(lambda z: z @ model.w.T + model.b)
    vae = rp.VAE(rp.priors.StandardNormal(dim), rp.likelihoods.Gaussian(net, s), anywhere(dim))
    x = torch.cat([model.data(3), (model.b + model.w @ (12 * torch.ones(dim) / dim**0.5)).unsqueeze(0)])
    assert gaussian_marginal(vae) is None
    # the covariance of the marginal has a condition number up to 1e7, which the oracle feels
    torch.testing.assert_close(exact(vae, x), model.log_p(x), atol=1e-6 if s > 0.01 else 2e-5, rtol=0)


class TwoPlanes(rp.Conditional):
    """p(x|z) is a mixture of N(Wz + b, s²) and N(-Wz + d, s²): the posterior has two modes, far from each other."""

    def __init__(self, w: torch.Tensor, b: torch.Tensor, d: torch.Tensor, s: float) -> None:
        super().__init__()
        self.w, self.b, self.d, self.s = w, b, d, s

    def forward(self, z: torch.Tensor, *c: torch.Tensor) -> MixtureSameFamily:
        means = torch.stack([z @ self.w.T + self.b, self.d - z @ self.w.T], -2)
        return MixtureSameFamily(
            torch.distributions.Categorical(torch.ones(means.shape[:-1])), Independent(Normal(means, self.s), 1)
        )


@pytest.mark.parametrize("s", [0.3, 0.003])
@pytest.mark.parametrize("dim", [1, 2])
def test_both_modes_of_a_posterior_count(dim, s):
    """Each half of the answer is a Gaussian; the modes are up to 1000 widths apart, and missing one costs log 2."""
    torch.manual_seed(dim)
    w, b, d = torch.eye(dim) * 1.5, torch.full((dim,), 0.7), torch.full((dim,), -0.4)
    vae = rp.VAE(rp.priors.StandardNormal(dim), TwoPlanes(w, b, d, s), anywhere(dim))
    x = torch.cat([torch.randn(4, dim) * 1.5, (b + d).unsqueeze(0) / 2 + 1.2])
    covariance = w @ w.T + s**2 * torch.eye(dim)
    halves = torch.stack([MultivariateNormal(m, covariance).log_prob(x) for m in (b, d)])
    truth = halves.logsumexp(0) - math.log(2)
    assert float((halves[0] - halves[1]).abs().min()) < 2
    torch.testing.assert_close(exact(vae, x), truth, atol=1e-6, rtol=0)


def test_a_fold_is_integrated_on_both_sides():
    """x = z² + s eps in one dimension, against scipy with the modes ±sqrt(x) marked."""
    s, x = 0.01, torch.tensor([[0.25], [1.0], [4.0]])
    vae = rp.VAE(rp.priors.StandardNormal(1), rp.likelihoods.Gaussian(Function(torch.square), s), anywhere(1))

    def density(z: float, at: float) -> float:
        return math.exp(-((at - z * z) ** 2) / (2 * s**2) - z * z / 2) / (2 * math.pi * s)

    for row, value in zip(x[:, 0].tolist(), exact(vae, x).tolist(), strict=True):
        root = math.sqrt(row)
        sides = [quad(density, root - 0.1, root + 0.1, (row,), points=[root], epsabs=0, epsrel=1e-11)[0]]
        assert value == pytest.approx(math.log(2 * sides[0]), abs=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dim", [1, 2])
def test_quadrature_of_a_network_agrees_with_a_dense_grid(dim, activation):
    """A trapezoid rule on [-9, 9]^D, step 1/400 or 1/100: its error is below 1e-6 for tanh and 1e-4 for relu."""
    torch.manual_seed(3)
    vae = rp.recipes.vae(5, dim, hidden=(6,), activation=activation)
    with torch.no_grad():
        for parameter in vae.likelihood.parameters():
            parameter.mul_(4)
        x = vae.sample(3)
        axis = torch.linspace(-9, 9, 7201 if dim == 1 else 1801)
        total = torch.full((3,), -math.inf)
        for part in torch.cartesian_prod(*[axis] * dim).reshape(-1, 1, dim).split(200000):
            draw = vae.at(part.expand(-1, 3, -1), x, check=False)
            total = torch.logaddexp(total, (draw.log_px + draw.log_pz).logsumexp(0))
    total = total + dim * math.log(float(axis[1] - axis[0]))
    tolerance = 1e-6 if activation == "tanh" else 1e-4
    torch.testing.assert_close(exact(vae, x), total, atol=tolerance, rtol=0)


def known(kind: str):
    one = torch.ones(1)
    if kind == "narrow peaks that differ in height":  # weights 0.9 and 0.1, widths 1e-5 and 1e-4
        return lambda z: torch.logaddexp(
            math.log(0.9) + Normal(-3.3 * one, 1e-5).log_prob(z[:, 0]),
            math.log(0.1) + Normal(1.7, 1e-4).log_prob(z[:, 0]),
        )
    if kind == "far away":
        return lambda z: Normal(1000.0, 1.0).log_prob(z[:, 0])
    if kind == "heavy tails":
        return lambda z: torch.distributions.Cauchy(0.5, 2.0).log_prob(z[:, 0])
    # kind == "a jump"
    return lambda z: torch.where((z[:, 0] > 0.123) & (z[:, 0] < 1.123), 0.0, -math.inf)


@pytest.mark.parametrize("kind", ["narrow peaks that differ in height", "far away", "heavy tails", "a jump"])
def test_integrals_of_densities_are_one(kind):
    density = known(kind)

    def log_f(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(z)), density(z)

    assert log_integral(log_f, torch.zeros(1), torch.ones(1), 4096) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("s", [0.1, 0.01])
def test_a_posterior_on_a_narrow_ridge_is_integrated_along_it(s):
    """x says much about z1 + 0.9 z2 and nothing else: the posterior is a ridge, up to 100 times as long as wide."""
    model = LinearGaussian(torch.tensor([[1.0, 0.9], [1.0, 0.9]]), torch.zeros(2), s)
    net = Function(lambda z: z @ model.w.T)
    vae = rp.VAE(rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(net, s), anywhere(2))
    x = model.data(2)
    torch.testing.assert_close(exact(vae, x), model.log_p(x), atol=1e-6, rtol=0)


def test_an_integral_that_does_not_settle_is_refused():
    def rough(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # values that say nothing of those beside them
        return -z.square().sum(1) / 2, torch.sin(z[:, 0] * 1e9) * 3

    refused(lambda: log_integral(rough, torch.zeros(1), torch.ones(1), 1 << 16), "not settled", "ais")
    refused(
        lambda: log_integral(lambda z: (z[:, 0], z[:, 0] * math.nan), torch.zeros(1), torch.ones(1), 99),
        "finite",
        "ais",
    )


def test_the_model_s_own_dtype_and_the_calls_do_not_matter():
    """A float32 model has the answer of its copy in float64, and no other than it had before."""
    torch.set_default_dtype(torch.float32)
    vae = rp.recipes.vae(6, 2, hidden=(8,), activation="tanh")
    x = vae.sample(3)
    double = rp.recipes.vae(6, 2, hidden=(8,), activation="tanh").double()
    double.load_state_dict(vae.state_dict())
    value = exact(vae, x)
    assert value.dtype == torch.float64
    assert next(vae.parameters()).dtype == torch.float32
    for other in (
        exact(double, x.double()),
        exact(vae, x, chunk=999),
        torch.cat([exact(vae, x[i : i + 1]) for i in range(3)]),
    ):
        torch.testing.assert_close(other, value, atol=1e-10, rtol=0)


def test_contexts_and_other_priors_are_integrated():
    """A Laplace prior against scipy, in units of a context."""
    prior = Function(lambda *c: Independent(Laplace(torch.zeros(1), torch.ones(1)), 1))
    net = Function(lambda z, c: z + c)
    vae = rp.VAE(prior, rp.likelihoods.Gaussian(net, 0.5), anywhere(1))
    x, c = torch.randn(3, 1), torch.randn(3, 1)

    def density(z: float, at: float) -> float:
        return math.exp(-2 * (at - z) ** 2 - abs(z)) / (2 * math.sqrt(2 * math.pi) * 0.5)

    truth = [math.log(quad(density, -10, 10, (float(at),), points=[0.0, float(at)], epsabs=1e-12)[0]) for at in x - c]
    torch.testing.assert_close(exact(vae, x, contexts=[c]), torch.tensor(truth), atol=1e-6, rtol=0)


def test_counted_latents_are_refused():
    prior = Function(lambda *c: Independent(Poisson(torch.ones(2)), 1))
    vae = rp.VAE(prior, rp.likelihoods.Gaussian(rp.networks.mlp(2, 3)), anywhere(2))
    refused(lambda: exact(vae, torch.zeros(1, 3)), "row 0", "real vectors", "importance")


def test_a_prior_of_torch_over_classes_is_summed():
    """A mixture of two Gaussians."""
    prior = Function(lambda *c: OneHotCategorical(logits=torch.tensor([0.3, -1.0])))
    posterior = Function(lambda x: prior().expand((len(x),)))
    vae = rp.VAE(prior, rp.likelihoods.Gaussian(Function(lambda z: 3 * z)), posterior)
    x, means = torch.randn(4, 2), 3 * torch.eye(2)
    parts = Normal(means, 1.0).log_prob(x.unsqueeze(1)).sum(-1)
    truth = (parts + torch.tensor([0.3, -1.0]).log_softmax(-1)).logsumexp(-1)
    torch.testing.assert_close(exact(vae, x), truth, atol=1e-12, rtol=0)


# Partly observed, and conditional.


def test_what_is_seen_of_a_linear_gaussian_row_has_its_marginal():
    """Every pattern of holes in 4 elements, one with nothing seen: rows and columns of the covariance are left out."""
    model = LinearGaussian.random(2, 4, seed=1)
    likelihood = rp.likelihoods.Standardized(
        rp.likelihoods.Gaussian(nn.Linear(2, 4), model.s), torch.arange(4.0), torch.tensor([0.1, 1.0, 2.0, 30.0])
    )
    vae = rp.VAE(rp.priors.StandardNormal(2), rp.likelihoods.Observed(likelihood), anywhere(2))
    w, b = (t.detach() for t in (likelihood.likelihood.net.weight, likelihood.likelihood.net.bias))
    factor, sd = likelihood.spread[:, None] * w, likelihood.spread * model.s
    covariance, mean = factor @ factor.T + torch.diag(sd**2), likelihood.loc + likelihood.spread * b
    holes = torch.cartesian_prod(*[torch.tensor([False, True])] * 4)
    x = mean + torch.randn(16, 4) * sd
    expected = [
        0.0 if bool(h.all()) else float(MultivariateNormal(mean[~h], covariance[~h][:, ~h]).log_prob(row[~h]))
        for row, h in zip(x, holes, strict=True)
    ]
    data = rp.Dataset(torch.where(holes, torch.nan, x), missing=True)
    found = rp.evaluate.log_likelihood(vae, data, method="exact").per_datum
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-9, rtol=0)


def test_a_conditional_linear_gaussian_model_has_a_marginal_for_each_row():
    """A net that is affine in z and its context, and a prior whose mean and scale the context gives."""
    net, prior = rp.networks.mlp(2, 3, (), context=2), rp.priors.ConditionalGaussian(nn.Linear(2, 4))
    vae = rp.VAE(prior, rp.likelihoods.Gaussian(net, 0.4), anywhere(2))
    x, c = torch.randn(6, 3), torch.randn(6, 2)
    w, b = net.last.weight.detach(), net.last.bias.detach()
    with torch.no_grad():
        p = prior(c)
    expected = []
    for i in range(6):
        covariance = w[:, :2] @ torch.diag(p.variance[i]) @ w[:, :2].T + 0.16 * torch.eye(3)
        expected.append(MultivariateNormal(w[:, :2] @ p.mean[i] + w[:, 2:] @ c[i] + b, covariance).log_prob(x[i]))
    torch.testing.assert_close(exact(vae, x, contexts=(c,)), torch.stack(expected), atol=1e-9, rtol=0)
    bent = rp.VAE(prior, rp.likelihoods.Gaussian(rp.networks.mlp(2, 3, (4,), context=2), 0.4), anywhere(2))
    assert gaussian_marginal(bent, c) is None
