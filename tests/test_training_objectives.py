"""Objectives with training of their own: dreams, corrupted inputs, adversaries, and penalties of the decoder."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import reparam as rp
from models import Function, LinearGaussian, cubature, within
from reparam.errors import InputError
from reparam.evaluate import objective_value
from reparam.objectives import ELBO, IWAE, Denoising, Penalized, Reconstruction, ReweightedWakeSleep, WakeSleep
from reparam.objectives.penalties import DecoderSlope, DecoderWeights, DensityRatio
from reparam.schedules import Linear
from reparam.train.auxiliary import Auxiliary
from test_contexts import conditional_vae
from test_fit import _interrupt_after, bits, same
from test_fit import model as bernoulli
from test_penalties import encoder_of, small

pytestmark = pytest.mark.usefixtures("double")


# ---- the density ratio ----


class Quadratic(nn.Module):
    """All quadratic functions of z: the log density ratio of two Gaussians is one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, z: Tensor) -> Tensor:
        a, b = z.unbind(-1)
        return self.linear(torch.stack([torch.ones_like(a), a, b, a * a, b * b, a * b], -1))


def test_a_trained_density_ratio_is_the_total_correlation_of_a_gaussian():
    """q(z) = N(0, C): 12 classifiers, each trained on 4000 codes and read on 4000 others, 5 se.

    A logistic regression that holds the truth errs by 1/sqrt(n), which the 12 show, and in the mean by about (its 6
    parameters) / n; the batch as a stand-in for its distribution by 1 / n more: 10 / n is allowed for.
    """
    a, s = torch.tensor([[0.9, 0.3], [0.8, -0.2]]), torch.tensor([0.3, 0.2])
    vae, c = encoder_of(a, s)
    truth = (c.diagonal().log().sum() - torch.logdet(c)) / 2
    assert float(truth) > 0.2
    found = []
    for _ in range(12):
        penalty = DensityRatio(Quadratic(), lr=0.03)
        auxiliary = Auxiliary(Penalized(ELBO(), penalty, 1.0), torch.empty(0))
        draw = vae(torch.randn(4000, 2))
        for step in range(300):
            auxiliary.optimizers[0].param_groups[0]["lr"] = 0.06 * (1 - step / 300)
            assert auxiliary.step(draw)
        found.append(penalty(vae(torch.randn(4000, 2)), 4000).detach())
    within(torch.stack(found), truth, se=5, bias=10 / 4000)


def test_an_untrained_discriminator_says_nothing():
    draw = small()(torch.randn(50, 3), k=2)
    penalty = DensityRatio.untrained(2)
    assert float(penalty(draw, 50).detach()) == 0
    assert float(penalty.loss(draw).detach()) == pytest.approx(math.log(2), abs=1e-12)


def test_discriminator_and_model_get_no_gradient_from_each_other():
    vae, penalty = small(), DensityRatio(rp.networks.mlp(2, 1, (4,)))
    draw = vae(torch.randn(9, 3))
    penalty(draw, 9).backward()
    assert all(p.grad is None for p in penalty.net.parameters())
    assert any(p.grad is not None for p in vae.posterior.parameters())
    vae.zero_grad()
    penalty.loss(draw).backward()
    assert all(p.grad is None for p in vae.parameters())
    assert all(p.grad is not None for p in penalty.net.parameters())


def test_codes_exchange_dimensions_within_their_sample_and_nothing_else():
    """Each column of what the discriminator is shown is a permutation of the codes' own."""
    shown = []
    penalty = DensityRatio(Function(lambda z: shown.append(z) or z[..., :1]))
    draw = small()(torch.randn(40, 3), k=2)
    penalty.loss(draw)
    codes, exchanged = shown
    assert not torch.equal(codes, exchanged)
    assert torch.equal(codes.sort(1).values, exchanged.sort(1).values)
    pairs = (codes.unsqueeze(2) == exchanged.unsqueeze(1)).all(-1).any(2)  # rows that came out whole
    assert float(pairs.double().mean()) < 0.2


def test_a_density_ratio_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="lr"):
        DensityRatio(nn.Linear(2, 1), lr=0)
    objective = Penalized(ELBO(), DensityRatio(rp.networks.mlp(2, 3)))
    with pytest.raises(InputError, match="gives 1 number, and its net 3"):
        rp.fit(bernoulli().double(), torch.ones(9, 6), objective=objective)


# ---- wake and sleep ----


class Affine(nn.Module):
    """An encoder's net whose parameters stand one by one in closed forms: mean A x + a, log-variance u."""

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.A, self.a, self.u = (nn.Parameter(0.5 * torch.randn(*s)) for s in ((dim, size), (dim,), (dim,)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x @ self.A.T + self.a, self.u.expand(len(x), -1)], -1)


@pytest.fixture
def linear() -> tuple[LinearGaussian, rp.VAE, Affine]:
    model, net = LinearGaussian.random(2, 3, seed=1), Affine(2, 3)
    return model, model.vae(rp.posteriors.DiagonalGaussian(net)), net


@pytest.mark.parametrize("objective", [WakeSleep(), ReweightedWakeSleep(1, sleep=1.0)], ids=["WakeSleep", "RWS"])
def test_the_gradient_of_sleep_is_that_of_the_kl_from_the_models_posterior(linear, objective):
    """E_p(x,z) log q(z|x) in closed form; it differs from -E_p(x) KL(p(z|x) || q(z|x)) by a constant.

    200 batches of 50 dreams, 5 se: failure rate 6e-7 for each of ten numbers.
    """
    model, vae, net = linear
    sigma = model.w @ model.w.T + model.s**2 * torch.eye(3)
    square = 1 - 2 * (net.A * model.w.T).sum(1) + ((net.A @ sigma) * net.A).sum(1) + (net.A @ model.b + net.a).square()
    truth = torch.autograd.grad(-(net.u + square / net.u.exp()).sum() / 2, list(net.parameters()))
    x, found = model.data(50, 3), []
    for _ in range(200):
        draw = objective.draw(vae, x)
        value = objective.surrogate(draw, objective.bound(draw)).mean()
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(net.parameters()))]))
    within(torch.stack(found), torch.cat([g.flatten() for g in truth]), se=5)


def test_the_gradient_of_wake_is_that_of_the_elbo_in_the_decoder_and_none_in_the_encoder(linear):
    """d/dW E_q log p(x|z) = ((x - W m - b) m' - W V) / s², exact by cubature."""
    model, vae, net = linear
    x = model.data(7)
    q = vae.posterior(x)
    draw = vae.at(cubature(q).detach(), x)
    draw.dream = vae.dream(7)
    value = WakeSleep(4).surrogate(draw, draw.log_px).mean()
    m, rest = q.mean, x - q.mean @ model.w.T - model.b
    decoder = vae.likelihood.net
    weight, bias = torch.autograd.grad(value, [decoder.weight, decoder.bias], retain_graph=True)
    expected = (rest.T @ m / 7 - model.w @ torch.diag(q.variance.mean(0))) / model.s**2
    torch.testing.assert_close(weight, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(bias, rest.mean(0) / model.s**2, atol=1e-10, rtol=0)
    asleep = torch.autograd.grad(draw.dream.log_qz.mean(), list(net.parameters()), retain_graph=True)
    for got, alone in zip(torch.autograd.grad(value, list(net.parameters())), asleep, strict=True):
        assert torch.equal(got, alone)


def test_the_samples_of_its_own_draw_carry_no_gradient_and_its_value_is_the_elbo(linear):
    model, vae, _ = linear
    x = model.data(5)
    draw = WakeSleep(3).draw(vae, x)
    assert not draw.z.requires_grad
    torch.testing.assert_close(WakeSleep(3).bound(draw), ELBO(3).bound(draw), atol=0, rtol=0)
    with pytest.raises(InputError, match="dreams"):
        WakeSleep().surrogate(vae(x), draw.log_px[0])


def test_dreams_follow_the_model_and_leave_it_without_gradient(linear):
    model, vae, _ = linear
    dream = vae.dream(20000)
    within(dream.log_pz[0], -1 - math.log(2 * math.pi), se=5)  # minus the entropy of N(0, I) in two dimensions
    within(dream.log_px[0], -3 * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(model.s)), se=5)
    assert not dream.z.requires_grad
    assert not dream.log_px.requires_grad
    assert dream.log_qz.requires_grad


def test_without_sleep_reweighting_is_as_it_was(linear):
    model, vae, _ = linear
    draw = ReweightedWakeSleep(4).draw(vae, model.data(5))
    assert draw.dream is None
    with pytest.raises(InputError, match="sleep"):
        ReweightedWakeSleep(4, sleep=1.5)


# ---- corrupted inputs ----


@pytest.mark.parametrize("posterior", ["exact", "diagonal"])
def test_the_denoising_bound_is_its_closed_form_below_log_p(posterior):
    """q(z|x') = N(M x' + c, V): the bound at x is log p(x) less KL(V) less (x' - x)' M' P M (x' - x) / 2.

    4000 corruptions of one datum each, 5 se.
    """
    model, noise = LinearGaussian.random(2, 3, seed=0), 0.6
    vae, gap = (model.exact(), 0.0) if posterior == "exact" else (
        model.diagonal(), model.kl(1 / model.precision.diagonal())
    )  # fmt: skip
    m = torch.linalg.solve(model.precision, model.w.T / model.s**2)
    expected = gap + noise**2 * torch.trace(m.T @ model.precision @ m) / 2
    x = model.data(1).expand(4000, -1)
    objective = Denoising(ELBO(), noise=noise)
    with torch.no_grad():
        bound = objective.bound(objective.draw(vae, x))
    within(bound - model.log_p(x), -expected, se=5)
    assert float(expected) > gap + 0.1
    assert float(bound.mean()) < float(model.log_p(x[:1]))


def test_a_corruption_is_what_it_says():
    objective, x = Denoising(ELBO(), masked=0.3), torch.rand(4000, 5) + 1
    seen = objective.corrupted(x)
    within((seen == 0).double().flatten(), 0.3, se=5)
    assert torch.equal(seen[seen != 0], x[seen != 0])
    both = Denoising(objective, noise=0.5).corrupted(x) - x
    within(both.flatten(), 0.0, se=5)
    within(both.flatten().square(), 0.25, se=5)


@pytest.mark.parametrize("given", [{}, {"noise": -1.0}, {"masked": 1.0}, {"noise": math.nan}])
def test_a_corruption_that_is_none_is_refused(given):
    with pytest.raises(InputError, match="denoising needs"):
        Denoising(ELBO(), **given)


def test_the_encoder_reads_the_corrupted_and_the_likelihood_the_clean_and_evaluation_nothing_else():
    vae, x = small(), torch.randn(6, 3)
    draw = Denoising(IWAE(2), masked=0.999).draw(vae, x)
    torch.testing.assert_close(draw.q.mean, vae.posterior(torch.zeros(6, 3)).mean)
    torch.testing.assert_close(draw.log_px, vae.likelihood(draw.z).log_prob(x))
    data = rp.Dataset(x)
    values = [objective_value(vae, data, o) for o in (IWAE(3), Denoising(IWAE(3), noise=2.0))]
    assert values[0] == values[1]


# ---- the decoder ----


def test_the_slope_of_a_decoder_is_the_norm_of_its_jacobian():
    vae = small()
    draw = vae(torch.randn(5, 3), k=2)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda z: vae.likelihood(z).mean))(draw.z.detach().reshape(-1, 2))
    truth = jacobian.square().sum((1, 2)).mean()
    torch.testing.assert_close(DecoderSlope(None)(draw, 5), truth, atol=1e-12, rtol=1e-10)
    estimates = torch.stack([DecoderSlope(1)(draw, 5).detach() for _ in range(400)])
    within(estimates, truth.detach(), se=5)
    within(torch.stack([DecoderSlope(3)(draw, 5).detach() for _ in range(400)]), truth.detach(), se=5)


def test_the_size_of_a_decoder_is_that_of_its_weights_alone():
    vae = rp.recipes.vae(3, 2, likelihood="gaussian", scale="shared", hidden=(4,))
    draw = vae(torch.randn(5, 3))
    weights = [p.detach() for n, p in vae.likelihood.named_parameters() if n.endswith("weight")]
    assert len(weights) == 2
    assert float(DecoderWeights()(draw, 5).detach()) == pytest.approx(sum(float((w * w).sum()) for w in weights))
    spectral = sum(float(torch.linalg.svdvals(w)[0]) ** 2 for w in weights)
    assert float(DecoderWeights("spectral")(draw, 5).detach()) == pytest.approx(spectral)
    gradients = torch.autograd.grad(DecoderWeights()(draw, 5), list(vae.posterior.parameters()), allow_unused=True)
    assert all(g is None for g in gradients)


def test_penalties_of_a_decoder_that_cannot_be_are_refused():
    for make, said in ((lambda: DecoderWeights("l1"), "norm"), (lambda: DecoderSlope(0), "directions")):
        with pytest.raises(InputError, match=said):
            make()
    vae = small()
    draw = vae(torch.randn(5, 3))
    by_hand = rp.vae.Draw(draw.q, draw.p, draw.z, draw.log_px)
    with pytest.raises(InputError, match="does not know its likelihood"):
        DecoderSlope()(by_hand, 5)


# ---- in training ----


def factor() -> Penalized:
    torch.manual_seed(7)
    return Penalized(ELBO(), DensityRatio.untrained(2, (8,), lr=1e-2), 5.0)


OWN = {"factor": factor, "wake_sleep": WakeSleep, "denoising": lambda: Denoising(ELBO(), masked=0.3),
       "slope": lambda: Penalized(ELBO(), DecoderSlope(), 0.1)}  # fmt: skip


@pytest.mark.parametrize("steps", [4, 12])
@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_interrupted_and_resumed_gives_the_same_bits(make, steps, tmp_path, monkeypatch):
    x = (torch.rand(203, 6) < 0.5).double()
    options = {"epochs": 3, "batch_size": 32, "seed": 5, "validation": 0.1}
    whole, objective = bernoulli().double(), make()
    expected = rp.fit(whole, x, objective=objective, **options)
    with monkeypatch.context() as patch:
        _interrupt_after(steps, patch)
        rp.fit(bernoulli().double(), x, objective=make(), out=tmp_path / "run", **options)
    vae, again = bernoulli(seed=99).double(), make()
    resumed = rp.fit(vae, x, objective=again, out=tmp_path / "run", resume=True, **options)
    assert same(bits(vae), bits(whole))
    for key in ("train_objective", "train_penalty", "validation_objective"):
        assert resumed[key] == expected[key]
    for one, other in zip(objective.adversaries(), again.adversaries(), strict=True):
        assert same(list(one.net.state_dict().values()), list(other.net.state_dict().values()))
        assert float(one.net.last.weight.detach().abs().max()) > 0  # it has learned


@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_contexts_pass(make):
    c = nn.functional.one_hot(torch.arange(60) % 3, 3).double()
    history = rp.fit(conditional_vae(), torch.randn(60, 4), contexts=(c,), objective=make(), epochs=2, batch_size=25)
    assert all(math.isfinite(v) for v in history["train_objective"])


@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_what_is_reported_is_the_bound_of_the_draw_and_the_penalty_stands_beside_it(make):
    """With a learning rate that moves nothing, the epoch's mean is the bound of its one batch."""
    x, objective, vae = (torch.rand(40, 6) < 0.5).double(), make(), bernoulli().double()
    seen = []
    real = objective.draw
    objective.draw = lambda *a, **o: seen.append(real(*a, **o)) or seen[-1]
    history = rp.fit(vae, x, objective=objective, epochs=1, batch_size=40, lr=1e-30)
    assert history["train_objective"][0] == pytest.approx(float(objective.bound(seen[-1]).detach().mean()), rel=1e-12)
    elbo = (seen[-1].reconstruction - seen[-1].kl).detach().mean()
    assert history["train_objective"][0] == pytest.approx(float(elbo), rel=1e-12)
    penalty = history["train_penalty"][0]
    assert (penalty != 0) == (make is OWN["slope"])  # the discriminator says 0 before it has learned


def test_weights_of_the_moment_are_in_the_history():
    objective = Penalized(
        Penalized(ELBO(beta=Linear(0, 1)), DecoderSlope(), Linear(1, 3)), DecoderWeights(), Linear(4, 0)
    )
    x = (torch.rand(40, 6) < 0.5).double()
    history = rp.fit(bernoulli().double(), x, objective=objective, epochs=4, lr=Linear(1e-3, 1e-4))
    assert history["scheduled_beta"] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert history["scheduled_weight"] == pytest.approx([3.0, 2.0, 1.0, 0.0])
    assert history["scheduled_objective.weight"] == pytest.approx([1.5, 2.0, 2.5, 3.0])
    assert history["scheduled_lr"] == pytest.approx([7.75e-4, 5.5e-4, 3.25e-4, 1e-4])
    assert history["best_epoch"] == [1, 2, 3, 4]
    assert "scheduled_lr" not in rp.fit(bernoulli().double(), x, epochs=1).records[0]


def test_a_discriminator_that_is_not_finite_stops_the_run():
    objective = Penalized(ELBO(), DensityRatio(Function(lambda z: z[..., :1])), 0.0)
    calls = []

    def broken(draw):
        calls.append(draw)
        return objective.criterion.net.w.sum() * (math.nan if len(calls) > 2 else 1.0)

    objective.criterion.loss = broken
    objective.criterion.net.register_parameter("w", nn.Parameter(torch.zeros(1)))
    with pytest.raises(rp.errors.NonFiniteError):
        rp.fit(bernoulli().double(), torch.ones(64, 6), objective=objective, batch_size=8)


def test_a_plain_autoencoder_denoises():
    history = rp.fit(
        bernoulli("point").double(),
        (torch.rand(64, 6) < 0.5).double(),
        objective=Denoising(Reconstruction(), masked=0.2),
        epochs=2,
    )
    assert len(history) == 2
