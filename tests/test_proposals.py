"""Importance sampling: mixtures are unbiased and bounded, k-hat is the index of the tail, bounds rise with k."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

import reparam as rp
from models import LinearGaussian, within
from refusals import refused
from reparam.distributions import Blend
from reparam.errors import NonFiniteError
from reparam.evaluate.draws import draws
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.weights import LogWeights, collect, pareto_shape, tail_length

pytestmark = pytest.mark.usefixtures("double")


# The tail of the weights.


def tails(log_w: torch.Tensor) -> torch.Tensor:
    """k-hat of each column of log_w (k, n)."""
    weights = LogWeights(log_w.shape[1], len(log_w))
    weights.add(log_w)
    khat = weights.khat
    assert khat is not None
    return khat


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.5, 0.9, 1.5])
def test_k_hat_is_the_known_index_of_a_tail(shape):
    """400 samples of 4000 weights with an exactly generalised Pareto tail, M = 190 of them in the fit, 5 se: failure
    rate 6e-7. The estimator shrinks by (M k + 5) / (M + 10), which is undone, and has a bias of order 1 / M."""
    u = torch.rand(4000, 400)
    log_w = torch.log((u**-shape - 1) / shape)
    m = tail_length(4000)
    assert m == 190
    within((tails(log_w) * (m + 10) - 5) / m, torch.tensor(shape), se=5, bias=4 / m)


def test_k_hat_tells_how_much_too_narrow_a_posterior_is():
    """q = N(mean, v) for a posterior of precision P in one dimension: log w = const + (1/v - P) t²/2 has tail index
    1 - P v. Logarithmic corrections of the tail leave up to 0.15 at k = 20000."""
    model = LinearGaussian.random(1, 2, seed=3)
    x = model.data(20)
    for share in (0.1, 0.3, 0.5, 0.7):
        vae = model.diagonal(share / model.precision.diagonal())
        estimate = rp.evaluate.log_likelihood(vae, x, 20000)
        assert float(estimate.khat.mean()) == pytest.approx(1 - share, abs=0.15)
    assert "k-hat > 0.7 in" not in repr(estimate)
    bad = rp.evaluate.log_likelihood(model.diagonal(0.05 / model.precision.diagonal()), x, 2000)
    heavy = int((bad.khat > 0.7).sum())
    assert heavy > 10
    assert f"k-hat > 0.7 in {heavy} rows" in repr(bad)


def test_k_hat_does_not_change_with_units_or_order_or_parts():
    log_w = -0.6 * torch.rand(3000, 5).log()
    whole = tails(log_w)
    torch.testing.assert_close(tails(log_w - 5000), whole)
    torch.testing.assert_close(tails(log_w[torch.randperm(3000)]), whole)
    parts = LogWeights(5, 3000)
    for part in log_w.split(170):
        parts.add(part)
        assert parts.largest.shape[1] <= tail_length(3000) + 1
    torch.testing.assert_close(parts.khat, whole)
    torch.testing.assert_close(parts.log_mean, log_w.logsumexp(0) - math.log(3000))


def test_k_hat_agrees_with_a_fit_by_maximum_likelihood():
    """Against scipy's fit of 400 excesses: both are efficient, and differ by far less than their error of 0.07."""
    from scipy.stats import genpareto

    excess = torch.from_numpy(genpareto.rvs(0.6, size=401, random_state=1)).sort(descending=True).values
    k = float(pareto_shape(excess.log().unsqueeze(0))[0])
    shape, _, _ = genpareto.fit((excess[:-1] - excess[-1]).numpy(), floc=0)
    assert (k * 410 - 5) / 400 == pytest.approx(shape, abs=0.02)


def test_weights_without_a_tail_have_none():
    model = LinearGaussian.random(2, 3, seed=4)
    x = model.data(3)
    assert bool((rp.evaluate.log_likelihood(model.exact(), x, 100).khat == -math.inf).all())
    assert rp.evaluate.log_likelihood(model.exact(), x, 20).khat is None
    assert [tail_length(k) for k in (1, 20, 25, 100, 225, 10000)] == [0, 0, 5, 20, 45, 300]
    none = torch.full((100, 1), -math.inf)
    assert float(tails(none)) == math.inf
    assert math.isfinite(float(tails(torch.cat([none[:95], torch.randn(5, 1)]))))
    assert math.isfinite(float(tails(torch.linspace(-2000, 0, 100).unsqueeze(1))))


# The mixture of q and the prior.


def narrow(share: float = 0.02) -> tuple[LinearGaussian, rp.VAE]:
    """q has the exact mean and a fiftieth of the exact variance: importance sampling by it is hopeless."""
    model = LinearGaussian.random(2, 3, seed=4, s=1.0, gain=0.8)
    return model, model.diagonal(share / model.precision.diagonal())


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.1), (2, 0.5), (7, 0.1), (50, 0.03), (50, 1.0)])
def test_the_mean_weight_of_a_mixture_is_p_of_x(k, alpha):
    """4000 rows, 4 se: failure rate 6e-5 each; the weights are bounded by p(x|z) / alpha."""
    model, vae = narrow()
    x = model.data(4000)
    estimate = rp.evaluate.log_likelihood(vae, x, k, "mixture", alpha=alpha)
    within((estimate.per_datum - model.log_p(x)).exp(), torch.tensor(1.0))
    assert (estimate.method, estimate.k) == ("mixture", k)


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.1), (7, 0.1), (1000, 0.1), (1000, 0.001), (2500, 0.45)])
def test_no_weight_of_a_mixture_exceeds_that_of_the_prior_over_alpha(k, alpha):
    model, vae = narrow()
    data, seen = rp.Dataset(model.data(3)), 0
    with torch.no_grad():
        for at, draw in draws(vae, data, k, 0, "mixture", alpha=alpha):
            assert bool((draw.log_w <= draw.log_px - math.log(alpha) + 1e-12).all())
            seen += draw.z.shape[0] * (at.stop - at.start)
    assert seen == 3 * k


def test_a_mixture_finds_what_the_posterior_alone_misses():
    """40 rows, 4 se plus the bias Var w / 2k of the log of a mean, read from the effective sample size."""
    model, vae = narrow()
    x, k = model.data(40), 3000
    alone, mixture = (rp.evaluate.log_likelihood(vae, x, k, method) for method in ("importance", "mixture"))
    bias = float(((k / mixture.ess - 1) / (2 * k)).mean())
    within(mixture.per_datum - model.log_p(x), torch.tensor(0.0), bias=2 * bias)
    assert bias < 0.02
    assert float(mixture.khat.median()) < 0.7 < float(alone.khat.median())
    assert alone.value < mixture.value - 0.3


def test_fixed_shares_have_no_more_variance_than_drawn_ones():
    """2000 rows with k = 10 each: the mean weight by fixed shares varies less than by shares that are drawn."""
    model, vae = narrow(0.5)
    x = model.data(1).expand(2000, -1)
    with torch.no_grad():
        q, p = vae.posterior(x), vae.prior()
        drawn = torch.rand(10, 2000, 1) < 0.5
        z = torch.where(drawn, q.sample((10,)), p.sample((10, 2000)))
        blend = Blend([q, p], [0.5, 0.5])
        free = vae.at(z, x, q=blend).log_w
        fixed = vae.at(torch.cat([q.sample((5,)), p.sample((5, 2000))]), x, q=blend).log_w
    spread = [float((w - model.log_p(x)).exp().mean(0).std()) for w in (fixed, free)]
    assert spread[0] < spread[1]


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_a_mixture_s_row_has_one_value_however_it_is_cut(alpha):
    model, vae = narrow()
    x = model.data(4)
    whole = rp.evaluate.log_likelihood(vae, x, 2500, "mixture", alpha=alpha)
    for chunk in (100, 999, 2500, 10000):
        cut = rp.evaluate.log_likelihood(vae, x, 2500, "mixture", alpha=alpha, chunk=chunk)
        torch.testing.assert_close(cut.per_datum, whole.per_datum, atol=1e-10, rtol=0)
    alone = [rp.evaluate.log_likelihood(vae, x[i : i + 1], 2500, "mixture", alpha=alpha) for i in range(4)]
    torch.testing.assert_close(torch.cat([e.per_datum for e in alone]), whole.per_datum, atol=1e-10, rtol=0)


def test_a_blend_is_a_distribution():
    """It integrates to one, and 40000 samples have its mean and share, 5 se."""
    parts = [Independent(Normal(torch.tensor([[-2.0], [1.0]]), torch.ones(2, 1)), 1)]
    parts += [Independent(Laplace(torch.tensor([3.0]), torch.tensor([0.5])), 1)]
    blend = Blend(parts, [0.3, 0.7])
    grid = torch.linspace(-30, 30, 60001)
    mass = blend.log_prob(grid[:, None, None].expand(-1, 2, 1)).exp().sum(0) * 1e-3
    torch.testing.assert_close(mass, torch.ones(2), atol=1e-6, rtol=0)
    z = blend.sample((40000,))
    assert z.shape == (40000, 2, 1)
    within(z, blend.mean, se=5)
    torch.testing.assert_close(blend.mean, torch.tensor([[1.5], [2.4]]))
    p3 = torch.stack([0.3 * part.cdf(torch.tensor([3.0])) for part in (Normal(-2.0, 1.0), Normal(1.0, 1.0))]) + 0.35
    within((z <= 3).double(), p3, se=5)
    full = Blend([MultivariateNormal(torch.zeros(1), torch.eye(1)), parts[0]], [0.5, 0.5])
    assert full.log_prob(torch.zeros(5, 2, 1)).shape == (5, 2)


# The bound over k.


def test_the_bound_rises_for_every_row_and_ends_at_the_estimate():
    model, vae = narrow(0.4)
    x, ks = model.data(9), (1, 10, 100, 2000)
    curve = rp.evaluate.bound_curve(vae, x, ks, seed=3)
    assert curve.ks == ks
    assert bool((curve.per_datum.diff(dim=0) > 0).all())
    last = rp.evaluate.log_likelihood(vae, x, 2000, seed=3)
    torch.testing.assert_close(curve.per_datum[-1], last.per_datum, atol=1e-10, rtol=0)
    torch.testing.assert_close(curve.value, curve.per_datum.mean(1))
    assert float(curve.stderr[-1]) == pytest.approx(last.stderr, abs=1e-10)
    cut = rp.evaluate.bound_curve(vae, x, ks, seed=3, chunk=130)
    torch.testing.assert_close(cut.per_datum, curve.per_datum, atol=1e-10, rtol=0)


def test_the_curve_starts_at_the_elbo():
    """200 rows, 4 se."""
    model, vae = narrow(0.4)
    x = model.data(200)
    curve = rp.evaluate.bound_curve(vae, x, (1, 30))
    kl = model.kl(0.4 / model.precision.diagonal())
    within(curve.per_datum[0] - model.log_p(x), torch.tensor(-kl))
    assert bool((curve.stderr > 0).all())
    refused(lambda: rp.evaluate.bound_curve(vae, x, ()), "at least one")
    refused(lambda: rp.evaluate.bound_curve(vae, x, (0, 3)), "at least 1")
    refused(lambda: rp.evaluate.bound_curve(model.vae(rp.posteriors.Point(nn.Linear(3, 2))), x), "Point")


# All methods together.


@pytest.mark.parametrize(("dim", "seed"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_methods_agree_with_quadrature_for_random_decoders(dim, seed):
    """12 rows of binary data, an encoder that was never trained; 4 se of the Monte Carlo noise for each of four
    methods, plus twice the bias Var w / 2k of the log of a mean: failure rate 6e-5 each."""
    torch.manual_seed(seed)
    vae = rp.recipes.vae(8, dim, hidden=(10,), activation="tanh")
    with torch.no_grad():
        for parameter in vae.likelihood.parameters():
            parameter.mul_(3)
    x = vae.sample(12)
    truth = rp.evaluate.log_likelihood(vae, x, method="exact")
    for method, options in (
        ("importance", {"k": 4000}),
        ("prior", {"k": 4000}),
        ("mixture", {"k": 4000}),
        ("ais", {"steps": 60, "leapfrog": 4}),
    ):
        estimate = rp.evaluate.log_likelihood(vae, x, method=method, **options)
        bias = float(((estimate.k / estimate.ess - 1) / (2 * estimate.k)).mean())
        assert bias < 0.05, method
        within(estimate.per_datum - truth.per_datum, torch.tensor(0.0), bias=2 * bias)


@pytest.mark.parametrize("method", ["importance", "prior", "mixture"])
def test_a_hundred_thousand_samples_pass_in_small_parts(method):
    """No call sees more than the 4096 decoder rows that are allowed, and the answer is right to 4 standard errors."""
    model, vae = narrow(0.9)
    x, seen = model.data(1), []
    net = vae.likelihood.net
    net.register_forward_hook(lambda module, given, out: seen.append(out.numel() // out.shape[-1]))
    estimate = rp.evaluate.log_likelihood(vae, x, 100_000, method)
    assert max(seen) <= 4096
    assert sum(seen) >= 100_000
    error = math.sqrt(1 / float(estimate.ess) - 1 / 100_000)
    assert abs(float(estimate.per_datum - model.log_p(x))) < 4 * error + 1e-6


def test_repeats_give_the_monte_carlo_error_alone():
    """The spread over 30 repeats against the known variance of log-mean weights: chi-square, failure rate 1e-3."""
    from scipy.stats import chi2

    model, vae = narrow(1.3)
    x, k, repeats = model.data(30), 400, 30
    one = rp.evaluate.log_likelihood(vae, x, k, seed=1)
    many = rp.evaluate.log_likelihood(vae, x, k, seed=1, repeats=repeats)
    assert one.stderr_repeats is None
    assert many.stderr_repeats is not None
    variance = model.chi_square(1.3 / model.precision.diagonal()) / k / 30
    ratio = (repeats - 1) * many.stderr_repeats**2 * repeats / variance
    assert chi2.ppf(5e-4, repeats - 1) < ratio * 1.05
    assert ratio / 1.05 < chi2.ppf(1 - 5e-4, repeats - 1)
    assert "over repeats" in repr(many)
    two = rp.evaluate.log_likelihood(vae, x, k, seed=1, repeats=2)
    assert not bool((two.per_datum == one.per_datum).any())
    assert Estimate.over([one]) is one
    for method, options in (("mixture", {}), ("ais", {"steps": 2}), ("exact", {})):
        pair = rp.evaluate.log_likelihood(vae, x, 3, method, repeats=2, **options)
        assert (pair.stderr_repeats == 0) == (method == "exact")


def test_progress_counts_the_rows_of_all_repeats():
    model, vae = narrow()
    for method in ("mixture", "ais", "exact"):
        seen: list[tuple[int, int]] = []
        options = {"steps": 2} if method == "ais" else {}
        rp.evaluate.log_likelihood(
            vae, model.data(5), 4, method, repeats=2, progress=lambda *p, s=seen: s.append(p), **options
        )
        assert seen[-1] == (10, 10)
        assert seen == sorted(seen)


def test_unknown_methods_and_options_are_refused():
    model, vae = narrow()
    x = model.data(2)
    refused(lambda: rp.evaluate.log_likelihood(vae, x, method="mixtures"), "did you mean 'mixture'?")
    refused(lambda: rp.evaluate.log_likelihood(vae, x, alpha=0.1), "'importance'", "'alpha'", "compile")
    refused(lambda: rp.evaluate.log_likelihood(vae, x, method="ais", step=3), "did you mean 'steps'?")
    for alpha in (0.0, -0.1, 1.1, math.nan):
        refused(lambda a=alpha: rp.evaluate.log_likelihood(vae, x, method="mixture", alpha=a), "alpha")
    refused(lambda: rp.evaluate.log_likelihood(vae, x, repeats=0), "repeats", "at least 1")
    point = model.vae(rp.posteriors.Point(nn.Linear(3, 2)))
    refused(lambda: rp.evaluate.log_likelihood(point, x, 5, "mixture"), "Point")


def test_a_weight_that_is_not_a_number_stops_the_estimate():
    model, vae = narrow()
    with torch.no_grad():
        vae.likelihood.net.weight[0, 0] = math.nan
    for method in ("importance", "prior", "mixture", "ais"):
        few = {"steps": 2, "leapfrog": 1} if method == "ais" else {}
        refused(
            lambda m=method, f=few: rp.evaluate.log_likelihood(vae, model.data(2), 5, m, **f),
            "row 0",
            kinds=(NonFiniteError,),
        )
    bad = [(slice(0, 2), torch.tensor([[0.0, math.inf]]))]
    refused(lambda: collect(bad, 2, 1, "x"), "row 1", kinds=(NonFiniteError,))
