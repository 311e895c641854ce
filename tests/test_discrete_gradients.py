"""Gradients of discrete latents. Full enumeration is the oracle: of all z, or of all K-tuples of them."""

from __future__ import annotations

import math
import os
import signal
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import reparam as rp
from models import Function, within
from reparam import posteriors, priors
from reparam.distributions import codes_of, from_standard_normal
from reparam.errors import RunFolderError
from reparam.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    Capacity,
    Objective,
    Reconstruction,
    Renyi,
    ReweightedWakeSleep,
)
from reparam.schedules import Linear
from reparam.train.step import Step
from reparam.vae import Draw

pytestmark = pytest.mark.usefixtures("double")

KINDS = ("Categorical", "Bernoulli")


def build(kind: str, gradient: str, prior: str = "independent", **options) -> rp.VAE:
    """A model over four values of z, or nine; the same weights for every gradient."""
    torch.manual_seed(7)
    if kind == "Bernoulli":
        size = 2
        q = posteriors.Bernoulli(rp.networks.mlp(3, size, (4,), "tanh"), gradient, **options)
        p = priors.Bernoulli(2, True) if prior == "independent" else priors.Autoregressive(2, hidden=(4,))
    else:
        size = 6
        q = posteriors.Categorical(rp.networks.mlp(3, size, (4,), "tanh"), 2, 3, gradient, **options)
        p = priors.Categorical(2, 3, True) if prior == "independent" else priors.Autoregressive(2, 3, (4,))
    vae = rp.VAE(p, rp.likelihoods.Gaussian(rp.networks.mlp(size, 3, (5,), "tanh"), 0.8), q)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.normal_(0, 0.7)
    return vae


X = torch.tensor([[0.3, -1.2, 0.8]], dtype=torch.float64)


def flat(value: Tensor, vae: nn.Module) -> Tensor:
    """The gradient of a number in all parameters, joined; zeros where one is not reached."""
    parameters = list(vae.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found, strict=True)]
    )


def encoder(vae: rp.VAE, gradient: Tensor) -> Tensor:
    """The part of a joined gradient that is the posterior's, whose parameters come last."""
    return gradient[-sum(p.numel() for p in vae.posterior.parameters()) :]


def tuples(vae: rp.VAE, k: int) -> tuple[Draw, Tensor]:
    """A draw whose "data" are all k-tuples of values of z, for one datum, and the probability of each."""
    codes = codes_of(vae.prior())
    points = codes.values(0, codes.count, X)
    z = points[torch.tensor(list(product(range(codes.count), repeat=k)))].movedim(1, 0)  # (k, V^k, D)
    draw = vae.at(z, X.expand(z.shape[1], -1))
    return draw, draw.log_qz.sum(0).exp()


OBJECTIVES = {
    "ELBO": ELBO(2),
    "ELBO of one": ELBO(1),
    "ELBO A": ELBO(2, estimator="A"),
    "ELBO beta": ELBO(2, beta=3.0),
    "free nats": ELBO(2, free_nats=0.1),
    "IWAE of one": IWAE(1),
    "IWAE of two": IWAE(2),
    "IWAE": IWAE(3),
    "MIWAE": MIWAE(2, 2),
    "CIWAE": CIWAE(2, 0.3),
    "Renyi": Renyi(0.5, 2),
    "Renyi negative": Renyi(2.0, 2),
    "Reconstruction": Reconstruction(2),
    "Capacity": Capacity(0.4, 3.0, 2),
}


# 9^4 tuples say no more than 4^4, and free nats need a closed form of KL
CASES = [
    (name, kind, prior)
    for name, kind, prior in product(OBJECTIVES, KINDS, ("independent", "autoregressive"))
    if (name, kind) != ("MIWAE", "Categorical") and (name, prior) != ("free nats", "autoregressive")
]


@pytest.mark.parametrize(("name", "kind", "prior"), CASES)
def test_the_gradient_by_score_is_unbiased(name, kind, prior):
    """Not in the mean of samples: its expectation over all k-tuples is the gradient of the expected bound, to 1e-10."""
    objective = OBJECTIVES[name]
    vae = build(kind, "score", prior)
    draw, probability = tuples(vae, objective.k)
    assert float(probability.sum().detach()) == pytest.approx(1, abs=1e-12)
    bound = objective.bound(draw)
    exact = flat((probability * bound).sum(), vae)
    draw, probability = tuples(vae, objective.k)
    surrogate = objective.surrogate(draw, objective.bound(draw))
    torch.testing.assert_close(surrogate, bound, atol=1e-12, rtol=0)  # no value is changed
    got = flat((probability.detach() * surrogate).sum(), vae)
    torch.testing.assert_close(got, exact, atol=1e-10, rtol=1e-10)
    without = flat((probability.detach() * objective.bound(tuples(vae, objective.k)[0])).sum(), vae)
    assert float((encoder(vae, without) - encoder(vae, exact)).norm()) > 1e-3  # the score is what was missing


@pytest.mark.parametrize("prior", ["independent", "autoregressive"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_listed_elbo_has_the_gradient_of_the_expectation(kind, prior):
    oracle = build(kind, "score", prior)
    draw, probability = tuples(oracle, 1)
    exact = flat((probability * draw.log_w[0]).sum(), oracle)
    listed = build(kind, "enumerate", prior)
    for objective in (ELBO(), ELBO(5), ELBO(estimator="A")):
        draw = listed(X, k=objective.k)
        assert draw.z.shape[0] == codes_of(listed.prior()).count
        torch.testing.assert_close(draw.shares.sum(0), torch.ones(1), atol=1e-12, rtol=0)
        bound = objective.bound(draw)
        torch.testing.assert_close(flat(objective.surrogate(draw, bound).sum(), listed), exact, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_listed_iwae_teaches_the_model_and_leaves_the_encoder_exactly_alone(kind):
    """Its gradient is that of log p(x): no rounding may reach an optimiser that divides by its size."""
    for dtype in (torch.float32, torch.float64):
        vae = build(kind, "enumerate").to(dtype)
        draw = vae(X.to(dtype).expand(3, -1), k=2)
        gradient = flat(IWAE(2).bound(draw).sum(), vae)
        assert bool((encoder(vae, gradient) == 0).all())
        assert float(gradient.norm()) > 0
    codes = codes_of(vae.prior())
    z = codes.values(0, codes.count, X).unsqueeze(1)
    log_p = (vae.prior().log_prob(z) + vae.likelihood(z).log_prob(X)).logsumexp(0)
    torch.testing.assert_close(gradient, 3 * flat(log_p.sum(), vae), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_listed_wake_sleep_follows_the_exact_posterior(kind):
    """Its encoder ascends Σ p(z|x) log q(z|x), over all z."""
    vae = build(kind, "enumerate")
    draw = vae(X)
    objective = ReweightedWakeSleep(1)
    got = encoder(vae, flat(objective.surrogate(draw, objective.bound(draw)).sum(), vae))
    draw = vae(X)
    posterior = (draw.log_px + draw.log_pz).softmax(0).detach()
    torch.testing.assert_close(got, encoder(vae, flat((posterior * draw.q.log_prob(draw.z)).sum(), vae)))


def test_shares_weigh_samples_of_any_kind():
    """A class that is listed, with two draws of a continuous rest for each value: means and log-means by the shares."""
    k, b = 6, 5
    log_q = torch.randn(3, b).log_softmax(0)
    shares = (log_q - math.log(2)).repeat(2, 1)
    parts = [torch.randn(k, b) for _ in range(3)]
    draw = Draw(
        build("Bernoulli", "score").prior(),
        build("Bernoulli", "score").prior(),
        torch.zeros(k, b, 2),
        *parts,
        log_shares=shares,
    )
    weights = torch.cat([log_q.exp()] * 2) / 2
    log_w = parts[0] + parts[1] - parts[2]
    torch.testing.assert_close(draw.reconstruction, (weights * parts[0]).sum(0))
    torch.testing.assert_close(draw.kl_monte_carlo, (weights * (parts[2] - parts[1])).sum(0))
    torch.testing.assert_close(IWAE(k).bound(draw), (weights * log_w.exp()).sum(0).log())
    torch.testing.assert_close(draw.weights, weights * log_w.exp() / (weights * log_w.exp()).sum(0))
    label = torch.full((k, b), -math.inf)
    label[2] = 0.0  # the label of every row is known
    known = Draw(draw.q, draw.p, draw.z, *(p.clone().requires_grad_() for p in parts), log_shares=label)
    for objective in (ELBO(k, estimator="A"), IWAE(k)):
        bound = objective.bound(known)
        torch.testing.assert_close(bound, log_w[2])
        (slope,) = torch.autograd.grad(bound.sum(), [known.log_px])
        torch.testing.assert_close(slope, (label == 0).double())


# ---- estimators from samples ----


def repeated(vae: rp.VAE, objective: Objective, n: int, groups: int = 40) -> Tensor:
    """Gradients of ``n`` draws for one datum, as means of ``groups`` groups: (groups, parameters)."""
    rows = []
    for _ in range(groups):
        draw = vae(X.expand(n // groups, -1), k=objective.k)
        rows.append(flat(objective.surrogate(draw, objective.bound(draw)).mean(), vae))
    return torch.stack(rows)


@pytest.mark.parametrize("objective", [ELBO(1), ELBO(3), IWAE(3)], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_from_training_draws_agree_with_enumeration(kind, objective):
    """The whole way, from ``vae(x)``: 40 means of 500 draws, 5 se of t with 39 degrees: failure rate 1e-5 each."""
    vae = build(kind, "score")
    draw, probability = tuples(vae, objective.k)
    exact = flat((probability * objective.bound(draw)).sum(), vae)
    within(repeated(vae, objective, 20000), exact, se=5)


@pytest.mark.parametrize("objective", [ELBO(4, estimator="A"), IWAE(4)], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_from_the_others_lessens_the_variance(kind, objective):
    """Against the score function without one, on the same 2000 draws, in the logits of each."""
    vae = build(kind, "score")
    logits = vae.posterior.net(X).detach().repeat(2000, 1).requires_grad_()
    vae.posterior.net = Function(lambda x: logits)
    draw = vae(X.expand(2000, -1), k=4)
    bound = objective.bound(draw)
    plain = bound + bound.detach() * (draw.log_qz - draw.log_qz.detach()).sum(0)
    better, worse = (
        torch.autograd.grad(value.sum(), logits, retain_graph=True)[0]
        for value in (objective.surrogate(draw, bound), plain)
    )
    within(better - worse, 0.0, se=5)  # on one mean
    assert float(better.var(0).sum()) < float(worse.var(0).sum()) / 2


# ---- Gumbel-softmax ----


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_relaxation_points_along_the_exact_gradient_as_it_cools(kind):
    """It is biased at every temperature: 40 se at 2.0, and towards 0.05 the bias goes as the temperature does."""
    exact_vae = build(kind, "enumerate")
    exact = encoder(exact_vae, flat(ELBO().bound(exact_vae(X)).sum(), exact_vae))
    far, near = [], []
    for temperature in (2.0, 0.5, 0.05):
        vae = build(kind, "gumbel", temperature=temperature).train()
        got = repeated(vae, ELBO(1), 200000)[:, -len(exact) :]
        far.append(float((got.mean(0) - exact).norm() / exact.norm()))
        near.append(cosine(got.mean(0), exact))
        if temperature == 2.0:
            assert float(((got.mean(0) - exact).abs() / (got.std(0) / math.sqrt(40))).max()) > 5
    assert far[0] > far[1] > far[2]
    assert near[2] > 0.99


@pytest.mark.parametrize("straight_through", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_values_of_a_relaxed_draw_are_those_of_the_discrete_model(kind, straight_through):
    """Nothing that is reported may know of the relaxation."""
    vae = build(kind, "gumbel", straight_through=straight_through, temperature=1.5).train()
    x = X.expand(50, -1)
    draw = vae(x, k=4)
    assert draw.z.requires_grad
    z = draw.z.detach().round()
    torch.testing.assert_close(draw.z.detach(), z, atol=1e-15, rtol=0)
    assert bool(codes_of(draw.p).check(z).all())
    true = vae.at(z, x)
    for name in ("log_px", "log_pz", "log_qz", "log_w", "reconstruction", "kl"):
        torch.testing.assert_close(getattr(draw, name), getattr(true, name), atol=1e-12, rtol=0)
    for objective in (ELBO(4), IWAE(4), MIWAE(2, 2), CIWAE(4), Renyi(0.5, 4)):
        torch.testing.assert_close(objective.bound(draw), objective.bound(true), atol=1e-12, rtol=0)
        again = vae(x, k=4)
        surrogate = objective.surrogate(again, objective.bound(again))
        assert float(encoder(vae, flat(surrogate.mean(), vae)).norm()) > 0
    assert not vae.eval()(x, k=4).z.requires_grad


def test_relaxed_and_plain_draws_have_one_law():
    """The law of the values does not depend on the temperature."""
    vae = build("Categorical", "gumbel", temperature=3.0).train()
    draw = vae(X.expand(20000, -1), k=1)
    given = from_standard_normal(draw.q, torch.randn(1, 20000, 6))
    for z in (draw.z.detach(), given, draw.q.sample()):
        within(z.reshape(20000, 6), draw.q.mean[0].detach(), se=5)


def test_report_of_training_is_the_discrete_bound():
    """Weights do not move at lr 1e-12: the mean over an epoch's draws is the ELBO of the discrete model, to 4 se."""
    vae = build("Categorical", "gumbel", temperature=5.0)
    torch.manual_seed(3)
    x = torch.randn(4000, 3)
    exact = build("Categorical", "enumerate")
    truth = rp.evaluate.elbo(exact, x).value
    noise = rp.evaluate.elbo(vae, x, 1)
    reported = rp.fit(vae, x, epochs=1, lr=1e-12, progress=False)["train_objective"][0]
    assert abs(reported - truth) < 4 * noise.stderr
    soft = vae.train().posterior(x)
    relaxed = (
        vae.likelihood(soft.soft(soft.perturbed(torch.randn(4000, 6)) / 5.0)).log_prob(x).mean() - vae(x).kl.mean()
    )
    assert abs(float(relaxed.detach()) - truth) > 8 * noise.stderr  # what must not be reported is told apart


# ---- training ----


def patterns(n: int = 200) -> Tensor:
    """Nine bits that are noisy functions of two coins."""
    generator = torch.Generator().manual_seed(0)
    coins = (torch.rand(n, 2, generator=generator) < 0.5).double()
    both = (coins[:, :1] != coins[:, 1:]).double()
    clean = torch.cat([coins, both], 1).repeat(1, 3)
    return (clean - (torch.rand(n, 9, generator=generator) < 0.05).double()).abs()


def small(gradient: str, seed: int = 0, **options) -> rp.VAE:
    torch.manual_seed(seed)
    net = rp.networks.mlp(9, 4, (16,))
    return rp.VAE(
        priors.Autoregressive(2, 2, (4,)),
        rp.likelihoods.Bernoulli(rp.networks.mlp(4, 9, (16,))),
        posteriors.Categorical(net, 2, 2, gradient, **options),
    )


WAYS = {
    "enumerate": {},
    "score": {},
    "gumbel": {"temperature": Linear(1.0, 0.3, over=0.8)},
    "straight-through": {"straight_through": True, "temperature": 0.5},
}


def way(name: str, seed: int = 0) -> rp.VAE:
    return small("gumbel" if name == "straight-through" else name, seed, **WAYS[name])


@pytest.mark.parametrize("name", WAYS)
def test_training_finds_more_than_one_coin(name):
    """Two coins and nine bits of flips: 2 log 2 + 9 H(0.05) = 3.17 nats; independent bits cost 9 log 2 = 6.24.

    With one of the coins, three bits are certain but for flips: log 2 + 3 H(0.05) + 6 log 2 = 5.45. A code for three of
    the four patterns, where training by any of these gradients may rest, is at about 4.4.
    """
    vae, x = way(name), patterns()
    history = rp.fit(vae, x, objective=ELBO(4), epochs=60, batch_size=25, lr=1e-2, progress=False)
    assert not history.notes
    assert history["train_objective"][-1] > history["train_objective"][0] + 1
    assert rp.evaluate.log_likelihood(vae, x, method="exact").value > -5.0


def _interrupt_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Training is asked to stop in its n-th step."""
    real, count = Step.__call__, 0

    def step(*given):
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    patch.setattr(Step, "__call__", step)


@pytest.mark.parametrize("name", WAYS)
def test_a_run_that_is_stopped_and_resumed_has_the_bits_of_one_that_was_not(name, tmp_path, monkeypatch):
    options = {"objective": ELBO(2), "epochs": 3, "batch_size": 32, "seed": 5, "validation": 0.2, "progress": False}
    whole, x = way(name), patterns()
    expected = rp.fit(whole, x, **options)
    for steps in (2, 7):
        with monkeypatch.context() as patch:
            _interrupt_after(steps, patch)
            history = rp.fit(way(name), x, out=tmp_path / f"{steps}", **options)
        assert history.stopped == "interrupted"
        vae = way(name, seed=9)
        resumed = rp.fit(vae, x, out=tmp_path / f"{steps}", resume=True, **options)
        assert all(
            torch.equal(a, b) for a, b in zip(vae.state_dict().values(), whole.state_dict().values(), strict=True)
        )
        for key in ("train_objective", "validation_objective"):
            assert resumed[key] == expected[key]


def test_training_moves_the_temperature_to_its_end_and_keeps_it_there(tmp_path, monkeypatch):
    vae, seen, real = way("gumbel"), [], Step.__call__

    def step(self, *given):
        seen.append(self.vae.posterior.progress)
        return real(self, *given)

    monkeypatch.setattr(Step, "__call__", step)
    options = {"batch_size": 50, "progress": False, "out": tmp_path / "run"}
    rp.fit(vae, patterns(), epochs=2, **options)
    assert seen == pytest.approx([i / 8 for i in range(1, 9)])
    assert vae.posterior.progress == 1.0
    with pytest.raises(RunFolderError, match="scheduled_epochs = 2"):
        rp.fit(way("gumbel"), patterns(), epochs=4, resume=True, **options)
    with pytest.raises(RunFolderError, match="model = "):
        rp.fit(small("gumbel", temperature=0.5), patterns(), epochs=2, resume=True, **options)
