"""Annealed importance sampling: its kernels keep their densities, its weights are unbiased, its bounds hold."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, OneHotCategorical, Uniform

import reparam as rp
from models import FullPrior, Function, LaplacePosterior, LinearGaussian, within
from refusals import refused
from reparam.evaluate.annealing import simulated
from reparam.evaluate.hmc import Block, ChainNoise, blocks, leapfrog, path, transition

pytestmark = pytest.mark.usefixtures("double")


def curved(dim: int = 2, size: int = 4) -> rp.VAE:
    """A random decoder with a bend in it, and a random encoder."""
    encoder = rp.posteriors.DiagonalGaussian(rp.networks.mlp(size, 2 * dim, (6,), "tanh"))
    decoder = rp.networks.mlp(dim, size, (8,), "tanh")
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
    return rp.VAE(rp.priors.StandardNormal(dim), rp.likelihoods.Gaussian(decoder, 0.5), encoder)


def path_of(vae: rp.VAE, x: torch.Tensor, start: str = "prior"):
    with torch.no_grad():
        p = vae.prior()
        return path(vae, x, (), p if start == "prior" else vae.posterior(x), p)


# Leapfrog.


def test_the_state_of_a_chain_has_the_gradients_of_its_densities():
    """Against central differences of log r and log p(x, z) / r, whose error is about 1e-9 here."""
    vae, x = curved(), torch.randn(3, 4)
    for start in ("prior", "posterior"):
        at, z, h = path_of(vae, x, start), torch.randn(5, 3, 2), 1e-5
        state = at(z)
        for i, step in enumerate(torch.eye(2) * h):
            above, below = at(z + step), at(z - step)
            for name in ("base", "ratio"):
                slope = (getattr(above, name) - getattr(below, name)) / (2 * h)
                torch.testing.assert_close(getattr(state, f"d_{name}")[..., i], slope, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(state.base + state.ratio, vae(x).p.log_prob(z) + vae.at(z, x).log_px)


def test_leapfrog_is_reversible():
    vae, x = curved(), torch.randn(3, 4)
    at, v, size = path_of(vae, x), torch.randn(7, 3, 2), torch.full((7, 3, 1), 0.2)
    state = at(torch.randn(7, 3, 2))
    there, w, astray = leapfrog(at, state, v, size, 0.6, 8)
    assert float((there.z - state.z).abs().min()) > 1e-3
    back, u, _ = leapfrog(at, there, -w, size, 0.6, 8)
    torch.testing.assert_close(back.z, state.z, atol=1e-10, rtol=0)
    torch.testing.assert_close(u, -v, atol=1e-10, rtol=0)
    assert not bool(astray.any())


def test_leapfrog_keeps_volume():
    """The determinant of the Jacobian of (z, v), by central differences with an error of about 1e-8, is one."""
    vae, x, h = curved(), torch.randn(1, 4), 1e-5
    start = torch.randn(4)
    moved = torch.cat([start + h * torch.eye(4), start - h * torch.eye(4)]).unsqueeze(1)
    at = path_of(vae, x)
    state, v, _ = leapfrog(at, at(moved[..., :2]), moved[..., 2:], torch.full((8, 1, 1), 0.3), 0.8, 5)
    out = torch.cat([state.z, v], -1)[:, 0]
    jacobian = (out[:4] - out[4:]) / (2 * h)
    assert float((jacobian - torch.eye(4)).abs().max()) > 0.1
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-6)


def test_the_energy_error_of_leapfrog_falls_with_the_square_of_the_step():
    """Slope of log error on log step at a fixed length of the path: 2 to 0.1."""
    vae, x = curved(), torch.randn(1, 4)
    at, z, v = path_of(vae, x), torch.randn(50, 1, 2), torch.randn(50, 1, 2)
    before = at(z)
    errors = []
    for steps in (16, 32, 64, 128):
        after, w, _ = leapfrog(at, before, v, torch.full((50, 1, 1), 0.8 / steps), 1.0, steps)
        change = after.log_density(1) - before.log_density(1) - (w.square() - v.square()).sum(-1) / 2
        errors.append(float(change.abs().mean()))
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes[-1] == pytest.approx(2, abs=0.1)


def test_a_trajectory_that_diverges_stays_where_it_was():
    model = LinearGaussian.random(2, 3, 0)
    x = model.data(2)
    at, noise = path_of(model.exact(), x), ChainNoise(x, 0, "", 0, 5)
    state = at(torch.randn(5, 2, 2))
    for size in (1e3, 1e150, math.inf):
        new, accept = transition(at, state, 1.0, torch.full((2,), size), noise, 20)
        assert torch.equal(new.z, state.z)
        assert float(accept.max()) == 0
        assert all(bool(t.isfinite().all()) for t in new)


# One transition.


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_transition_keeps_its_density_and_is_in_detailed_balance(beta):
    """20000 chains from exact samples of the density at beta, a Gaussian: after 3 transitions of acceptance well below
    one their moments are the same, and E f(z) g(z') = E g(z) f(z'). 5 se: failure rate 6e-7 for each of 9 numbers."""
    model = LinearGaussian.random(2, 3, seed=1)
    x = model.data(1)
    precision = torch.eye(2) + beta * model.w.T @ model.w / model.s**2
    mean = torch.linalg.solve(precision, beta * (x[0] - model.b) @ model.w / model.s**2)
    exact = MultivariateNormal(mean, precision_matrix=precision)
    at, noise = path_of(model.exact(), x), ChainNoise(x, 0, "", 0, 20000)
    first = state = at(exact.sample((20000, 1)))
    size = 1.6 * exact.variance.min().sqrt().expand(1)
    for _ in range(3):
        before = state
        state, accept = transition(at, state, beta, size, noise, 3)
        assert 0.3 < float(accept.mean()) < 0.95
    z, old = state.z[:, 0] - mean, before.z[:, 0] - mean
    assert float((z - first.z[:, 0]).abs().mean()) > 0.1
    within(z, torch.zeros(2), se=5)
    within(z.unsqueeze(-1) * z.unsqueeze(-2), exact.covariance_matrix, se=5)
    for i, g in ((0, lambda t: t[:, 1]), (0, lambda t: t[:, 0] ** 3), (1, lambda t: t[:, 0] ** 2)):
        within(old[:, i] * g(z) - z[:, i] * g(old), torch.tensor(0.0), se=5)


def test_a_transition_keeps_a_density_that_is_not_gaussian():
    """20000 chains from a one-dimensional posterior on a fine grid: its distribution function at the deciles, 5 se."""
    vae, x = curved(1), torch.randn(1, 4)
    grid = torch.linspace(-8, 8, 20001)
    with torch.no_grad():
        draw = vae.at(grid[:, None, None], x)
    cdf = (draw.log_px + draw.log_pz)[:, 0].softmax(0).cumsum(0)
    start = grid[torch.searchsorted(cdf, torch.rand(20000)).clamp_max(20000)] + (torch.rand(20000) - 0.5) * 8e-4
    at, noise = path_of(vae, x), ChainNoise(x, 0, "", 0, 20000)
    state = at(start[:, None, None])
    for _ in range(3):
        state, accept = transition(at, state, 1.0, 1.3 * start.std().expand(1), noise, 3)
    assert 0.2 < float(accept.mean()) < 0.97
    deciles = torch.linspace(0.1, 0.9, 9)
    points = grid[torch.searchsorted(cdf, deciles)]
    # the grid shifts the distribution function by less than 1e-3 times its largest density
    within((state.z[:, 0] <= points).double(), deciles, se=5, bias=1e-3)


# Weights.


@pytest.mark.parametrize("start", ["prior", "posterior"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_the_mean_weight_is_p_of_x(start, steps, schedule):
    """336 chains for each of 48 data, in one block: independent, as the pilot fixes the step sizes before any of them
    moves. 4 se: failure rate 6e-5. Weights are bounded or of finite variance."""
    model = LinearGaussian.random(1, 2, seed=3, s=1.0)
    x, vae = model.data(48), model.diagonal(1.4 / model.precision.diagonal())
    plan = rp.evaluate.Annealing(steps, 2, start, schedule)
    with torch.no_grad():
        log_w = torch.cat([forward for _, forward, _ in plan.chains(vae, rp.Dataset(x), 336, 0)])
    assert log_w.shape == (336, 48)
    within((log_w - model.log_p(x)).exp().flatten(), torch.tensor(1.0))


@pytest.mark.thorough
@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_the_mean_weight_backward_is_one_over_p_of_x(start):
    """800 data with an exact sample of p(z|x) each, 4 se; with 8 steps the weights have a finite variance."""
    model = LinearGaussian.random(1, 2, seed=3, s=1.0)
    z = torch.randn(800, 1)
    x = z @ model.w.T + model.b + model.s * torch.randn(800, 2)
    vae = model.diagonal(1.4 / model.precision.diagonal())
    plan = rp.evaluate.Annealing(8, 2, start, "linear")
    with torch.no_grad():
        parts = [(at, back) for at, _, back in plan.chains(vae, rp.Dataset(x), 1, 0, exact=z)]
    log_w = torch.cat([back[0] for _, back in parts])
    within((log_w + model.log_p(x)).exp(), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("dim", "start"),
    [
        *((1, "posterior"), (2, "prior"), (4, "posterior"), (8, "prior")),
        *(pytest.param(*case, marks=pytest.mark.thorough)
          for case in ((1, "prior"), (2, "posterior"), (4, "prior"), (8, "posterior"))),
    ],
)  # fmt: skip
def test_annealing_finds_the_exact_answer(dim, start):
    """20 rows, 4 se of the Monte Carlo noise: failure rate 6e-5 each. The bias is that of a log-mean, Var w / 2k, read
    from the effective sample size; the noise is that of the rows, whose log p(x) is known."""
    model = LinearGaussian.random(dim, dim + 2, seed=dim)
    x = model.data(20)
    vae = model.diagonal(0.5 / model.precision.diagonal())
    estimate = rp.evaluate.log_likelihood(vae, x, method="ais", steps=150, leapfrog=5, start=start)
    bias = float(((16 / estimate.ess - 1) / 32).mean())
    assert bias < 0.2
    within(estimate.per_datum - model.log_p(x), torch.tensor(0.0), bias=2 * bias)
    assert (estimate.k, estimate.method) == (16, "ais")


def test_more_steps_tighten_the_bound_where_the_encoder_says_nothing():
    model = LinearGaussian.random(4, 6, seed=2)
    x, vae = model.data(20), model.prior_as_posterior()
    gaps = [
        float((model.log_p(x) - rp.evaluate.log_likelihood(vae, x, 8, "ais", steps=s, leapfrog=5).per_datum).mean())
        for s in (1, 10, 100)
    ]
    assert gaps[0] > 1.5 * gaps[1] > 2.25 * gaps[2]
    assert gaps[2] < 0.5


@pytest.mark.parametrize("dim", [1, 4])
def test_the_sandwich_holds_and_closes(dim):
    """50 data, 4 se for each side: failure rate 6e-5 each. The gap is above 0 in expectation, so that of 50 data may
    lie below by its noise, where it has closed."""
    model = LinearGaussian.random(dim, dim + 2, seed=7)
    vae, gaps = model.diagonal(), []
    x = simulated(vae, 50, 3)[0].x
    for steps in (10, 100):
        lower, upper = rp.evaluate.bdmc(vae, 50, 8, seed=3, steps=steps, leapfrog=5)
        truth = model.log_p(x)
        for excess in (lower.per_datum - truth, truth - upper.per_datum):
            assert float(excess.mean()) < 4 * float(excess.std()) / math.sqrt(50) + 1e-12
        gaps.append(upper.value - lower.value)
        assert abs(lower.value - model.mean_log_p) < 4 * lower.stderr + gaps[-1]
    each = upper.per_datum - lower.per_datum
    assert -4 * float(each.std()) / math.sqrt(50) < gaps[1] < 0.5 * gaps[0]
    assert gaps[0] > 0


def test_the_sandwich_holds_for_binary_data_against_quadrature():
    """25 data, 4 se for each side."""
    torch.manual_seed(5)
    vae = rp.recipes.vae(6, 2, hidden=(8,), activation="tanh")
    x = simulated(vae, 25, 0)[0].x
    truth = rp.evaluate.log_likelihood(vae, x, method="exact").per_datum
    lower, upper = rp.evaluate.bdmc(vae, 25, 4, steps=20, leapfrog=3, start="posterior")
    for excess in (lower.per_datum - truth, truth - upper.per_datum):
        assert float(excess.mean()) < 4 * float(excess.std()) / math.sqrt(25)
    assert (lower.method, upper.method) == ("ais", "reverse ais")


# A row's value belongs to the row, and chains know nothing of each other.


def laplace() -> rp.VAE:
    """Neither part of q's family nor the prior is reparam's."""
    net = rp.networks.mlp(3, 4, ())
    with torch.no_grad():
        net.last.weight[2:] = 0
        net.last.bias[2:] = -1
    model = LinearGaussian.random(2, 3, seed=4)
    return model.vae(LaplacePosterior(net), FullPrior(torch.zeros(2), torch.eye(2)))


VAES = {"curved": lambda: curved(2, 3), "laplace and full prior": laplace}


@pytest.mark.parametrize("name", list(VAES))
@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_a_row_has_one_value_whatever_stands_beside_it_and_however_it_is_cut(name, start):
    """The chains of the curved model enlarge rounding of 1e-16 to 0.01 nats, and still the values are the same to 1e-9:
    nothing rounds differently."""
    vae, x = VAES[name](), torch.randn(4, 3)

    def values(rows, **options):
        given = {"steps": 12, "leapfrog": 2, "start": start, **options}
        return rp.evaluate.log_likelihood(vae, rows, 20, "ais", **given).per_datum

    whole = values(x)
    torch.manual_seed(99)
    assert torch.equal(values(x), whole)
    order = torch.randperm(4)
    for got, expected in (
        (torch.cat([values(x[i : i + 1]) for i in range(4)]), whole),
        (values(x[order]), whole[order]),
        (values(x[1:3]), whole[1:3]),
        *((values(x, chunk=chunk), whole) for chunk in (1,)),
    ):
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)
    assert not bool((rp.evaluate.log_likelihood(vae, x, 20, "ais", 1, steps=2, start=start).per_datum == whole).any())


def single(name: str) -> rp.VAE:
    """float32, as models are by default; the decoders bend as those of trained models do not."""
    torch.set_default_dtype(torch.float32)
    if name == "mlp":
        vae = curved(3, 5).float()
    else:
        vae = rp.recipes.vae((8, 8), 3, network="conv", channels=(4, 8), activation="silu")
        with torch.no_grad():
            for parameter in vae.likelihood.parameters():
                parameter.mul_(2)
    return vae


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mlp", "conv"])
@pytest.mark.parametrize("method", ["ais", "harmonic"])
def test_in_single_precision_too_a_row_has_one_value(name, method):
    vae = single(name)
    x = vae.sample(60)  # a block and a piece
    given = {"steps": 10, "leapfrog": 3} if method == "ais" else {"leapfrog": 3, "thin": 1}

    def values(rows):
        return rp.evaluate.log_likelihood(vae, rows, 32, method, **given).per_datum

    whole, order = values(x), torch.randperm(60)
    torch.testing.assert_close(values(x[order]), whole[order], atol=1e-6, rtol=0)
    for i in (0, 55):
        torch.testing.assert_close(values(x[i : i + 1]), whole[i : i + 1], atol=1e-6, rtol=0)


def test_blocks_have_one_size_and_the_rows_of_the_data():
    vae, x = curved(), torch.randn(70, 4)
    cut = list(blocks(vae, rp.Dataset(x), 0))
    assert {b.x.shape for b in cut} == {(48, 4)}
    assert torch.equal(torch.cat([b.x[: b.rows] for b in cut]), x)
    assert torch.equal(cut[-1].x[22:], x[48].expand(26, 4))
    assert len(set(cut[-1].keys(0, "a"))) == 22
    noise = ChainNoise(cut[-1].x, 0, "", 0, 3, cut[-1].rows).normal(2)
    assert torch.equal(noise[:, 22:], noise[:, :1].expand(3, 26, 2))


def test_the_step_size_looks_at_no_chain():
    """The first 16 chains are the same with 16 more beside them: nothing is adapted to chains that give weights."""
    vae, x, plan = curved(), rp.Dataset(torch.randn(3, 4)), rp.evaluate.Annealing(20, 3)
    with torch.no_grad():
        few, many = (torch.cat([f for _, f, _ in plan.chains(vae, x, k, 0)]) for k in (16, 32))
        _, _, backward = next(iter(plan.chains(vae, x, 16, 0, exact=torch.randn(3, 2))))
    torch.testing.assert_close(many[:16], few, atol=1e-7, rtol=0)
    assert backward.shape == few.shape
    assert len(many.unique()) == 96


def test_the_pilot_finds_the_acceptance_that_it_seeks():
    """At 12 dimensions, where acceptance falls smoothly with the step: between 0.5 and 0.8 at every temperature."""
    model = LinearGaussian.random(12, 14, seed=1)
    x = model.data(4)
    at, plan = path_of(model.exact(), x), rp.evaluate.Annealing(40, 5)
    vae = model.exact()
    with torch.no_grad():
        sizes = plan._pilot(vae, at, vae.prior(), Block(slice(0, 4), x, ()), 0, "")
    noise = ChainNoise(x, 1, "", 0, 200)
    assert sizes.shape == (39, 4)
    for i in (0, 19, 38):
        state = at(torch.randn(200, 4, 12))
        for _ in range(20):
            state, accept = transition(at, state, plan.betas[i + 1], sizes[i], noise, 5)
        assert bool(((accept.mean(0) > 0.45) & (accept.mean(0) < 0.85)).all()), accept.mean(0)


@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_a_schedule_rises_from_zero_to_one(schedule):
    for steps in (1, 2, 3, 100):
        betas = torch.tensor(rp.evaluate.Annealing(steps, schedule=schedule).betas)
        assert (len(betas), float(betas[0]), float(betas[-1])) == (steps + 1, 0, 1)
        assert bool((betas.diff() > 0).all())
        torch.testing.assert_close(betas + betas.flip(0), torch.ones(steps + 1))


def test_contexts_reach_prior_and_likelihood():
    """x - c has the model's marginal; 20 rows, 4 se."""
    model = LinearGaussian.random(2, 3, seed=1)
    net = Function(lambda z, c: z @ model.w.T + model.b + c)
    posterior = rp.posteriors.DiagonalGaussian(Function(lambda x, c: torch.zeros(len(x), 4)))
    vae = rp.VAE(rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(net, model.s), posterior)
    c = torch.randn(20, 3) * 3
    x = model.data(20)
    estimate = rp.evaluate.log_likelihood(vae, x + c, method="ais", contexts=[c], steps=100, leapfrog=5)
    within(estimate.per_datum - model.log_p(x), torch.tensor(0.0), bias=0.1)
    lower, upper = rp.evaluate.bdmc(vae, 20, contexts=[c], steps=50, leapfrog=5)
    assert lower.value < upper.value < lower.value + 1


def test_annealing_leaves_no_trace_and_needs_no_density_of_q():
    model = LinearGaussian.random(2, 3, seed=4)
    vae = model.vae(rp.posteriors.Point(nn.Linear(3, 2))).train()
    state = torch.get_rng_state()
    rp.evaluate.log_likelihood(vae, model.data(3), 4, "ais", steps=5)
    rp.evaluate.bdmc(vae, 3, 4, steps=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert vae.training
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in vae.parameters())


def test_what_cannot_be_annealed_is_refused():
    model = LinearGaussian.random(2, 3, seed=4)
    x, vae = model.data(3), model.exact()
    point = model.vae(rp.posteriors.Point(nn.Linear(3, 2)))

    def ais(model=vae, **options):
        return lambda: rp.evaluate.log_likelihood(model, x, 4, "ais", **options)

    refused(ais(point, start="posterior"), "Point")
    refused(ais(start="q"), "start", "prior")
    refused(ais(schedule="sigmoidal"), "did you mean 'sigmoid'?")
    refused(ais(steps=0), "steps", "at least 1")
    refused(ais(leapfrog=-1), "leapfrog", "at least 1")
    refused(ais(alpha=0.2), "'alpha'")
    refused(lambda: rp.evaluate.bdmc(vae, 0), "at least 1")
    refused(lambda: rp.evaluate.bdmc(vae, 3, contexts=[torch.zeros(4, 1)]), "context 0", "3 data")
    for prior in (
        Function(lambda *c: OneHotCategorical(logits=torch.zeros(2))),
        Function(lambda *c: Independent(Uniform(torch.zeros(2), torch.ones(2)), 1)),
    ):
        # a posterior that does not tell where it lives: the model is built
        other = model.vae(Function(lambda x, p=prior: p().expand((len(x),))), prior)
        refused(ais(other), "real vectors", "importance")
        refused(lambda other=other: rp.evaluate.bdmc(other, 3, 2), "real vectors")


def test_no_noise_is_used_twice(monkeypatch):
    """Starts, pilot, chains forward and backward, groups, repeats, strata: each generator has a key of its own."""
    used, row_keys = [], rp.evaluate.draws.seeding.row_keys

    def recorded(*given):
        keys = row_keys(*given)
        used.extend(keys)
        return keys

    monkeypatch.setattr("reparam.seeding.row_keys", recorded)
    vae, x = curved(), torch.randn(3, 4)
    rp.evaluate.bdmc(vae, 3, 40, steps=3)
    rp.evaluate.log_likelihood(vae, x, 40, "ais", steps=3, repeats=2)
    rp.evaluate.log_likelihood(vae, x, 2500, "mixture", alpha=0.5, repeats=2)
    # 3 rows x (bdmc: 3 groups x start, forward, backward, and 2 for the pilot; ais: twice 3 x 2 and 2; mixture: 2 x 4)
    assert len(used) == len(set(used)) == 3 * (11 + 16 + 8)
