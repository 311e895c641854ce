"""Penalties of a batch: closed forms as it grows, weights that sum to one, and no way into a bound."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import reparam as rp
from models import Function, LinearGaussian, with_parameters, within
from reparam.errors import InputError
from reparam.objectives import ELBO, IWAE, Penalized, Reconstruction, penalties
from reparam.objectives.penalties import (
    DIP,
    HSIC,
    MMD,
    SquaredNorm,
    TotalCorrelation,
    decompose,
    log_stratified_weights,
)
from reparam.vae import Draw
from rows_objectives import PENALTIES
from rows_quantised import PENALTIES as QUANTISED

pytestmark = pytest.mark.usefixtures("double")

each = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)


def small(posterior: str = "diagonal") -> rp.VAE:
    return rp.recipes.vae(3, 2, likelihood="gaussian", posterior=posterior, hidden=(3,), activation="tanh")


def test_no_penalty_escapes_these_laws():
    public = {name for name in penalties.__all__ if name != "Penalty"}
    # the laws of the latter: test_quantised, test_labels
    assert public == {type(penalty).__name__ for penalty in (PENALTIES | QUANTISED).values()} | {"Classification"}


@each
@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_a_penalty_is_a_scalar_that_does_not_depend_on_the_order_of_rows(penalty, posterior):
    vae, x, z = small(posterior), torch.randn(7, 3), torch.randn(2, 7, 2)
    order = torch.randperm(7)
    values = []
    for rows, samples in ((x, z), (x[order], z[:, order])):
        torch.manual_seed(1)
        values.append(penalty(vae.at(samples, rows), 50))
    assert values[0].shape == ()
    torch.testing.assert_close(values[0], values[1], atol=1e-12, rtol=0)


@each
def test_its_gradient_is_that_of_finite_differences(penalty):
    vae, x = small(), torch.randn(4, 3)

    def value(call):
        torch.manual_seed(1)
        return penalty(call(x, k=2), 50)

    assert with_parameters(vae, value)


@each
def test_a_batch_of_one_row_has_a_finite_penalty(penalty):
    """A ragged last batch may have one row; it says nothing of how rows differ."""
    value = float(penalty(small()(torch.randn(1, 3), k=2), 50).detach())
    assert math.isfinite(value)
    assert (penalty.least_rows == 1) == (value != 0)


@each
def test_a_penalty_never_enters_a_bound(penalty):
    draw = small()(torch.randn(5, 3), k=3)
    for objective in (ELBO(3), IWAE(3, "dreg"), Reconstruction(3)):
        penalized = Penalized(objective, penalty, 1e6)
        bound = objective.bound(draw)
        assert torch.equal(penalized.bound(draw), bound)
        assert torch.equal(penalized.surrogate(draw, bound), objective.surrogate(draw, bound))
        assert penalized.k == 3
    torch.manual_seed(2)
    one = penalty(draw, 50)
    torch.manual_seed(2)
    torch.testing.assert_close(Penalized(ELBO(3), penalty, 2.5).penalty(draw, 50), 2.5 * one, atol=1e-12, rtol=1e-12)


def test_penalties_add_up():
    draw = small()(torch.randn(5, 3), k=3)
    both = Penalized(Penalized(ELBO(3), SquaredNorm(), 2.0), DIP("I"), 3.0)
    expected = 2 * SquaredNorm()(draw, 50) + 3 * DIP("I")(draw, 50)
    torch.testing.assert_close(both.penalty(draw, 50), expected, atol=1e-12, rtol=0)


# ---- the terms of the KL ----


@pytest.mark.parametrize(("batch", "rows"), [(2, 2), (2, 100), (7, 7), (7, 60000), (128, 128), (128, 10**6)])
def test_rows_of_stratified_weights_sum_to_one(batch, rows):
    weights = log_stratified_weights(batch, rows, torch.empty(0)).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(batch), atol=1e-12, rtol=0)
    torch.testing.assert_close(weights.diagonal(), torch.full((batch,), 1 / rows), atol=1e-15, rtol=1e-12)


def test_stratified_weights_are_unbiased_for_the_mean_over_all_data():
    """By enumeration: the mean over all batches that hold row i of Σ_j W_ij f_j is the mean of all f."""
    f, rows, size = torch.rand(6), 6, 3
    weights = log_stratified_weights(size, rows, f).exp()
    for i in range(rows):
        others = [j for j in range(rows) if j != i]
        estimates = [weights[0] @ f[[i, *rest]] for rest in combinations(others, size - 1)]
        torch.testing.assert_close(torch.stack(estimates).mean(), f.mean(), atol=1e-12, rtol=0)


def test_with_all_data_in_a_batch_the_aggregate_posterior_is_their_mixture():
    vae, x = small("full"), torch.randn(6, 3)
    draw = vae(x, k=2)
    mixture = torch.stack([vae.posterior(x[j : j + 1]).log_prob(draw.z) for j in range(6)]).exp().mean(0)
    expected = (draw.log_qz - mixture.log()).mean()
    torch.testing.assert_close(decompose(draw, 6).mutual_information, expected, atol=1e-12, rtol=0)
    assert float(decompose(draw, 6).mutual_information.detach()) <= math.log(6)


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_the_terms_sum_to_the_kl_and_each_penalty_is_its_term(posterior):
    draw = small(posterior)(torch.randn(6, 3), k=2)
    terms = decompose(draw, 40)
    torch.testing.assert_close(sum(terms), draw.kl_monte_carlo.mean(), atol=1e-12, rtol=0)
    single = [PENALTIES[n](draw, 40) for n in ("MutualInformation", "TotalCorrelation", "DimensionwiseKL")]
    torch.testing.assert_close(torch.stack(single), torch.stack(terms), atol=1e-12, rtol=0)


def encoder_of(a: Tensor, s: Tensor) -> tuple[rp.VAE, Tensor]:
    """x ~ N(0, I) and q(z|x) = N(a x, diag s): q(z) is N(0, C)."""
    net = Function(lambda x: torch.cat([x @ a.T, s.log().expand(len(x), -1)], -1))
    decoder = nn.Linear(len(a), a.shape[1])
    vae = rp.VAE(
        rp.priors.StandardNormal(len(a)), rp.likelihoods.Gaussian(decoder), rp.posteriors.DiagonalGaussian(net)
    )
    return vae, a @ a.T + torch.diag(s)


def test_the_terms_of_a_linear_gaussian_encoder_come_to_their_closed_forms():
    """20 batches of 1000 data each; 5 se. The bias of log of a mean of n terms is half their variance over n: the
    fall of the error from n = 50 to n = 1000 is seen, and what is left of it is allowed for.
    """
    a, s = torch.tensor([[0.9, 0.3], [0.8, -0.2]]), torch.tensor([0.6, 0.4])
    vae, c = encoder_of(a, s)
    variances = c.diagonal()
    truth = torch.stack([
        (torch.logdet(c) - s.log().sum()) / 2,
        (variances.log().sum() - torch.logdet(c)) / 2,
        (variances - 1 - variances.log()).sum() / 2,
    ])  # fmt: skip
    errors = {}
    with torch.no_grad():
        for n in (50, 1000):
            found = torch.stack([torch.stack(decompose(vae(torch.randn(n, 2)), n)) for _ in range(20)])
            errors[n] = (found.mean(0) - truth).abs()
    within(found, truth, se=5, bias=10 / 1000)
    assert float(truth.min()) > 0.04
    assert float(errors[1000].max()) < float(errors[50].max())


def test_a_batch_estimates_what_all_data_would_say():
    """Of 20000 data, 20 batches of 1000: the closed forms again, without their q(z|x_i) counted 1000 times too much."""
    a, s = torch.tensor([[0.9, 0.3], [0.8, -0.2]]), torch.tensor([0.6, 0.4])
    vae, c = encoder_of(a, s)
    with torch.no_grad():
        found = torch.stack([decompose(vae(torch.randn(1000, 2)), 20000).total_correlation for _ in range(20)])
    within(found, (c.diagonal().log().sum() - torch.logdet(c)) / 2, se=5, bias=10 / 1000)


def test_terms_that_have_no_meaning_are_refused():
    point = rp.recipes.vae(3, 2, posterior="point")
    with pytest.raises(InputError, match="Point"):
        TotalCorrelation()(point(torch.ones(4, 3)), 9)
    with pytest.raises(InputError, match="Point"):
        rp.fit(point.float(), torch.ones(9, 3), objective=Penalized(Reconstruction(), TotalCorrelation()))
    with pytest.raises(InputError, match="at least 2 rows"):
        decompose(small()(torch.randn(1, 3)), 9)


# ---- moments and kernels ----


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_dip_is_its_formula(posterior):
    vae, x = small(posterior), torch.randn(9, 3)
    draw, q = vae(x), vae.posterior(x)
    with torch.no_grad():
        means = np.cov(q.mean.numpy().T)
        each = q.covariance_matrix if isinstance(q, MultivariateNormal) else torch.diag_embed(q.variance)
        for kind, c, on in (("I", means, 10.0), ("II", means + each.mean(0).numpy(), 1.0)):
            expected = 2 * c[0, 1] ** 2 + on * ((c[0, 0] - 1) ** 2 + (c[1, 1] - 1) ** 2)
            assert float(DIP(kind)(draw, 50)) == pytest.approx(expected, rel=1e-12)
            assert float(DIP(kind, 0.0)(draw, 50)) == pytest.approx(2 * c[0, 1] ** 2, rel=1e-12)


def test_dip_two_is_zero_in_expectation_where_the_aggregate_posterior_has_unit_covariance():
    """With the exact posterior of a model, q(z) is the prior."""
    model = LinearGaussian.random(2, 3, seed=0)
    with torch.no_grad():
        assert float(DIP("II")(model.exact()(model.data(50000)), 50000)) < 1e-3
        assert float(DIP("I")(model.exact()(model.data(50000)), 50000)) > 0.01


def kernel_mean(delta: Tensor, variance: Tensor, s: float) -> Tensor:
    """E exp(-|u|²/2s) for u ~ N(delta, diag variance)."""
    return ((s / (s + variance)).sqrt() * torch.exp(-delta.square() / (2 * (s + variance)))).prod()


def test_mmd_is_unbiased_for_the_distance_of_two_gaussians():
    """The closed form for the rbf kernel; 4000 statistics of 5 against 5 samples, 4 se, failure rate 6e-5."""
    mean, variance, scale = torch.tensor([0.7, -0.3]), torch.tensor([0.5, 1.8]), 0.8
    s, one, zero = 2 * scale, torch.ones(2), torch.zeros(2)
    truth = kernel_mean(zero, 2 * variance, s) + kernel_mean(zero, 2 * one, s) - 2 * kernel_mean(mean, variance + 1, s)
    x = mean + variance.sqrt() * torch.randn(4000, 5, 2)
    values = MMD("rbf", (scale,)).statistic(x, torch.randn(4000, 5, 2))
    within(values, truth)
    assert float(truth) > 10 * float(values.std()) / math.sqrt(4000)
    within(MMD("imq", (0.5, 3.0)).statistic(torch.randn(4000, 5, 2), torch.randn(4000, 6, 2)), 0.0)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_mmd_is_the_statistic_written_out(kernel):
    x, y, total = torch.randn(4, 3), torch.randn(5, 3), 0.0
    for scale in (0.5, 2.0):

        def k(a: Tensor, b: Tensor, s: float = 3 * scale) -> float:
            r = float((a - b).square().sum())
            return math.exp(-r / (2 * s)) if kernel == "rbf" else s / (s + r)

        total += sum(k(a, b) for a in x for b in x if a is not b and not torch.equal(a, b)) / 12
        total += sum(k(a, b) for a in y for b in y if not torch.equal(a, b)) / 20
        total -= 2 * sum(k(a, b) for a in x for b in y) / 20
    assert float(MMD(kernel, (0.5, 2.0)).statistic(x, y)) == pytest.approx(total, abs=1e-12)


def test_mmd_sees_that_a_code_is_the_prior_and_that_it_is_not():
    """With the exact posterior q(z) is p(z): 200 batches, mean 0 to 4 se. With a shifted one it is far from 0."""
    model = LinearGaussian.random(2, 3, seed=0)
    with torch.no_grad():
        values = torch.stack([MMD()(model.exact()(model.data(60, seed)), 60) for seed in range(200)])
        within(values, 0.0)
        assert float(MMD()(model.exact()(model.data(500) + 5.0), 500)) > 0.1


def drawn(z: Tensor, *c: Tensor) -> Draw:
    return Draw(*(MultivariateNormal(torch.zeros(z.shape[-1]), torch.eye(z.shape[-1])),) * 2, z, z[..., 0], contexts=c)


def test_the_hsic_over_all_pairings_of_codes_and_contexts_is_zero():
    """All 120 pairings of 5 codes with 5 contexts are one sample of independence: the mean of an unbiased estimate."""
    z, c = torch.randn(1, 5, 2), torch.randn(5, 3)
    values = torch.stack([HSIC()(drawn(z, c[list(order)]), 5) for order in permutations(range(5))])
    assert float(values.std()) > 1e-3
    assert float(values.mean()) == pytest.approx(0, abs=1e-15)


def test_the_hsic_of_a_code_that_is_the_context_is_its_closed_form():
    """Of two values with kernel a between them, and b between the contexts: (1 - a)(1 - b) / 4, to O(1/n)."""
    n, t = 1000, 1.5
    y = torch.arange(n) % 2
    c = torch.nn.functional.one_hot(y, 2)
    z = (t * (2.0 * y - 1)).reshape(1, n, 1)
    a, b = math.exp(-((2 * t) ** 2) / (2 * 2.0)), math.exp(-2 / (2 * 1.0))  # the mean squared distance of contexts is 1
    value = float(HSIC(2.0)(drawn(z, c), n))
    assert value == pytest.approx((1 - a) * (1 - b) / 4, rel=0.01)
    doubled = float(HSIC(2.0)(drawn(z, 1e6 * c, torch.ones(n, 1)), n))
    assert doubled == pytest.approx(value, rel=1e-12)  # neither units nor a constant context matter
    assert float(HSIC()(drawn(z, torch.ones(n, 2)), n)) == pytest.approx(0, abs=1e-12)


def test_the_squared_norm_is_its_formula():
    draw = small()(torch.randn(4, 3), k=2)
    expected = sum(float(z @ z) / 2 for z in draw.z.detach().reshape(-1, 2)) / 8
    assert float(SquaredNorm()(draw, 4).detach()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DIP("III"), "kind"),
        (lambda: DIP("I", -1.0), "diagonal"),
        (lambda: MMD("linear"), "kernel"),
        (lambda: HSIC(0.0), "scale"),
        (lambda: MMD("rbf", ()), "scales"),
        (lambda: MMD("rbf", (1.0, -1.0)), "scales"),
        (lambda: Penalized(ELBO(), DIP(), -1.0), "must not be negative"),
    ],
)
def test_options_that_make_no_penalty_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
