"""Objectives by importance weights: their limits, their closed forms, and estimators of their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import reparam as rp
from models import Constant, LaplacePosterior, LinearGaussian, within
from reparam.errors import InputError
from reparam.objectives import CIWAE, CUBO, ELBO, IWAE, MIWAE, PIWAE, Objective, Penalized, Renyi, ReweightedWakeSleep
from reparam.objectives.importance import log_power_mean
from reparam.objectives.penalties import SquaredNorm
from reparam.vae import Draw

pytestmark = pytest.mark.usefixtures("double")

LOWER = {
    "ELBO": ELBO(4),
    "ELBO A": ELBO(4, estimator="A"),
    "beta": ELBO(4, beta=2.0),
    "free nats": ELBO(4, free_nats=0.3),
    "IWAE": IWAE(4),
    "MIWAE": MIWAE(2, 2),
    "CIWAE": CIWAE(4, 0.3),
    "PIWAE": PIWAE(2, 2),
    "RWS": ReweightedWakeSleep(4),
    "Renyi 0.5": Renyi(0.5, 4),
    "Renyi 3": Renyi(3.0, 4),
    "penalized": Penalized(IWAE(4), SquaredNorm(), 9.0),
}


@pytest.fixture
def model() -> LinearGaussian:
    return LinearGaussian.random(2, 3, seed=4, s=1.0, gain=0.8)


def trained(model: LinearGaussian, widen: float = 1.5) -> tuple[rp.VAE, Constant]:
    """A model at whose one datum, model.data(1), q is a diagonal Gaussian of free parameters, off the posterior."""
    variance = widen / model.precision.diagonal()
    net = Constant(torch.cat([model.mean(model.data(1))[0] + 0.2, variance.log()]))
    return model.vae(rp.posteriors.DiagonalGaussian(net)), net


def gradients(objective: Objective, draw: Draw, parameters: list[Tensor]) -> list[Tensor]:
    """Of the mean surrogate, flat and joined: zeros where a parameter is not reached."""
    value = objective.surrogate(draw, objective.bound(draw)).mean()
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def parts(vae: rp.VAE) -> tuple[list[Tensor], list[Tensor]]:
    return list(vae.likelihood.parameters()), list(vae.posterior.parameters())


# ---- values ----


def test_miwae_is_iwae_of_one_group_and_the_elbo_of_groups_of_one(model):
    draw = model.diagonal()(model.data(5), k=6)
    for objective, same in ((MIWAE(1, 6), IWAE(6)), (MIWAE(6, 1), ELBO(6, estimator="A"))):
        assert objective.k == 6
        torch.testing.assert_close(objective.bound(draw), same.bound(draw), atol=1e-12, rtol=0)


def test_miwae_normalises_over_the_samples_of_a_group(model):
    draw = model.diagonal()(model.data(5), k=6)
    w = draw.log_w.exp()
    expected = (w[:3].mean(0).log() + w[3:].mean(0).log()) / 2
    torch.testing.assert_close(MIWAE(2, 3).bound(draw), expected, atol=1e-12, rtol=0)
    expected = (w[:2].mean(0).log() + w[2:4].mean(0).log() + w[4:].mean(0).log()) / 3
    torch.testing.assert_close(MIWAE(3, 2).bound(draw), expected, atol=1e-12, rtol=0)


def test_ciwae_is_on_the_line_between_its_ends(model):
    draw = model.diagonal()(model.data(5), k=6)
    ends = ELBO(6, estimator="A").bound(draw), IWAE(6).bound(draw)
    for beta in (0.0, 0.25, 1.0):
        expected = beta * ends[0] + (1 - beta) * ends[1]
        torch.testing.assert_close(CIWAE(6, beta).bound(draw), expected, atol=1e-12, rtol=0)


def test_the_renyi_bound_comes_to_its_ends_and_falls_with_alpha(model):
    draw = model.prior_as_posterior()(model.data(5), k=6)
    torch.testing.assert_close(Renyi(0, 6).bound(draw), IWAE(6).bound(draw), atol=1e-12, rtol=0)
    elbo = ELBO(6, estimator="A").bound(draw)
    assert torch.equal(Renyi(1, 6).bound(draw), elbo)
    # to first order in 1 - alpha the distance is half the variance of log w, here below 1e4
    for near in (1 - 1e-10, 1 + 1e-10):
        torch.testing.assert_close(Renyi(near, 6).bound(draw), elbo, atol=1e-6, rtol=0)
    values = torch.stack([Renyi(a, 6).bound(draw) for a in (-3, -0.5, 0, 0.5, 0.995, 1, 1.005, 2, 10)])
    assert bool((values.diff(dim=0) < 0).all())
    torch.testing.assert_close(Renyi(2000, 6).bound(draw), draw.log_w.amin(0), atol=1e-2, rtol=0)


def test_a_power_mean_loses_no_digits_near_power_zero_and_does_not_overflow():
    log_w = torch.randn(50, 3) * 3

    def mean(log_w: Tensor, power: float) -> Tensor:
        none = torch.zeros_like(log_w)
        return log_power_mean(Draw(Normal(0, 1), Normal(0, 1), none, log_w, none, none), power)

    for power in (1e-3, 0.00999, 0.01001, -0.00999, -0.01001, 2.0):
        exact = (power * log_w).exp().mean(0).log() / power
        torch.testing.assert_close(mean(log_w, power), exact, atol=1e-11, rtol=0)
    for power in (-2.0, -0.005, 0.0, 0.005, 2.0):
        assert bool(mean(1e6 * log_w, power).isfinite().all())


@pytest.mark.parametrize("objective", LOWER.values(), ids=LOWER)
def test_a_lower_bound_is_below_log_p(model, objective):
    """In the mean over 20000 draws, by more than 4 se, at a q that is far enough from p(z|x)."""
    x = model.data(1)
    vae, _ = trained(model, 2.0)
    with torch.no_grad():
        gap = model.log_p(x) - objective.bound(vae(x.expand(20000, -1), k=4))
    assert float(gap.mean()) > 4 * float(gap.std()) / math.sqrt(20000)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_the_renyi_bound_is_log_p_less_a_renyi_divergence(model, alpha):
    """D_alpha(q || p) of two Gaussians of one mean, in closed form; 100 estimates with 20000 samples, 5 se.

    Those have a bias of half the variance of their mean, which is far below a standard error.
    """
    x, variance = model.data(1), 0.7 / model.precision.diagonal()
    q, p = torch.diag(variance), torch.linalg.inv(model.precision)
    mixed = alpha * p + (1 - alpha) * q
    log_dets = torch.logdet(mixed) - (1 - alpha) * torch.logdet(q) - alpha * torch.logdet(p)
    divergence = log_dets / (2 * (1 - alpha))
    with torch.no_grad():
        values = Renyi(alpha, 20000).bound(model.diagonal(variance)(x.expand(100, -1), k=20000))
    within(values, model.log_p(x)[0] - divergence, se=5, bias=float(values.var()) * abs(1 - alpha))


def test_the_chi_square_bound_is_above_log_p_by_its_closed_form(model):
    """CUBO_2 = log p(x) + log(1 + χ²)/2. 100 estimates with 20000 samples, 5 se, biased by their variance."""
    x, variance = model.data(1), 1.5 / model.precision.diagonal()
    gap = math.log1p(model.chi_square(variance)) / 2
    with torch.no_grad():
        values = CUBO(20000).bound(model.diagonal(variance)(x.expand(100, -1), k=20000))
    within(values, model.log_p(x)[0] + gap, se=5, bias=2 * float(values.var()))
    assert float(values.mean() - model.log_p(x)) > gap / 2 > 0


def test_with_the_exact_posterior_every_bound_is_log_p(model):
    x = model.data(5)
    draw = model.exact()(x, k=4)
    for objective in (MIWAE(2, 2), CIWAE(4), PIWAE(2, 2), ReweightedWakeSleep(4), Renyi(0.3, 4), Renyi(7, 4), CUBO(4)):
        torch.testing.assert_close(objective.bound(draw), model.log_p(x), atol=1e-9, rtol=0)


# ---- gradients ----

MODEL_OF_IWAE = {
    "stl": IWAE(6, "stl"),
    "dreg": IWAE(6, "dreg"),
    "piwae": PIWAE(2, 3),
    "rws": ReweightedWakeSleep(6),
}


@pytest.mark.parametrize("objective", MODEL_OF_IWAE.values(), ids=MODEL_OF_IWAE)
def test_the_model_learns_by_the_gradient_of_iwae_whatever_the_encoder_does(model, objective):
    vae, _ = trained(model)
    draw = vae(model.data(1).expand(7, -1), k=6)
    decoder, encoder = parts(vae)
    expected, got = gradients(IWAE(6), draw, decoder), gradients(objective, draw, decoder)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
    assert not torch.allclose(gradients(objective, draw, encoder)[0], gradients(IWAE(6), draw, encoder)[0])


def test_the_encoder_of_piwae_learns_by_the_gradient_of_miwae(model):
    vae, net = trained(model)
    draw = vae(model.data(1).expand(7, -1), k=6)
    expected, got = gradients(MIWAE(2, 3), draw, [net.value]), gradients(PIWAE(2, 3), draw, [net.value])
    torch.testing.assert_close(got[0], expected[0], atol=1e-12, rtol=1e-12)


def test_the_encoder_of_reweighted_wake_sleep_learns_by_weighted_scores(model):
    vae, net = trained(model)
    x = model.data(1).expand(7, -1)
    draw = vae(x, k=6)
    score = (draw.log_w.softmax(0).detach() * vae.posterior(x).log_prob(draw.z.detach())).sum(0).mean()
    (expected,) = torch.autograd.grad(score, [net.value])
    torch.testing.assert_close(gradients(ReweightedWakeSleep(6), draw, [net.value])[0], expected, atol=1e-12, rtol=0)


def test_wake_sleep_needs_no_reparameterization_and_the_others_say_so(model):
    class Still(rp.posteriors.DiagonalGaussian):
        def forward(self, x, *c):
            q = super().forward(x, *c)
            q.base_dist.has_rsample = False
            return q

    net = Constant(torch.zeros(4))
    vae = model.vae(Still(net))
    draw = vae(model.data(3), k=6)
    assert float(gradients(ReweightedWakeSleep(6), draw, [net.value])[0].abs().min()) > 0
    for objective in (IWAE(6, "dreg"), IWAE(6, "stl"), ELBO(6, gradient="stl"), PIWAE(2, 3), CUBO(6)):
        with pytest.raises(InputError, match="reparameterized"):
            objective.surrogate(draw, objective.bound(draw))
        with pytest.raises(InputError, match="reparameterized"):
            rp.fit(vae, model.data(30).float(), objective=objective)


PAIRS = {
    "dreg": (IWAE(8), IWAE(8, "dreg")),
    "stl": (ELBO(2, estimator="A"), ELBO(2, gradient="stl")),
    "stl beta": (ELBO(2, beta=0.5, estimator="A"), ELBO(2, beta=0.5, gradient="stl")),
}


@pytest.mark.parametrize(("plain", "better"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_estimators_of_the_encoders_gradient_agree_in_the_mean(model, plain, better, kind):
    """The difference of their 4 numbers has mean zero: 20000 rows, 5 se, failure rate 6e-7 each. q of any kind."""
    rows = torch.zeros(20000, 4)
    rows += trained(model)[1].value.detach()
    rows.requires_grad_()
    x = model.data(1).expand(20000, -1)
    posterior = rp.posteriors.DiagonalGaussian if kind == "gaussian" else LaplacePosterior
    vae = model.vae(posterior(rp.networks.Rescale(torch.nn.Identity(), torch.zeros(4), torch.ones(4))))
    draw = vae.at((q := vae.posterior(rows)).rsample((plain.k,)), x, q=q)
    found = [
        torch.autograd.grad(o.surrogate(draw, o.bound(draw)).sum(), rows, retain_graph=True) for o in (plain, better)
    ]
    within(found[0][0] - found[1][0], 0.0, se=5)
    assert float(found[0][0].mean(0).abs().max()) > 0.01
    if plain.k > 2 and kind == "gaussian":
        assert bool((found[1][0].var(0) < found[0][0].var(0)).all())


@pytest.mark.parametrize("objective", [ELBO(3, gradient="stl"), IWAE(3, "stl"), IWAE(3, "dreg"), CUBO(3)], ids=repr)
def test_at_the_exact_posterior_the_encoders_gradient_is_zero_in_every_draw(model, objective):
    x = model.data(1)
    factor = torch.linalg.cholesky(torch.linalg.inv(model.precision))
    net = Constant(rp.posteriors.FullGaussian.pack(model.mean(x)[0], factor))
    vae = model.vae(rp.posteriors.FullGaussian(net))
    draw = vae(x.expand(5, -1), k=3)
    assert float(gradients(objective, draw, [net.value])[0].abs().max()) < 1e-12
    assert float(gradients(ELBO(3), draw, [net.value])[0].abs().max()) > 1e-3


def test_a_surrogate_of_sticking_the_landing_has_the_value_of_estimator_a(model):
    draw = trained(model)[0](model.data(4), k=3)
    bound = ELBO(3, 0.7, "A").bound(draw)
    objective = ELBO(3, 0.7, gradient="stl")
    torch.testing.assert_close(objective.surrogate(draw, bound), bound, atol=1e-12, rtol=0)


def test_the_chi_square_bound_teaches_the_encoder_alone_and_downwards(model):
    """It ascends against the slope of the closed form log(1 + χ²)/2 in log-variances: 100 estimates, 5 se."""
    x, variance = model.data(1), 1.5 / model.precision.diagonal()
    net = Constant(torch.cat([model.mean(x)[0], variance.log()]))
    vae = model.vae(rp.posteriors.DiagonalGaussian(net))
    assert all(not g.any() for g in gradients(CUBO(4), vae(x, k=4), parts(vae)[0]))

    def closed(log_variance: Tensor) -> float:
        return math.log1p(model.chi_square(log_variance.exp())) / 2

    steps = 1e-5 * torch.eye(2)
    slope = torch.tensor([(closed(variance.log() + s) - closed(variance.log() - s)) / 2e-5 for s in steps])
    found = torch.stack([gradients(CUBO(5000), vae(x, k=5000), [net.value])[0] for _ in range(100)])
    within(-found[:, 2:], slope, se=5, bias=1e-3)
    assert float(slope.abs().min()) > 0.05


def test_training_by_an_upper_bound_keeps_the_epoch_where_it_is_least(model):
    torch.set_default_dtype(torch.float32)
    model = LinearGaussian.random(2, 3, seed=4, s=1.0, gain=0.8)
    vae = model.vae(rp.posteriors.DiagonalGaussian(torch.nn.Linear(3, 4)))
    before = [p.clone() for p in vae.likelihood.parameters()]
    history = rp.fit(vae, model.data(300), objective=CUBO(1000), epochs=15, lr=1e-2, validation=0.3)
    values = history["validation_objective"]
    assert history.best["validation_objective"] == min(values) < values[0] - 0.2
    assert all(torch.equal(a, b) for a, b in zip(before, vae.likelihood.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: IWAE(3, "reinforce"), "gradient"),
        (lambda: ELBO(gradient="dreg"), "gradient"),
        (lambda: MIWAE(0, 3), "at least 1"),
        (lambda: MIWAE(3, 0), "at least 1"),
        (lambda: PIWAE(0, 3), "at least 1"),
        (lambda: CIWAE(3, 1.5), "from 0 to 1"),
        (lambda: CIWAE(3, rp.schedules.Linear(2, 0)), "from 0 to 1"),
        (lambda: Renyi(math.nan, 3), "alpha"),
        (lambda: CUBO(1), "at least 2"),
        (lambda: CUBO(4, n=1.0), "above 1"),
        (lambda: ReweightedWakeSleep(0), "at least 1"),
    ],
)
def test_options_that_make_no_objective_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
