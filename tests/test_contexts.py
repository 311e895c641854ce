"""Conditioning is one more argument: the same classes with contexts learn p(x|c)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Binomial, Independent, MultivariateNormal

import reparam as rp
from models import within
from refusals import refused
from reparam.errors import InputError
from reparam.networks import conv, mlp
from rows import plane


def conditional_vae() -> rp.VAE:
    return rp.VAE(
        rp.priors.StandardNormal(2),
        rp.likelihoods.Gaussian(mlp(2, 4, (32,), "tanh", context=3), scale=0.5),
        rp.posteriors.DiagonalGaussian(mlp(4, 4, (32,), "tanh", context=3)),
    )


@pytest.fixture
def labelled() -> tuple[torch.Tensor, torch.Tensor]:
    """600 data around one of three centres, and which, as one of three."""
    torch.manual_seed(0)
    y = torch.randint(0, 3, (600,))
    centres = torch.tensor([[3.0, 3, -3, -3], [-3, 3, 3, -3], [3, -3, -3, 3]])
    return centres[y] + 0.5 * torch.randn(600, 4), torch.nn.functional.one_hot(y, 3).float()


def test_a_conditional_model_learns_the_density_given_the_context(labelled):
    x, c = labelled
    vae = conditional_vae()
    rp.fit(vae, x, contexts=(c,), epochs=60, batch_size=50, lr=5e-3)
    data = rp.Dataset(x, contexts=(c,))
    right = rp.evaluate.log_likelihood(vae, data, k=200)
    wrong = rp.evaluate.log_likelihood(vae, x, contexts=(c.roll(1, dims=1),), k=200)
    truth = -4 * (0.5 + math.log(0.5) + 0.5 * math.log(2 * math.pi))  # the entropy of the noise
    assert truth - 0.4 < right.value < truth + 4 * right.stderr
    assert wrong.value < right.value - 20
    assert rp.evaluate.elbo(vae, data).value <= right.value + 4 * right.stderr


def test_samples_follow_their_context(labelled):
    x, c = labelled
    vae = conditional_vae()
    rp.fit(vae, x, contexts=(c,), epochs=60, batch_size=50, lr=5e-3)
    torch.manual_seed(1)
    samples = vae.sample(600, c)
    for k in range(3):
        rows = c[:, k] == 1
        assert (samples[rows].mean(0) - x[rows].mean(0)).abs().max() < 0.3
    assert vae.reconstruct(x, c).shape == x.shape


def test_a_row_keeps_its_context_when_rows_are_chosen_or_reordered(labelled):
    x, c = labelled
    data, vae = rp.Dataset(x, contexts=(c,)), conditional_vae()
    values = rp.evaluate.log_likelihood(vae, data, k=20).per_datum
    order = torch.randperm(600)[:77]
    some = rp.evaluate.log_likelihood(vae, data[order], k=20, chunk=30).per_datum
    torch.testing.assert_close(some, values[order], atol=1e-4, rtol=0)  # float32 sums of about 100


def test_contexts_of_another_length_are_refused(labelled):
    x, c = labelled
    with pytest.raises(InputError, match=r"600 rows of data, but context 0 of shape \(599, 3\)"):
        rp.fit(conditional_vae(), x, contexts=(c[1:],))


# ---- theorems: z ~ N(A c, diag t²), x = W z + V c + s eps, of which everything is known ----

T = torch.tensor([0.8, 1.3], dtype=torch.float64)
S = 0.6


@dataclass(frozen=True)
class Linear:
    """The model, with a posterior that has the exact mean and a diagonal covariance 1.5 times too wide."""

    vae: rp.VAE
    a: Tensor
    w: Tensor
    v: Tensor

    @property
    def covariance(self) -> Tensor:
        return self.w @ torch.diag(T.square()) @ self.w.T + S**2 * torch.eye(3)

    def mean(self, c: Tensor) -> Tensor:
        return c @ (self.w @ self.a + self.v).T

    def log_p(self, x: Tensor, c: Tensor) -> Tensor:
        return MultivariateNormal(self.mean(c), self.covariance).log_prob(x)

    def data(self, n: int) -> tuple[Tensor, Tensor]:
        c = torch.randn(n, 2)
        return MultivariateNormal(self.mean(c), self.covariance).sample(), c


@torch.no_grad()
def affine(net: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    net.last.weight.copy_(weight)
    net.last.bias.copy_(bias)
    return net


@pytest.fixture
def linear(double) -> Linear:
    a, w, v = torch.randn(2, 2), torch.randn(3, 2), torch.randn(3, 2)
    precision = torch.diag(1 / T.square()) + w.T @ w / S**2
    gain = torch.linalg.solve(precision, w.T) / S**2  # mean of p(z|x, c): A c + gain (x - W A c - V c)
    of_c = a - gain @ (w @ a + v)
    none = torch.zeros(2, 2)
    prior = affine(mlp(2, 4, ()), torch.cat([a, none]), torch.cat([torch.zeros(2), 2 * T.log()]))
    decoder = affine(mlp(2, 3, (), context=2), torch.cat([w, v], 1), torch.zeros(3))
    wide = torch.cat([torch.zeros(2), (1.5 * torch.linalg.inv(precision).diagonal()).log()])
    encoder = affine(mlp(3, 4, (), context=2), torch.cat([torch.cat([gain, of_c], 1), torch.zeros(2, 5)]), wide)
    vae = rp.VAE(
        rp.priors.ConditionalGaussian(prior),
        rp.likelihoods.Gaussian(decoder, S),
        rp.posteriors.DiagonalGaussian(encoder),
    )
    return Linear(vae, a, w, v)


def test_every_method_gives_log_p_of_x_given_c(linear):
    """4 standard errors of each row's weights, and the bias of the log of their mean, at 4000 samples."""
    x, c = linear.data(40)
    truth = linear.log_p(x, c)
    exact = rp.evaluate.log_likelihood(linear.vae, x, method="exact", contexts=(c,))
    torch.testing.assert_close(exact.per_datum, truth, atol=1e-6, rtol=0)
    for method in ("importance", "mixture", "prior"):
        e = rp.evaluate.log_likelihood(linear.vae, x, k=4000, method=method, contexts=(c,), seed=1)
        variance = 1 / e.ess - 1 / 4000
        error = float((e.per_datum - truth).mean())
        assert abs(error) < 4 * float(variance.sum().sqrt()) / 40 + 2 * float(variance.mean()) / 2, method
    ais = rp.evaluate.log_likelihood(linear.vae, x[:6], k=16, method="ais", contexts=(c[:6],), steps=30)
    assert float((ais.per_datum - truth[:6]).abs().max()) < 0.5
    wrong = rp.evaluate.log_likelihood(linear.vae, x, method="exact", contexts=(c.flip(0),))
    assert float((wrong.per_datum - truth).abs().max()) > 1


def test_bounds_hold_given_contexts(linear):
    x, c = linear.data(200)
    data, truth = rp.Dataset(x, contexts=(c,)), linear.log_p(x, c)
    elbo = rp.evaluate.elbo(linear.vae, data, k=50)
    assert float(elbo.per_datum.mean()) < float(truth.mean())
    curve = rp.evaluate.bound_curve(linear.vae, x, (1, 10, 100), contexts=(c,))
    assert bool((curve.value.diff() > 0).all())
    assert float(curve.value[-1]) == pytest.approx(float(truth.mean()), abs=0.02)
    lower, upper = rp.evaluate.bdmc(linear.vae, 4, k=8, contexts=(c[:4],), steps=20)
    assert float(upper.value - lower.value) < 1
    refused(lambda: rp.evaluate.bdmc(linear.vae, 5, contexts=(c[:4],)), "5 data")


def test_scores_move_with_the_rows_and_their_contexts(linear):
    x, c = linear.data(30)
    order = torch.randperm(30)
    for score in (
        lambda *d: rp.evaluate.log_likelihood(linear.vae, d[0], k=50, contexts=d[1:]).per_datum,
        lambda *d: rp.evaluate.elbo(linear.vae, d[0], contexts=d[1:]).per_datum,
        lambda *d: rp.evaluate.encode(linear.vae, d[0], contexts=d[1:]),
        linear.vae.reconstruct,
    ):
        torch.testing.assert_close(score(x[order], c[order]), score(x, c)[order], atol=1e-10, rtol=0)


def test_samples_given_a_context_have_its_mean_and_covariance(linear):
    """20000 samples, 5 standard errors."""
    c = torch.tensor([[1.5, -2.0]])
    x = linear.vae.sample(20000, c.expand(20000, 2)) - linear.mean(c)
    within(x, torch.zeros(3), se=5)
    within(x.unsqueeze(-1) * x.unsqueeze(-2), linear.covariance, se=5)


def test_encode_decode_and_reconstruct_read_the_context(linear):
    x, c = linear.data(5)
    z = linear.vae.encode(x, c)
    torch.testing.assert_close(linear.vae.decode(z, c), z @ linear.w.T + c @ linear.v.T)
    torch.testing.assert_close(linear.vae.reconstruct(x, c), linear.vae.decode(z, c))
    pair = linear.vae.decode(z.expand(2, 5, 2), torch.stack([c, c + 1]))
    torch.testing.assert_close(pair[1], linear.vae.decode(z, c + 1))


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_contexts_of_no_numbers_are_the_unconditional_model_bit_for_bit(network):
    vae = rp.recipes.vae((4, 5), 2, network=network, hidden=(8,), channels=(4,))
    x, none = torch.rand(6, 4, 5).round(), torch.empty(6, 0)
    draws = []
    for c in ((), (none,)):
        torch.manual_seed(1)
        draws.append(vae(x, *c, k=3))
    assert torch.equal(draws[0].log_w, draws[1].log_w)
    scores = [rp.evaluate.log_likelihood(vae, x, k=20, contexts=c).per_datum for c in ((), (none,))]
    assert torch.equal(*scores)


def test_a_convolutional_model_is_trained_given_contexts():
    x, c = torch.rand(40, 9, 7, 3), torch.eye(2).repeat(20, 1)
    vae = rp.recipes.vae((9, 7, 3), 2, network="conv", channels=(4,), context=2, likelihood="gaussian")
    history = rp.fit(vae, x, contexts=(c,), epochs=3, batch_size=8, lr=1e-2)
    assert history["train_objective"][-1] > history["train_objective"][0]
    assert vae.sample(3, c[:3]).shape == (3, 9, 7, 3)
    assert isinstance(vae.posterior.net, type(conv((9, 7, 3), 2, (4,))))


# ---- what is refused ----


class Trials(rp.Conditional):
    """A binomial whose number of trials is the context: its support is another for each datum."""

    def forward(self, z: Tensor, c: Tensor) -> Independent:
        return Independent(Binomial(c, logits=z[..., :1].expand(*z.shape[:-1], 2)), 1)


def test_every_row_is_held_against_its_own_contexts():
    net = mlp(2, 4, (4,), context=1)
    vae = rp.VAE(rp.priors.StandardNormal(2), Trials(), rp.posteriors.DiagonalGaussian(net))
    x, c = torch.full((1500, 2), 3.0), torch.full((1500, 1), 5.0)
    vae.check(x, c)
    c[1200] = 2.0
    for call in (
        lambda: vae.check(x, c),
        lambda: rp.fit(vae, x, contexts=(c,), epochs=1),
        lambda: rp.evaluate.elbo(vae, x, contexts=(c,)),
    ):
        refused(call, "row 1200")
    c[0], c[1200] = 2.0, 5.0
    refused(lambda: vae.check(x, c), "row 0,")
    refused(lambda: vae.check(x, c[:1]), "each datum needs its own")


def test_contexts_that_do_not_fit_are_refused_in_words(labelled):
    x, c = labelled
    vae = conditional_vae()
    refused(lambda: vae.sample(5, c[:4]), "5 data, but context 0")
    refused(lambda: rp.fit(vae, x, contexts=(c,), validation=x[:50], epochs=1), "validation data")
    refused(lambda: rp.fit(vae, x, epochs=1), "contexts of 3 numbers")
    refused(rp.priors.ConditionalGaussian(mlp(3, 4)), "there are no contexts")
    refused(lambda: rp.priors.ConditionalGaussian(mlp(3, 5))(c), "even number")
    for recipe in (rp.recipes.cvae, rp.recipes.invariant_vae):
        refused(lambda recipe=recipe: recipe(4), "--context NAME")


def test_contexts_of_other_dtypes_are_those_numbers(labelled):
    """Float64 and whole numbers, in a model of float32."""
    x, c = labelled
    vae, held = conditional_vae(), rp.Dataset(x[:50], contexts=(c[:50].double(),))
    rp.fit(vae, x, contexts=(c.double(),), validation=held, epochs=1)
    scores = [rp.evaluate.log_likelihood(vae, x[:9], k=5, contexts=(t[:9],)) for t in (c, c.double(), c.long())]
    assert torch.equal(scores[0].per_datum, scores[1].per_datum)
    assert torch.equal(scores[0].per_datum, scores[2].per_datum)


# ---- priors ----


def test_a_prior_of_several_contexts_reads_them_joined():
    prior, a, b = rp.priors.ConditionalGaussian(mlp(5, 4)), torch.randn(6, 2, 2), torch.randn(6, 1)
    z = torch.randn(3, 6, 2)
    assert torch.equal(prior(a, b).log_prob(z), prior(torch.cat([a.flatten(1), b], 1)).log_prob(z))


def vamp(c: Tensor) -> rp.VAE:
    q = rp.posteriors.DiagonalGaussian(mlp(4, 4, (8,), "tanh", context=3))
    prior = rp.priors.VampPrior(q, 2 * torch.randn(len(c), 4), contexts=(c,))
    return rp.VAE(prior, rp.likelihoods.Gaussian(mlp(2, 4, (8,), context=3), 0.5), q)


@pytest.mark.usefixtures("double")
def test_a_vamp_prior_under_contexts_is_the_mean_of_q_at_pairs_of_input_and_context():
    """One density for all data, whatever their contexts; its mass on a grid of the plane is one."""
    c = torch.eye(3)[[0, 1, 2, 0]]
    prior = vamp(c).prior
    d, z = prior(), torch.randn(7, 2)
    each = [prior.posterior(u.unsqueeze(0), own.unsqueeze(0)).log_prob(z) for u, own in zip(prior.raw, c, strict=True)]
    torch.testing.assert_close(d.log_prob(z), torch.stack(each).logsumexp(0) - math.log(4))
    assert prior(torch.eye(3)).batch_shape == ()
    assert torch.equal(prior(torch.eye(3)).log_prob(z), d.log_prob(z))
    with torch.no_grad():
        points, weights = plane(d)
        assert float((d.log_prob(points).exp() * weights).sum()) == pytest.approx(1, abs=1e-9)
        other = vamp(c.roll(1, 1)).prior
        other.load_state_dict({k: v for k, v in prior.state_dict().items() if k != "context_0"}, strict=False)
        assert float((other().log_prob(z) - d.log_prob(z)).abs().max()) > 1e-3


def test_a_vamp_prior_with_contexts_is_trained_sampled_and_saved(labelled, tmp_path):
    x, c = labelled
    vae = vamp(c[:6])
    history = rp.fit(vae, x, contexts=(c,), epochs=5, batch_size=50, lr=5e-3, out=tmp_path)
    assert history["train_objective"][-1] > history["train_objective"][0]
    again = rp.load(tmp_path)
    scores = [rp.evaluate.log_likelihood(v, x[:20], k=10, contexts=(c[:20],)).per_datum for v in (vae, again)]
    assert torch.equal(*scores)
    assert torch.equal(again.prior.contexts[0], c[:6])
    assert vae.sample(5, c[:5]).shape == (5, 4)
    refused(lambda: rp.priors.VampPrior(vae.posterior, x[:6], contexts=(c[:5],)), "6 pseudo-inputs")
    refused(lambda: rp.priors.VampPrior(vae.posterior, x[:6])(c[:5]), "have 0 contexts")


# ---- recipes ----


def test_a_learned_prior_is_trained_and_saved(labelled, tmp_path):
    """It holds the classes apart: samples of z given a class are as far from another's as the data need."""
    x, c = labelled
    model, objective = rp.recipes.cvae(
        4, 2, context=3, learned_prior=True, likelihood="gaussian", scale=0.5, hidden=(16,)
    )
    rp.fit(model, x, contexts=(c,), objective=objective, epochs=10, batch_size=50, lr=5e-3, out=tmp_path)
    again = rp.load(tmp_path)
    data = rp.Dataset(x[:30], contexts=(c[:30],))
    scores = [rp.evaluate.log_likelihood(v, data, k=10).per_datum for v in (model, again)]
    assert torch.equal(*scores)
    means = model.prior(torch.eye(3)).mean.detach()
    assert float(torch.cdist(means, means)[0, 1:].min()) > 1e-2


def batches(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four numbers of two factors, and a batch that shifts them by a constant."""
    generator = torch.Generator().manual_seed(seed)
    b = torch.randint(2, (n,), generator=generator)
    w = torch.tensor([[1.0, 0, 1, -1], [0, 1, 1, 1]])
    x = torch.randn(n, 2, generator=generator) @ w + 0.3 * torch.randn(n, 4, generator=generator)
    return x + 3 * b.unsqueeze(1) * torch.tensor([1.0, 1, -1, 1]), torch.eye(2)[b]


def told(z: Tensor, c: Tensor, z_test: Tensor, c_test: Tensor) -> float:
    """How often a linear classifier, fitted to one half, tells the batch of the other half from z."""
    ones = [torch.cat([t, torch.ones(len(t), 1)], 1) for t in (z, z_test)]
    plane = torch.linalg.lstsq(ones[0], 2 * c[:, :1] - 1).solution
    return float(((ones[1] @ plane > 0) == (c_test[:, :1] > 0)).float().mean())


def test_a_code_given_the_batch_does_not_tell_it():
    """Chance is 1/2, with a standard error of 0.016 on 1000 rows; without the batch as context z tells it always."""
    (x, c), (x_test, c_test) = batches(1000, 0), batches(1000, 1)
    options = {"likelihood": "gaussian", "scale": 0.3, "hidden": (32,)}
    recipes = {
        "unconditional": (rp.recipes.vae(4, 2, **options), None),
        "cvae": rp.recipes.cvae(4, 2, context=2, **options),
        "invariant": rp.recipes.invariant_vae(4, 2, context=2, **options),
    }
    share, bound = {}, {}
    for name, (model, objective) in recipes.items():
        own, test = ((), ()) if name == "unconditional" else ((c,), (c_test,))
        rp.fit(model, x, contexts=own, objective=objective, epochs=25, batch_size=64, lr=5e-3)
        share[name] = told(model.encode(x, *own), c, model.encode(x_test, *test), c_test)
        bound[name] = rp.evaluate.elbo(model, x_test, k=10, contexts=test).value
    assert share["unconditional"] > 0.95
    assert share["cvae"] < 0.7
    assert share["invariant"] < 0.5 + 4 * 0.016
    assert bound["invariant"] > bound["unconditional"]
