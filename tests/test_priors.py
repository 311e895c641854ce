"""Laws of priors, and of every pair of posterior and prior: densities, sharing, training, estimates."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
import tomllib

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

import reparam as rp
from models import within
from refusals import refused
from reparam import posteriors, priors
from reparam.distributions import Mixture, from_standard_normal
from reparam.errors import RunFolderError
from reparam.run import describe, dump_toml, rebuild
from rows_priors import OTHERS
from test_posteriors import statistic

pytestmark = pytest.mark.usefixtures("double")

others = pytest.mark.parametrize("row", OTHERS.values(), ids=OTHERS)


@others
def test_its_mass_is_one_and_its_samples_are_of_its_density(row):
    """Quadrature against 20000 samples, 5 se; given noise, where it is taken, gives the same law."""
    with torch.no_grad():
        d = row.make()()
        points, weights = row.grid(d)
        mass = d.log_prob(points).exp() * weights
        tolerance = 1e-3 if row.cls is priors.Flow else 1e-9
        assert float(mass.sum()) == pytest.approx(1, abs=tolerance)
        exact = (mass * statistic(points)).sum()
        z = d.sample((20000,))
        assert bool(d.log_prob(z).isfinite().all())
        within(statistic(z), exact, se=5, bias=tolerance)
        other = from_standard_normal(d, torch.randn(20000, *d.event_shape))
        assert (other is None) == (row.cls in (priors.Gamma, priors.Dirichlet))
        if other is not None:
            within(statistic(other), exact, se=5, bias=tolerance)


@others
def test_it_has_one_distribution_for_all_rows_in_both_precisions(row):
    wide = row.make()
    narrow = copy.deepcopy(wide).float()
    for given in ((), (torch.randn(4, 3),)):
        assert wide(*given).batch_shape in ((), (4,))
    with torch.no_grad():
        x = narrow().sample((7,))
        got, expected = narrow().log_prob(x), wide().log_prob(x.double())
    assert x.dtype == got.dtype == torch.float32
    assert float((got - expected).abs().max()) < 2e-5 * (1 + float(expected.abs().max()))


def test_the_gradient_of_a_density_by_z_is_that_of_finite_differences():
    for row in OTHERS.values():
        d = row.make()()
        z = d.sample((3,)).detach().requires_grad_()
        assert torch.autograd.gradcheck(d.log_prob, (z,), rtol=1e-4, atol=1e-5)


def test_a_flow_with_contexts_has_one_distribution_for_each_row():
    part = priors.Flow(2, 2, (4,), context=3)
    c = torch.randn(5, 3)
    d = part(c[:, :1], c[:, 1:].reshape(5, 1, 2))
    assert (d.batch_shape, d.event_shape) == ((5,), (2,))
    z = torch.randn(7, 5, 2)
    alone = torch.stack([part(c[i : i + 1]).log_prob(z[:, i : i + 1])[:, 0] for i in range(5)], -1)
    torch.testing.assert_close(d.log_prob(z), alone)
    other = part(c[1:2]).log_prob(z[:, :1])[:, 0]
    assert not torch.allclose(alone[:, 0], other)
    for wrong in ((), (c[:, :2],)):
        refused(lambda wrong=wrong: part(*wrong), "3 numbers")


def test_zuko_leaves_the_argument_checks_of_the_process_as_they_were():
    code = (
        "import sys, reparam as rp\n"
        "from torch.distributions import Distribution\n"
        "rp.priors.Mixture(2, 2)()\n"
        "assert 'zuko' not in sys.modules\n"
        "rp.priors.Flow(2)()\n"
        "assert 'zuko' in sys.modules and Distribution._validate_args\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Gaussian and Mixture


def test_a_gaussian_is_torchs_with_that_covariance():
    covariance = torch.tensor([[2.0, 0.9], [0.9, 0.5]])
    truth = MultivariateNormal(torch.tensor([1.0, 2.0]), covariance)
    z = torch.randn(6, 2)
    for options in (
        {"covariance": covariance},
        {"scale_tril": torch.linalg.cholesky(covariance) + torch.ones(2, 2).triu(1)},
    ):
        d = priors.Gaussian(torch.tensor([1.0, 2.0]), **options)()
        torch.testing.assert_close(d.log_prob(z), truth.log_prob(z))
        torch.testing.assert_close(d.covariance_matrix, covariance)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"covariance": torch.eye(2), "scale_tril": torch.eye(2)},
        {"covariance": torch.eye(3)},
        {"covariance": torch.tensor([[1.0, 2.0], [2.0, 1.0]])},
        {"covariance": torch.tensor([[1.0, 0.5], [0.0, 1.0]])},
        {"covariance": torch.full((2, 2), math.nan)},
        {"scale_tril": torch.tensor([[1.0, 0.0], [0.0, -1.0]])},
        {"scale_tril": torch.tensor([[1.0, 0.0], [math.inf, 1.0]])},
    ],
)
def test_what_is_no_gaussian_is_refused(options):
    refused(lambda: priors.Gaussian(torch.zeros(2), **options))


def test_numbers_that_make_no_prior_are_refused():
    for make in (
        lambda: priors.Mixture(0, 2), lambda: priors.Mixture(2, 0), lambda: priors.SphereUniform(1),
        lambda: priors.Dirichlet(1), lambda: priors.Gamma(2, -1.0), lambda: priors.Gamma(2, 1.0, math.inf),
        lambda: priors.Dirichlet(3, 0.0), lambda: priors.Flow(0), lambda: priors.Flow(2, kind="cubic"),
    ):  # fmt: skip
        refused(make)


def test_a_mixture_of_one_component_is_a_gaussian():
    part, z = priors.Mixture(3, 1), torch.randn(6, 3)
    with torch.no_grad():
        part.log_scales.normal_()
    d = part()
    truth = Independent(Normal(part.means[0], part.log_scales[0].exp()), 1)
    torch.testing.assert_close(d.log_prob(z), truth.log_prob(z))
    torch.testing.assert_close(d.mean, truth.mean)
    torch.testing.assert_close(d.variance, truth.variance)


def chi_square(counts: Tensor, weights: Tensor) -> None:
    """Beyond 5 standard deviations of a chi-square with C - 1 degrees of freedom: failure rate below 1e-4."""
    expected, free = counts.sum() * weights.detach(), len(weights) - 1
    assert float(((counts - expected) ** 2 / expected).sum()) < free + 5 * math.sqrt(2 * free) + 5


def test_samples_of_a_mixture_come_from_all_components_by_weight():
    logits = torch.tensor([0.0, 1.0, -2.0, 0.5])
    far = Independent(Normal(100 * torch.arange(4.0).unsqueeze(-1), torch.ones(4, 1)), 1)
    z = Mixture(logits, far).sample((50, 400))
    assert z.shape == (50, 400, 1)
    which = (z / 100).round().long().flatten()
    chi_square(which.bincount(minlength=4).double(), logits.softmax(-1))
    within(z.flatten() - 100 * which, 0.0, se=5)
    assert float(z[0].flatten().diff().abs().min()) > 0  # no value is given twice
    assert Mixture(logits, far).sample().shape == (1,)
    with pytest.raises(ValueError, match="do not fit"):
        Mixture(logits[:3], far)


@pytest.mark.parametrize("value", [80.0, -80.0])
def test_a_mixture_thrown_far_out_stays_finite(value):
    for dtype in (torch.float32, torch.float64):
        part = priors.Mixture(2, 3).to(dtype)
        for name, parameter in part.named_parameters():
            with torch.no_grad():
                parameter.fill_(value if name != "logits" else 0.0)
        log_p = part().log_prob(torch.cat([part().sample((5,)), torch.zeros(2, 2, dtype=dtype)]))
        log_p.sum().backward()
        assert bool(log_p.isfinite().all())
        assert all(bool(p.grad.isfinite().all()) for p in part.parameters())


# VampPrior


def encoder(dim: int = 2) -> posteriors.DiagonalGaussian:
    return posteriors.DiagonalGaussian(rp.networks.mlp(3, 2 * dim, (4,), "tanh"))


def vamp_vae(pseudo_inputs: Tensor | int = 4) -> rp.VAE:
    q = encoder()
    prior = priors.VampPrior(q, pseudo_inputs, None if isinstance(pseudo_inputs, Tensor) else (3,))
    return rp.VAE(prior, rp.likelihoods.Gaussian(rp.networks.mlp(2, 3, (4,))), q)


def test_a_vamp_prior_is_the_explicit_mean_of_the_posterior_at_its_pseudo_inputs():
    q, u, z = encoder(), torch.randn(4, 3), torch.randn(6, 2)
    prior = priors.VampPrior(q, u)
    explicit = torch.stack([q(each.unsqueeze(0)).log_prob(z) for each in u]).logsumexp(0) - math.log(4)
    torch.testing.assert_close(prior().log_prob(z), explicit)
    gradients = torch.autograd.grad(prior().log_prob(z).sum(), list(prior.parameters()))
    assert all(float(g.abs().max()) > 0 for g in gradients)
    assert len(gradients) == 1 + len(list(q.parameters()))


def test_samples_of_a_vamp_prior_come_from_all_pseudo_inputs():
    class Far(rp.Conditional):
        def forward(self, x: Tensor, *c: Tensor) -> Independent:
            return Independent(Normal(100 * x[:, :1], 1.0), 1)

    z = priors.VampPrior(Far(), torch.arange(8.0).unsqueeze(-1))().sample((8000,))
    chi_square((z / 100).round().long().flatten().bincount(minlength=8).double(), torch.full((8,), 1 / 8))


def test_pseudo_inputs_stay_within_their_bounds():
    u = torch.tensor([[0.0, 0.5, 1.0], [0.25, 0.7, 0.1]])
    prior = priors.VampPrior(encoder(), u, bounds=(0.0, 1.0))
    torch.testing.assert_close(prior.pseudo_inputs, u.clamp(1e-3, 1 - 1e-3))
    with torch.no_grad():
        prior.raw += 1000
    assert float(prior.pseudo_inputs.detach().max()) <= 1
    fresh = priors.VampPrior(encoder(), 50, (3,), bounds=(-2.0, 4.0)).pseudo_inputs
    assert bool(((fresh > -2) & (fresh < 4)).all())
    for options in (
        {"pseudo_inputs": 0, "event_shape": (3,)}, {"pseudo_inputs": 5}, {"pseudo_inputs": torch.zeros(3)},
        {"pseudo_inputs": torch.zeros(3, 3, dtype=torch.long)}, {"pseudo_inputs": u, "bounds": (1.0, 0.0)},
    ):  # fmt: skip
        refused(lambda options=options: priors.VampPrior(encoder(), **options))
    refused(priors.VampPrior(posteriors.Point(rp.networks.mlp(3, 2, (4,))), u), "Point")
    needy = posteriors.DiagonalGaussian(rp.networks.mlp(3, 4, (4,), context=2))
    refused(lambda: priors.VampPrior(needy, u)(torch.zeros(5, 2)), "contexts")


def test_the_shared_posterior_is_one_module_saved_once_and_loaded_shared(tmp_path):
    vae = vamp_vae()
    names = set(vae.state_dict())
    assert names == {name for name in names if not name.startswith("prior.posterior.")}
    assert {n for n in names if n.startswith("posterior.")}
    assert len(list(vae.parameters())) == len(names)
    again = rebuild(tomllib.loads(dump_toml(describe(vae))))
    assert again.prior.posterior is again.posterior
    assert describe(again) == describe(vae)
    assert describe(vae)["prior"]["posterior"] == {"type": "shared", "at": "posterior"}
    again.load_state_dict(vae.state_dict())
    rp.save(vae, tmp_path)
    loaded = rp.load(tmp_path)
    into = rp.load(tmp_path, into=vamp_vae())
    z = torch.randn(5, 2)
    for other in (again, loaded, into, copy.deepcopy(vae)):
        assert other.prior.posterior is other.posterior
        assert set(other.state_dict()) == names
        assert torch.equal(other.prior().log_prob(z), vae.prior().log_prob(z))
        with torch.no_grad():  # one module: a change of the posterior changes the prior
            next(other.posterior.parameters()).add_(1.0)
        assert not torch.equal(other.prior().log_prob(z), vae.prior().log_prob(z))
    split = rp.VAE(priors.VampPrior(encoder(), 4, (3,)), vae.likelihood, vae.posterior)
    assert any(n.startswith("prior.posterior.") for n in split.state_dict())
    refused(lambda: rp.load(tmp_path, into=split), "built otherwise", kinds=(RunFolderError,))
    nested = nn.ModuleDict({"a": vamp_vae()})
    nested.load_state_dict({f"a.{k}": v for k, v in vae.state_dict().items()})
    assert torch.equal(nested["a"].prior().log_prob(z), vae.prior().log_prob(z))
    with pytest.raises(RuntimeError, match="Missing"):
        vae.load_state_dict({k: v for k, v in vae.state_dict().items() if not k.startswith("posterior.net")})


@pytest.mark.parametrize("at", ["nowhere", "prior", "prior.type", "prior.posterior", "likelihood.net.1", ""])
def test_a_reference_that_was_altered_is_refused(at):
    spec = tomllib.loads(dump_toml(describe(vamp_vae())))
    spec["prior"]["posterior"]["at"] = at
    refused(lambda: rebuild(spec), kinds=(RunFolderError,))


def test_any_module_that_stands_twice_is_shared_again_when_rebuilt():
    trunk = rp.networks.mlp(2, 2, (3,))
    vae = rp.VAE(
        priors.StandardNormal(2),
        rp.likelihoods.Gaussian(nn.Sequential(trunk, nn.Linear(2, 3))),
        posteriors.Laplace(nn.Sequential(nn.Linear(3, 2), trunk, trunk, nn.Linear(2, 4))),
    )
    again = rebuild(tomllib.loads(dump_toml(describe(vae))))
    again.load_state_dict(vae.state_dict())
    assert again.likelihood.net[0] is again.posterior.net[1] is again.posterior.net[2]
    x = torch.randn(4, 3)
    assert torch.equal(again.encode(x), vae.encode(x))


def test_a_vamp_prior_is_trained_saved_and_resumed(tmp_path):
    x = torch.randn(60, 3)
    vae = vamp_vae(x[:5])
    before = copy.deepcopy(vae)
    rp.fit(vae, x, epochs=2, out=tmp_path, progress=False, seed=1)
    assert not torch.equal(vae.prior.raw, before.prior.raw)
    assert torch.equal(rp.load(tmp_path).prior.raw, vae.prior.raw)
    rp.fit(vae, x, epochs=2, out=tmp_path, progress=False, seed=1, resume=True)
