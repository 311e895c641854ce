"""Hierarchies: linear-Gaussian ones have one answer, which every part must give; others obey sums and limits."""

from __future__ import annotations

import json
import math
import tomllib

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

import reparam as rp
from models import Constant, within
from refusals import refused
from reparam.cli.main import main
from reparam.distributions import centre, from_standard_normal, product_of_gaussians
from reparam.networks import mlp
from reparam.objectives import ELBO, IWAE, penalties
from reparam.objectives.elbo import kl_per_dimension
from reparam.posteriors import BottomUp, DiagonalGaussian, FullGaussian, Ladder
from reparam.run import describe, dump_toml, rebuild
from towers import Tower

pytestmark = pytest.mark.usefixtures("double")

ROUNDING = 1e-9  # sums of a dozen terms up to about 100, after systems of condition below 1e4
TOWERS = {"two layers": (2, 3, 5), "three layers": (1, 2, 3, 5), "narrow": (1, 1, 1, 1, 2)}


@pytest.fixture(params=[(name, seed) for name in TOWERS for seed in range(3)], ids=lambda p: "{}-{}".format(*p))
def tower(request):
    name, seed = request.param
    return Tower.random(TOWERS[name], seed)


@pytest.fixture(params=[(name, seed) for name in TOWERS for seed in range(2)], ids=lambda p: "{}-{}".format(*p))
def orthogonal(request):
    name, seed = request.param
    return Tower.random(TOWERS[name], seed, orthogonal=True)


def nonlinear(inference: str = "ladder", sizes: tuple[int, ...] = (3, 2, 1), **options) -> rp.VAE:
    options = {"likelihood": "gaussian", "hidden": (8,), "between": (5,), "features": 6, "activation": "tanh"} | options
    return rp.recipes.hierarchy(4, sizes, inference=inference, **options).double()


# Linear-Gaussian hierarchies


def test_the_prior_is_the_joint_gaussian(tower):
    mean, covariance = tower.joint
    at = torch.cat(tower.places()[:-1])
    truth, p = MultivariateNormal(mean[at], covariance[at][:, at]), tower.prior()()
    z = truth.sample((7, 4)) * 2
    torch.testing.assert_close(p.log_prob(z), truth.log_prob(z), atol=ROUNDING, rtol=0)
    torch.testing.assert_close(centre(p), truth.mean, atol=ROUNDING, rtol=0)


def test_draws_and_given_noise_have_the_law_of_the_joint_gaussian(tower):
    """First and second moments of 20000 draws, 5 se: failure rate 6e-7 for each of at most 20 numbers, 18 times."""
    mean, covariance = tower.joint
    at = torch.cat(tower.places()[:-1])
    p = tower.prior()()
    for z in (p.sample((20000,)), from_standard_normal(p, torch.randn(20000, *p.event_shape))):
        y = z - mean[at]
        within(y, torch.zeros(len(at)), se=5)
        within(y.unsqueeze(-1) * y.unsqueeze(-2), covariance[at][:, at], se=5)


@pytest.mark.parametrize("way", ["exact", "exact_upward"])
@pytest.mark.parametrize("k", [1, 20])
def test_with_the_exact_posterior_every_log_weight_is_log_p_and_every_bound_is_tight(tower, way, k):
    x = tower.data(10)
    vae, truth = getattr(tower, way)(), tower.log_p(x)
    draw = vae(x, k=k)
    torch.testing.assert_close(draw.log_w, truth.expand(k, -1), atol=ROUNDING, rtol=0)
    for objective in (ELBO(k, estimator="A"), IWAE(k)):
        torch.testing.assert_close(objective.bound(draw), truth, atol=ROUNDING, rtol=0)
    assert draw.kl_exact is None
    torch.testing.assert_close(vae.encode(x), tower.posterior_mean(x), atol=ROUNDING, rtol=0)


def test_a_ladder_is_exact_where_all_maps_are_orthogonal(orthogonal):
    """p(z_l | z_{l+1}, x) is then the product of p(z_l | z_{l+1}) and a diagonal Gaussian message, as of Sønderby."""
    x = orthogonal.data(10)
    vae, truth = orthogonal.ladder(), orthogonal.log_p(x)
    draw = vae(x, k=5)
    torch.testing.assert_close(draw.log_w, truth.expand(5, -1), atol=ROUNDING, rtol=0)
    torch.testing.assert_close(vae.encode(x), orthogonal.posterior_mean(x), atol=ROUNDING, rtol=0)
    for estimator, at in (("A", 0.0), ("auto", None)):
        missed = truth - ELBO(5, estimator=estimator).bound(draw)
        if at is not None:
            torch.testing.assert_close(missed, torch.zeros(10), atol=ROUNDING, rtol=0)
    wide = orthogonal.ladder(spread=1.5)
    assert bool((truth - rp.evaluate.elbo(wide, x, k=2000).per_datum > 0.001).all())


def test_the_elbo_by_layers_is_log_p_in_expectation_at_the_exact_posterior(tower):
    """The KL of each layer is in closed form, what remains varies: 4 se, failure rate 6e-5 for each of 9 models."""
    x = tower.data(500)
    within(rp.evaluate.elbo(tower.exact(), x, k=5).per_datum - tower.log_p(x), 0.0)


def test_the_landing_sticks_at_an_exact_ladder(orthogonal):
    """Without the score of q no gradient of the posterior's own networks has variance where q is exact."""
    x, vae = orthogonal.data(5), orthogonal.ladder()
    draw = vae(x, k=3)
    objective = ELBO(3, gradient="stl")
    objective.surrogate(draw, objective.bound(draw)).sum().backward()
    for head in vae.posterior.heads:
        assert float(head.weight.grad.abs().max()) < 1e-8


def test_importance_sampling_by_a_poor_ladder_is_the_marginal_likelihood(tower):
    """Mean weight over p(x) is 1: 20000 samples of each of 6 rows, 4 se, failure rate 6e-5 each, 54 times.

    Wider messages than p(x|z_l) keep the weights' variance finite, as no map is orthogonal.
    """
    x = tower.data(6)
    with torch.no_grad():
        draw = tower.ladder(spread=2.0)(x, k=20000)
        ratio = (draw.log_w - tower.log_p(x)).exp()
    within(ratio, 1.0)
    assert float(ratio.std()) > 0.01


@pytest.mark.thorough
def test_annealed_importance_sampling_agrees_with_the_marginal():
    """64 chains of 4 rows of a hierarchy of 1 + 2 + 3: the mean weight over p(x) is 1, 4 se."""
    tower = Tower.random((1, 2, 3, 5), seed=1)
    x, vae = tower.data(4), tower.ladder(spread=2.0)
    for start in ("prior", "posterior"):
        spread = []
        for steps in (1, 40):
            plan = rp.evaluate.Annealing(steps=steps, leapfrog=5, start=start)
            with torch.no_grad():
                parts = list(plan.chains(vae, rp.Dataset(x), 64, 0))
            ratio = (torch.cat([forward for _, forward, _ in parts]) - tower.log_p(x)).exp()
            spread.append(ratio.std(0).mean())
        within(ratio, 1.0)
        assert float(spread[1]) < 0.5 * float(spread[0])  # the chains do more than importance sampling from their start
    estimate = rp.evaluate.log_likelihood(vae, x, k=16, method="ais", steps=40, leapfrog=5)
    assert float((estimate.per_datum - tower.log_p(x)).abs().max()) < 0.5


def test_quadrature_over_a_hierarchy_of_one_and_one():
    tower = Tower.random((1, 1, 3), seed=0)
    x = tower.data(5)
    estimate = rp.evaluate.log_likelihood(tower.ladder(), x, method="exact")
    torch.testing.assert_close(estimate.per_datum, tower.log_p(x), atol=1e-6, rtol=0)
    larger = Tower.random((2, 3, 5), 0)
    refused(lambda: rp.evaluate.log_likelihood(larger.ladder(), larger.data(3), method="exact"))


# KL by layer


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_the_layers_sum_to_the_kl(inference):
    vae, x = nonlinear(inference), torch.randn(30, 4)
    draw = vae(x, k=7)
    assert draw.kl_layers.shape == (3, 30)
    torch.testing.assert_close(draw.kl_layers.sum(0), draw.kl, atol=1e-12, rtol=0)
    layers = rp.evaluate.kl_per_layer(vae, x, k=7, seed=3)
    terms = rp.evaluate.elbo_terms(vae, x, k=7, seed=3)
    torch.testing.assert_close(sum(e.per_datum for e in layers), terms.kl.per_datum, atol=1e-12, rtol=0)
    assert [e.k for e in layers] == [7, 7, 7]
    if inference == "bottom_up":  # log ratios: the very Monte Carlo estimate of the whole
        torch.testing.assert_close(draw.kl, draw.kl_monte_carlo, atol=1e-12, rtol=0)


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_the_kl_of_a_layer_is_the_mean_log_ratio(inference):
    """By brute force, with the layers' densities written out: 40000 draws, differences within 5 se, 6e-7 for each."""
    vae, x, k = nonlinear(inference), torch.randn(3, 4), 40000
    with torch.no_grad():
        draw = vae(x, k=k)
        z = dict(zip((3, 2, 1), draw.z.split((1, 2, 3), -1), strict=True))
        log_q, log_p = by_hand(vae, x, z)
        for i, layer in enumerate((3, 2, 1)):
            ratio = log_q[layer] - log_p[layer]
            (once,) = (rp.evaluate.kl_per_layer(vae, x, k=5000, seed=5)[i].per_datum,)
            within(ratio - once, 0.0, se=5, bias=5 * float(ratio.std()) / math.sqrt(5000))


def by_hand(vae: rp.VAE, x: Tensor, z: dict[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """log q and log p of each layer of a nonlinear hierarchy of three, from its networks."""

    def normal(mean: Tensor, log_variance: Tensor, value: Tensor) -> Tensor:
        return (-(value - mean).square() / log_variance.exp() - log_variance - math.log(2 * math.pi)).sum(-1) / 2

    down = dict(zip((2, 1), vae.prior.layers[1:], strict=True))
    p = {layer: down[layer].net(z[layer + 1]).chunk(2, -1) for layer in (2, 1)}
    p[3] = torch.zeros(1), torch.zeros(1)
    if isinstance(vae.posterior, Ladder):
        q, d = {}, x
        for layer, up, head in zip((1, 2, 3), vae.posterior.ups, vae.posterior.heads, strict=True):
            d = up(d)
            mean, log_variance = head(d).chunk(2, -1)
            precision = (-log_variance).exp() + (-p[layer][1]).exp()
            centre = (mean * (-log_variance).exp() + p[layer][0] * (-p[layer][1]).exp()) / precision
            q[layer] = centre, -precision.log()
    else:
        nets = [layer.net for layer in vae.posterior.layers]
        q = {i + 1: nets[i](z[i] if i else x).chunk(2, -1) for i in range(3)}
    return tuple({i: normal(*each[i], z[i]) for i in (1, 2, 3)} for each in (q, p))


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_a_joint_log_density_is_the_sum_over_layers_for_any_z(inference):
    vae, x = nonlinear(inference), torch.randn(5, 4)
    z = 2 * torch.randn(6, 5, 6)
    log_q, log_p = by_hand(vae, x, dict(zip((3, 2, 1), z.split((1, 2, 3), -1), strict=True)))
    for d, expected in ((vae.posterior(x), log_q), (vae.prior(), log_p)):
        torch.testing.assert_close(d.log_prob(z), sum(expected.values()), atol=1e-10, rtol=0)
        drawn = d.rsample((6,) if d.batch_shape else (6, 5))  # what is remembered of a draw changes nothing
        torch.testing.assert_close(d.log_prob(drawn), d.log_prob(drawn.clone()), atol=1e-12, rtol=0)


def test_a_closed_form_for_each_layer_has_less_variance_than_log_ratios():
    """Rao-Blackwell: the part of the ratio of a layer given the layer above is averaged out."""
    vae, x = nonlinear(), torch.randn(1, 4).expand(20000, 4)
    with torch.no_grad():
        draw = vae(x)
        ratios = (draw.log_qz - draw.log_pz)[0]
        within(draw.kl - ratios, 0.0, se=5)
        assert float(draw.kl.std()) < 0.5 * float(ratios.std())
        assert float(draw.kl_layers[0].std()) < 1e-12  # nothing stands above the top


def test_the_gradient_of_the_kl_by_layers_is_that_of_the_monte_carlo_kl():
    """Means over 100 draws of 500: equal in expectation for every parameter, 5 se of 400 numbers."""
    vae, x = nonlinear(), torch.randn(1, 4)
    parameters = [p for m in (vae.prior, vae.posterior) for p in m.parameters()]
    differences = []
    for _ in range(100):
        draw = vae(x, k=500)
        gap = (draw.kl - draw.kl_monte_carlo).sum()
        gradients = torch.autograd.grad(gap, list(dict.fromkeys(parameters)), allow_unused=True)
        differences.append(torch.cat([g.flatten() for g in gradients if g is not None]))
    within(torch.stack(differences), 0.0, se=5)


def test_messages_that_say_nothing_leave_the_prior_at_a_kl_of_zero():
    """Log-variances of 80 are bounded at a scale of 1e7: precisions of 1e-14 beside those of the prior."""
    vae = nonlinear()
    silent = [Constant(torch.cat([torch.randn(size), torch.full((size,), 80.0)])) for size in (3, 2, 1)]
    vae.posterior = Ladder(vae.prior, vae.posterior.ups, silent)
    x = torch.randn(9, 4)
    draw = vae(x, k=4)
    torch.testing.assert_close(draw.kl_layers, torch.zeros(3, 9), atol=1e-12, rtol=0)
    torch.testing.assert_close(draw.log_qz, draw.log_pz, atol=1e-10, rtol=0)
    assert rp.evaluate.elbo_terms(vae, x).kl.value == pytest.approx(0, abs=1e-12)


def test_the_product_of_two_gaussians_is_their_normalised_product():
    a, b = (Independent(Normal(torch.randn(4, 1), torch.rand(4, 1) + 0.1), 1) for _ in range(2))
    grid = torch.linspace(-20, 20, 40001).reshape(-1, 1, 1)
    both = a.log_prob(grid) + b.log_prob(grid)
    step = float(grid[1, 0, 0] - grid[0, 0, 0])
    expected = both - torch.logsumexp(both, 0) - math.log(step)
    torch.testing.assert_close(product_of_gaussians(a, b).log_prob(grid), expected, atol=1e-8, rtol=1e-8)
    for other in (MultivariateNormal(torch.zeros(1), torch.eye(1)), Normal(0.0, 1.0)):
        refused(lambda other=other: product_of_gaussians(a, other), "diagonal Gaussians", type(other).__name__)


# Objectives


def test_free_nats_count_each_dimension_given_the_layer_above():
    vae, x = nonlinear(), torch.randn(6, 4)
    draw = vae(x, k=3)
    each = kl_per_dimension(draw)
    assert each.shape == (6, 6)
    torch.testing.assert_close(each.sum(-1), draw.kl, atol=1e-12, rtol=0)
    for layer, part in zip(draw.kl_layers, each.split((1, 2, 3), -1), strict=True):
        torch.testing.assert_close(part.sum(-1), layer, atol=1e-12, rtol=0)
    floor = float(each.detach().median())
    bound = ELBO(3, free_nats=floor).bound(draw)
    torch.testing.assert_close(bound, draw.reconstruction - each.clamp_min(floor).sum(-1), atol=1e-12, rtol=0)
    assert bool((bound < ELBO(3).bound(draw)).all())
    upward = nonlinear("bottom_up")(x)
    refused(lambda: ELBO(free_nats=0.1).bound(upward), "KL of each dimension")
    refused(lambda: ELBO(estimator="B").bound(draw), "closed form")


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
@pytest.mark.parametrize("objective", [ELBO(2), ELBO(2, gradient="stl"), IWAE(3, "dreg")], ids=repr)
def test_gradients_reach_every_network(inference, objective):
    vae, x = nonlinear(inference), torch.randn(10, 4)
    draw = vae(x, k=objective.k)
    objective.surrogate(draw, objective.bound(draw)).sum().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_the_density_at_draws_of_other_rows_is_that_of_each_pair():
    """What the batch penalties ask for: z (K, B, 1, D) against q of batch (B,)."""
    for inference in ("ladder", "bottom_up"):
        vae, x = nonlinear(inference), torch.randn(4, 4)
        draw = vae(x, k=2)
        pairs = draw.q.log_prob(draw.z.unsqueeze(2))
        for i in range(4):
            alone = vae.posterior(x[i : i + 1]).log_prob(draw.z)
            torch.testing.assert_close(pairs[:, :, i], alone, atol=1e-10, rtol=0)
        assert math.isfinite(float(penalties.MutualInformation()(draw, 100).detach()))
        refused(lambda draw=draw: penalties.TotalCorrelation()(draw, 100))


# Everything that takes a latent


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_scores_belong_to_the_row_the_seed_and_k(inference):
    vae, x = nonlinear(inference), torch.randn(6, 4)
    for method in ("importance", "prior", "mixture"):
        whole = rp.evaluate.log_likelihood(vae, x, k=30, method=method).per_datum
        other = rp.evaluate.log_likelihood(vae, x[[4, 1]], k=30, method=method, chunk=7).per_datum
        torch.testing.assert_close(other, whole[[4, 1]], atol=1e-10, rtol=0)
        assert torch.equal(whole, rp.evaluate.log_likelihood(vae, x, k=30, method=method).per_datum)
        assert not torch.equal(whole, rp.evaluate.log_likelihood(vae, x, k=30, method=method, seed=1).per_datum)


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_a_hierarchy_is_saved_once_and_loaded_with_the_same_bits(inference, tmp_path):
    vae, x = nonlinear(inference), torch.randn(5, 4)
    names = set(vae.state_dict())
    assert len(names) == len(list(vae.parameters()))  # the shared networks stand there once
    rp.save(vae, tmp_path)
    again = rebuild(tomllib.loads(dump_toml(describe(vae)))).double()
    again.load_state_dict(vae.state_dict())
    for other in (rp.load(tmp_path), again):
        if inference == "ladder":
            assert other.posterior.prior is other.prior
        for seed in (0, 1):
            a, b = (rp.evaluate.log_likelihood(m, x, k=9, seed=seed).per_datum for m in (vae, other))
            assert torch.equal(a, b)
        assert torch.equal(other.encode(x), vae.encode(x))
        assert describe(other) == describe(vae)


def test_a_network_shared_between_layers_is_shared_when_rebuilt():
    """A reference may lead through the list of layers."""
    net = mlp(2, 4, (3,))
    layers = [rp.priors.StandardNormal(2), DiagonalGaussian(net), DiagonalGaussian(net)]
    vae = nonlinear()
    vae.prior = rp.priors.TopDown(layers, (2, 2, 2))
    again = rebuild(tomllib.loads(dump_toml(describe(vae))))
    assert again.prior.layers[1].net is again.prior.layers[2].net
    assert again.prior is not again.posterior.prior


def conditional_vae() -> rp.VAE:
    prior = rp.priors.TopDown([rp.priors.StandardNormal(1), DiagonalGaussian(mlp(1, 4, (5,), context=3))], (1, 2))
    posterior = Ladder(prior, [mlp(4, 6, (5,), context=3), mlp(6, 6, (5,), context=3)], [mlp(6, 4), mlp(6, 2)])
    return rp.VAE(prior, rp.likelihoods.Gaussian(rp.networks.Lowest(mlp(2, 4, (5,), context=3), 2)), posterior)


def test_contexts_reach_every_layer():
    vae, x, c = conditional_vae(), torch.randn(6, 4), torch.randn(6, 3)
    draw = vae(x, c, k=5)
    assert draw.p.batch_shape == draw.q.batch_shape == (6,)
    assert draw.log_pz.shape == draw.log_qz.shape == (5, 6)
    other = vae.at(draw.z, x, c + 1)
    for layers, again in zip((draw.q, draw.p), (other.q, other.p), strict=True):
        for i, (a, b) in enumerate(zip(layers.layers(draw.z), again.layers(draw.z), strict=True)):
            assert torch.equal(a.mean, b.mean) == (layers is draw.p and i == 0)  # the prior's top is N(0, I)
    alone = torch.cat([vae.at(draw.z[:, i : i + 1], x[i : i + 1], c[i : i + 1]).log_w for i in range(6)], 1)
    torch.testing.assert_close(draw.log_w, alone, atol=1e-10, rtol=0)
    assert vae.sample(6, c).shape == vae.reconstruct(x, c).shape == (6, 4)
    assert rp.evaluate.log_likelihood(vae, x, k=20, contexts=(c,)).per_datum.shape == (6,)
    sandwich = rp.evaluate.bdmc(vae, n=6, k=2, contexts=(c,), steps=3)
    assert math.isfinite(sandwich.lower.value)
    layers = rp.evaluate.kl_per_layer(vae, x, contexts=(c,))
    assert len(layers) == 2


def test_training_records_the_layers_and_resumes_with_the_same_bits(tmp_path):
    x = torch.randn(60, 4).float()
    records = []
    for out, epochs in ((tmp_path / "whole", (4,)), (tmp_path / "parts", (2, 4))):
        for i, end in enumerate(epochs):
            torch.manual_seed(0)
            vae = nonlinear().float()
            options = {"epochs": end, "batch_size": 16, "validation": 0.2, "resume": i > 0, "progress": False}
            history = rp.fit(vae, x, out=out, **options)
        records.append([{k: v for k, v in r.items() if k[-7:] != "seconds" and k[:4] != "rows"} for r in history])
    assert records[0] == records[1]
    for record in records[0]:
        assert len(record["train_kl_layers"]) == 3
        assert sum(record["train_kl_layers"]) == pytest.approx(record["train_kl"], abs=1e-5)
    plain = rp.recipes.vae(4, 2, likelihood="gaussian", hidden=(4,)).float()
    assert "train_kl_layers" not in rp.fit(plain, x, epochs=1, progress=False).records[0]
    assert rp.evaluate.kl_per_layer(plain, x) == ()


@pytest.mark.thorough
def test_a_hierarchy_learns_what_its_layers_can_say():
    """Two coins of which each decides three noisy bits: 2 log 2 nats in z, and no more than there are."""
    coins = (torch.rand(512, 2) < 0.5).float()
    x = (coins.repeat(1, 3) - (torch.rand(512, 6) < 0.05).float()).abs()
    for inference in ("ladder", "bottom_up"):
        torch.manual_seed(0)
        vae = rp.recipes.hierarchy(6, (2, 1), inference=inference, hidden=(32,), between=(16,), features=16).float()
        warm_up = ELBO(beta=rp.schedules.Linear(0, 1, over=0.3))
        rp.fit(vae, x.float(), objective=warm_up, epochs=40, batch_size=32, lr=5e-3, progress=False)
        value = rp.evaluate.log_likelihood(vae, x.float(), k=500).value
        truth = -2 * math.log(2) + 6 * (0.95 * math.log(0.95) + 0.05 * math.log(0.05))
        assert truth - 0.25 < value < truth + 0.15  # the sampling of 512 rows; an unstructured model is at -4.16


def test_what_makes_no_hierarchy_is_refused():
    normal, prior = rp.priors.StandardNormal, rp.priors.TopDown
    net = DiagonalGaussian(mlp(2, 6, (3,)))
    refused(lambda: prior([normal(2), net], (2,)), "a size for each")
    refused(lambda: prior([], ()), "a size for each")
    refused(lambda: prior([normal(2), net], (2, 4))().sample(), "layer 2", "(3,)", "(4,)")
    refused(lambda: BottomUp([net], (3, 1)), "a size for each")
    ups, heads = [nn.Identity()], [mlp(4, 4, (3,))]
    refused(lambda: Ladder(normal(2), ups, [*heads, *heads]), "a head for each")
    for other in (normal(2), prior([normal(2), net], (2, 3))):
        refused(lambda other=other: Ladder(other, ups, heads)(torch.zeros(1, 4)), "a prior of as many")
    full = prior([rp.priors.Gaussian(torch.zeros(2), torch.eye(2))], (2,))
    refused(lambda: Ladder(full, ups, heads)(torch.zeros(1, 4)), "diagonal Gaussians")
    refused(lambda: rp.recipes.hierarchy(4, (2, 0)), "sizes of the layers")
    refused(lambda: rp.recipes.hierarchy(4, (2, 1), inference="sideways"), "inference")
    refused(lambda: rp.recipes.hierarchy(4, (2, 1), posterior="full"), "posterior of its own")


def test_layers_of_families_without_closed_form_fall_back_to_log_ratios():
    """A top layer with a full covariance against a Laplace: the term is a log ratio, and sums hold."""
    top, low = rp.priors.TopDown([Wrapped(), DiagonalGaussian(mlp(2, 2, (3,)))], (2, 1)), FullGaussian(mlp(4, 5, (3,)))
    down = rp.posteriors.TopDown([low, DiagonalGaussian(mlp(2, 2, (3,), context=4))], (2, 1))
    vae = rp.VAE(top, rp.likelihoods.Gaussian(mlp(3, 4, (3,))), down)
    draw = vae(torch.randn(5, 4), k=3)
    first = (draw.q.layers(draw.z)[0].log_prob(draw.z[..., :2]) - top.layers[0]().log_prob(draw.z[..., :2])).mean(0)
    torch.testing.assert_close(draw.kl_layers[0], first, atol=1e-12, rtol=0)
    second = kl_divergence(draw.q.layers(draw.z)[1], draw.p.layers(draw.z)[1]).mean(0)
    torch.testing.assert_close(draw.kl_layers[1], second, atol=1e-12, rtol=0)


class Wrapped(rp.Conditional):
    """A Laplace prior."""

    def forward(self, *c: Tensor) -> Independent:
        return Independent(torch.distributions.Laplace(torch.zeros(2), torch.ones(2)), 1)


def test_the_command_trains_evaluates_samples_and_encodes_a_ladder(tmp_path, capsys):
    data, run = tmp_path / "x.npy", str(tmp_path / "run")
    np.save(data, (torch.rand(80, 6) < 0.5).float().numpy())
    words = ["--recipe", "ladder_vae", "--latent-dim", "4", "--epochs", "2", "--hidden", "[8]"]
    assert main(["train", str(data), "--out", run, *words]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, str(data), "--k", "20", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert len(numbers["kl_layers"]) == 3
    assert sum(numbers["kl_layers"]) == pytest.approx(numbers["kl"], abs=1e-6)
    assert numbers["latent_dim"] == 7
    assert main(["sample", run, "-n", "3", "--out", str(tmp_path / "s.npy")]) == 0
    assert main(["encode", run, str(data), "--out", str(tmp_path / "z.npy")]) == 0
    assert np.load(tmp_path / "s.npy").shape == (3, 6)
    assert np.load(tmp_path / "z.npy").shape == (80, 7)
