"""Estimates: they find the exact answer with the error that they claim, and a row's value belongs to the row."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import binom

import reparam as rp
from models import Constant, FullPrior, LaplacePosterior, LinearGaussian, within
from reparam.errors import InputError
from reparam.evaluate.draws import draws

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def model():
    """Weights of small variance: for k = 2000 samples the finite-k bias, variance / 2k, is below 1e-3."""
    return LinearGaussian.random(2, 3, seed=4, s=1.0, gain=0.8)


def posterior_variance(model: LinearGaussian) -> torch.Tensor:
    return 1.3 / model.precision.diagonal()


def test_importance_and_prior_estimates_find_the_exact_answer(model):
    """100 rows, 4 se of the Monte Carlo noise: failure rate 6e-5 for each method and for their difference."""
    x, k = model.data(100), 2000
    vae = model.diagonal(posterior_variance(model))
    bias = model.chi_square(posterior_variance(model)) / (2 * k)
    importance, prior = (rp.evaluate.log_likelihood(vae, x, k, method) for method in ("importance", "prior"))
    within(importance.per_datum - model.log_p(x), 0.0, bias=bias)
    # the bias of the prior estimate is each row's own: variance of its weights over 2k, estimated by its ess
    prior_bias = ((k / prior.ess - 1) / (2 * k)).mean()
    within(prior.per_datum - model.log_p(x), 0.0, bias=2 * float(prior_bias))
    within(prior.per_datum - importance.per_datum, 0.0, bias=2 * float(prior_bias))
    assert float(prior_bias) < 5e-3


def test_ess_is_that_of_the_weights(model):
    """k / ess tends to 1 + Var(w / p(x)), known in closed form; 100 rows, 4 se, failure rate 6e-5."""
    variance = posterior_variance(model)
    estimate = rp.evaluate.log_likelihood(model.diagonal(variance), model.data(100), 5000)
    # E[1/ess] has a bias of order 1/k
    within(5000 / estimate.ess, 1 + model.chi_square(variance), bias=20 / 5000)


def test_the_elbo_of_evaluation_is_log_p_less_the_kl(model):
    """500 rows, 4 se of the noise, failure rate 6e-5."""
    variance, x = posterior_variance(model), model.data(500)
    terms = rp.evaluate.elbo_terms(model.diagonal(variance), x, k=5)
    within(terms.elbo.per_datum - model.log_p(x), -model.kl(variance))
    assert terms.elbo.value == pytest.approx(terms.reconstruction.value - terms.kl.value, abs=1e-12)


def test_an_estimate_is_the_mean_of_its_rows_with_their_standard_error(model):
    x = model.data(50)
    for estimate in (rp.evaluate.elbo(model.exact(), x), rp.evaluate.log_likelihood(model.exact(), x, 3)):
        assert estimate.value == pytest.approx(float(estimate.per_datum.mean()), abs=1e-12)
        assert estimate.stderr == pytest.approx(float(estimate.per_datum.std()) / math.sqrt(50), abs=1e-12)
        assert estimate.per_datum.dtype == estimate.ess.dtype == torch.float64
    assert math.isnan(rp.evaluate.elbo(model.exact(), x[:1]).stderr)


ESTIMATES: dict[str, Callable] = {
    "elbo": lambda vae, x, seed: rp.evaluate.elbo(vae, x, 1, seed),
    "importance": lambda vae, x, seed: rp.evaluate.log_likelihood(vae, x, 50, "importance", seed),
    "prior": lambda vae, x, seed: rp.evaluate.log_likelihood(vae, x, 400, "prior", seed),
}


@pytest.mark.parametrize("method", ESTIMATES)
def test_the_standard_error_covers_as_often_as_it_claims(model, method):
    """200 data sets of 60 rows drawn from the model: value ± 1.96 se holds E log p(x) (for the ELBO, less its KL).

    The biases, below 7e-3, are under 5 % of the standard error of about 0.16, which costs 0.02 % of coverage. With
    60 rows the normal interval covers 94.5 %, a little less for the skew of log p(x): the count lies between 176 and
    199 except with probability 1e-3.
    """
    low, high, repeats = 176, 199, 200
    assert 1 - (binom.cdf(high, repeats, 0.945) - binom.cdf(low - 1, repeats, 0.945)) < 1e-3
    variance = posterior_variance(model)
    vae, truth = model.diagonal(variance), model.mean_log_p - (model.kl(variance) if method == "elbo" else 0)
    runs = [ESTIMATES[method](vae, model.data(60, seed), seed) for seed in range(repeats)]
    covered = sum(abs(e.value - truth) < 1.96 * e.stderr for e in runs)
    assert low <= covered <= high


# A row's value belongs to the row.


def laplace(model: LinearGaussian) -> rp.VAE:
    """Neither part of q's family nor the prior is reparam's."""
    scale = (1 / model.precision.diagonal()).sqrt().log()
    net = rp.networks.mlp(3, 4, ())
    with torch.no_grad():
        net.last.weight[2:] = 0
        net.last.bias[2:] = scale
    return model.vae(LaplacePosterior(net), FullPrior(torch.zeros(2), torch.eye(2)))


def point(model: LinearGaussian) -> rp.VAE:
    return model.vae(rp.posteriors.Point(rp.networks.mlp(3, 2)))


VAES = {
    "gaussian": (lambda m: m.diagonal(), ("elbo", "importance", "prior")),
    "laplace and full prior": (laplace, ("elbo", "importance", "prior")),
    "point": (point, ("prior",)),
}
CASES = [(vae, method) for vae, (_, methods) in VAES.items() for method in methods]


def per_datum(vae, x, method, k=7, seed=0, **options):
    if method == "elbo":
        return rp.evaluate.elbo(vae, x, k, seed).per_datum
    return rp.evaluate.log_likelihood(vae, x, k, method, seed, **options).per_datum


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_row_has_one_value_whatever_stands_beside_it(model, name, method):
    """To 1e-10: matrix products of other shapes round differently, each by about 1e-15."""
    vae, x = VAES[name][0](model), model.data(9)
    alone = torch.cat([per_datum(vae, x[i : i + 1], method) for i in range(9)])
    order = torch.randperm(9)
    for got, expected in (
        (per_datum(vae, x, method), alone),
        (per_datum(vae, x[order], method), alone[order]),
        (per_datum(vae, x[3:5], method), alone[3:5]),
        (per_datum(vae, torch.cat([x, x[:2]]), method), torch.cat([alone, alone[:2]])),
    ):
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("name", "method"), CASES)
def test_equal_seeds_give_equal_bits_and_other_seeds_other_values(model, name, method):
    vae, x = VAES[name][0](model), model.data(9)
    first = per_datum(vae, x, method)
    torch.manual_seed(12345)
    assert torch.equal(per_datum(vae, x, method), first)
    assert not bool((per_datum(vae, x, method, seed=1) == first).any())


@pytest.mark.parametrize(("name", "method"), [c for c in CASES if c[1] != "elbo"])
def test_chunks_change_the_value_by_rounding_only_across_noise_blocks(model, name, method):
    """k = 2500 takes three blocks of noise; chunks cut rows, samples and blocks."""
    vae, x = VAES[name][0](model), model.data(3)
    whole = rp.evaluate.log_likelihood(vae, x, 2500, method)
    for chunk in (100, 999, 1001, 2500, 7600):
        cut = rp.evaluate.log_likelihood(vae, x, 2500, method, chunk=chunk)
        torch.testing.assert_close(cut.per_datum, whole.per_datum, atol=1e-10, rtol=0)
        torch.testing.assert_close(cut.ess, whole.ess, atol=0, rtol=1e-10)
    few = [rp.evaluate.log_likelihood(vae, x, 5, method, chunk=c).per_datum for c in (1, 2, 5, 10, 100)]
    for each in few:
        torch.testing.assert_close(each, few[0], atol=1e-10, rtol=0)


def test_each_sample_of_an_elbo_weighs_alike_across_noise_blocks(model):
    """k = 2500 is read in parts of 1000, 1000 and 500: the value is the plain mean over all 2500 samples."""
    for name in ("gaussian", "laplace and full prior"):
        vae, x = VAES[name][0](model), model.data(3)
        with torch.no_grad():
            whole = torch.cat(
                [draw.log_px for _, draw in draws(vae, rp.Dataset(x), 2500, 0, "posterior", whole=True)], 1
            )
        terms = rp.evaluate.elbo_terms(vae, x, 2500)
        torch.testing.assert_close(terms.reconstruction.per_datum, whole.mean(0), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", VAES)
def test_no_noise_is_used_twice(model, name):
    """All 2500 samples of all rows differ, and whole draws hold the same samples as draws in parts."""
    vae, data = VAES[name][0](model), rp.Dataset(model.data(3))
    proposal = "prior" if name == "point" else "posterior"
    with torch.no_grad():
        parts = list(draws(vae, data, 2500, 0, proposal, call=700))
        whole = torch.cat([d.z for _, d in draws(vae, data, 2500, 0, proposal, whole=True)], 1)
    rows = [torch.cat([d.z for at, d in parts if at.start <= i < at.stop]) for i in range(3)]
    z = torch.cat([r[:, 0] if r.shape[1] == 1 else r[:, i] for i, r in enumerate(rows)])
    assert len(z.flatten().unique()) == 2500 * 3 * 2
    torch.testing.assert_close(whole.movedim(1, 0).reshape(-1, 2), z, atol=1e-12, rtol=0)


def test_the_samples_of_an_evaluation_have_the_mean_and_covariance_of_q(model):
    """2000 samples for each of 5 rows, 5 se: failure rate 6e-7 for each number."""
    for make, _ in VAES.values():
        vae, data = make(model), rp.Dataset(model.data(5))
        proposal = "prior" if isinstance(vae.posterior, rp.posteriors.Point) else "posterior"
        with torch.no_grad():
            (_, draw), *_ = draws(vae, data, 2000, 0, proposal, whole=True)
        z, q = draw.z, draw.q
        within(z, q.mean.expand(z.shape[1:]), se=5)
        within((z - q.mean).square(), q.variance.expand(z.shape[1:]), se=5)
        within((z - q.mean).prod(-1), torch.zeros(z.shape[1]), se=5)


def test_objective_value_is_the_mean_of_the_bound_over_rows(model):
    """With the exact posterior the value of IWAE is the mean of log p(x), on data that fill no whole batch."""
    data = rp.Dataset(model.data(4099))
    value = rp.evaluate.objective_value(model.exact(), data, rp.objectives.IWAE(3))
    assert value["objective"] == pytest.approx(float(model.log_p(data.x).mean()), abs=1e-9)
    terms = rp.evaluate.elbo_terms(model.exact(), data, k=3)
    assert value["reconstruction"] == pytest.approx(terms.reconstruction.value, abs=1e-10)
    assert value["kl"] == pytest.approx(terms.kl.value, abs=1e-10)
    assert math.isnan(rp.evaluate.objective_value(point(model), data[:5], rp.objectives.Reconstruction())["kl"])


# Grey data.


def grey(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(3))


def bernoulli() -> rp.VAE:
    return rp.recipes.vae(4, 2, hidden=(5,))


def test_dynamic_binarisation_is_decided_by_row_and_seed():
    x, vae = grey(), bernoulli()
    like = torch.empty(0)
    data = rp.Dataset(x, binarize="dynamic")
    fixed = data.fixed(x, like, 0)
    assert set(fixed.unique().tolist()) == {0.0, 1.0}
    for order in ([5, 4, 3, 2, 1, 0], [2], [1, 1, 3]):
        assert torch.equal(data.fixed(x[order], like, 0), fixed[order])
        part = rp.evaluate.log_likelihood(vae, data[torch.tensor(order)], 5).per_datum
        whole = rp.evaluate.log_likelihood(vae, data, 5).per_datum
        torch.testing.assert_close(part, whole[order], atol=1e-10, rtol=0)
    assert any(not torch.equal(data.fixed(x, like, seed), fixed) for seed in range(1, 9))


def test_a_value_is_binarised_to_one_as_often_as_it_says():
    """2000 seeds, 5 se, failure rate 6e-7 for each of 24 values; the ends are never changed."""
    x = torch.cat([grey(), torch.tensor([[0.0, 1.0, 0.0, 1.0]])])
    data = rp.Dataset(x, binarize="dynamic")
    values = torch.stack([data.fixed(x, torch.empty(0), seed) for seed in range(2000)])
    within(values[:, :-1], x[:-1], se=5)
    assert torch.equal(values[:, -1], x[-1].expand(2000, 4))
    torch.manual_seed(0)
    within(torch.stack([data.visit(x, torch.empty(0)) for _ in range(2000)])[:, :-1], x[:-1], se=5)


# What cannot be estimated is refused, and evaluation leaves no trace.


def test_what_cannot_be_estimated_is_refused(model):
    x, vae = model.data(3), model.exact()
    with pytest.raises(InputError, match="Point"):
        rp.evaluate.log_likelihood(point(model), x, 5)
    with pytest.raises(InputError, match="Point"):
        rp.evaluate.elbo(point(model), x)
    with pytest.raises(InputError, match="importance"):
        rp.evaluate.log_likelihood(vae, x, 5, method="importence")
    for k in (0, -3):
        with pytest.raises(InputError, match="at least 1"):
            rp.evaluate.log_likelihood(vae, x, k)
    for chunk in (0, -1):
        with pytest.raises(InputError, match="chunk"):
            rp.evaluate.log_likelihood(vae, x, 5, chunk=chunk)


def test_evaluation_leaves_modes_gradients_and_the_global_generator_as_they_were(model):
    vae, x = laplace(model), model.data(3)
    vae.train()
    vae.posterior.eval()  # a frozen part
    modes = [m.training for m in vae.modules()]
    state = torch.get_rng_state()
    rp.evaluate.elbo(vae, x)
    assert [m.training for m in vae.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_progress_counts_rows_to_the_end(model):
    seen = []
    rp.evaluate.log_likelihood(model.exact(), model.data(10), 5, chunk=20, progress=lambda *p: seen.append(p))
    assert [done for done, _ in seen] == [4, 8, 10]
    assert {n for _, n in seen} == {10}


def test_active_units_counts_the_dimensions_whose_means_vary(model):
    means = torch.randn(1000, 3) * torch.tensor([1.0, 0.2, 0.01]) + 5  # variances 1, 0.04 and 0.0001
    assert rp.evaluate.active_units(means) == 2
    assert rp.evaluate.active_units(means, threshold=0.5) == 1
    net = Constant(torch.zeros(4))
    vae = model.vae(rp.posteriors.DiagonalGaussian(net))
    assert rp.evaluate.active_units(rp.evaluate.encode(vae, model.data(50))) == 0


def test_bits_per_dim_is_zero_and_one_where_it_must_be():
    """A density of 1 on [0, 1] has 0 bits; 256 equal levels of a pixel have 8 bits, as a density 1 on pixels / 256."""
    assert rp.evaluate.bits_per_dim(0.0, (28, 28)) == 0
    assert rp.evaluate.bits_per_dim(-6 * math.log(2), (2, 3)) == pytest.approx(1, abs=1e-15)
    assert rp.evaluate.bits_per_dim(0.0, (2, 3), -math.log(256)) == pytest.approx(8, abs=1e-14)


@pytest.mark.usefixtures("double")
def test_bits_per_dim_count_nats_per_unit_of_the_data_whatever_the_model_s_unit():
    """A normal law of grey levels, written for pixels / 255: its bits are those of the law of the levels themselves.

    Of data that were dequantised, x + u with u uniform on a step, the bits are never below those of the probability of
    the step (Theis et al. 2016, by Jensen's inequality), and close to them where the density hardly varies over it.
    """
    level, sd = torch.arange(256.0), 20.0
    of_levels = torch.distributions.Normal(100.0, sd)
    u = (torch.arange(1000.0) + 0.5) / 1000
    per_pixel = torch.distributions.Normal(100.0 / 255, sd / 255)
    nats = per_pixel.log_prob((level + u[:, None]) / 255).mean(0)
    bits = torch.tensor([rp.evaluate.bits_per_dim(float(v), (1,), -math.log(255)) for v in nats])
    torch.testing.assert_close(bits, -of_levels.log_prob(level + u[:, None]).mean(0) / math.log(2))
    near, far = ((level - mean) / sd / math.sqrt(2) for mean in (100, 99))
    below, above = far.neg().erfc() - near.neg().erfc(), near.erfc() - far.erfc()
    # from the side where the tail is small, so that no digits cancel
    probability = torch.where(near < 0, below, above) / 2
    over = bits + probability.log2()
    assert float(over.min()) > -1e-9
    assert float(over.max()) < 0.02
