"""Distributions and closed forms of KL against quadrature, high precision and Monte Carlo."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from torch.distributions import Gamma, Independent, Laplace, MultivariateNormal, Normal, kl_divergence
from torch.distributions.kl import _KL_REGISTRY

from models import within
from reparam.distributions import Affine, ContinuousBernoulli, Delta, from_standard_normal, unwrap
from reparam.distributions.continuous_bernoulli import log_sinhc

pytestmark = pytest.mark.usefixtures("double")

LOGITS = [sign * size for size in (0.0, 1e-8, 1e-3, 0.3, 0.49, 0.5, 0.51, 1.0, 5.0, 30.0, 80.0) for sign in (1, -1)][1:]
NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(200))
UNIT, UNIT_WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # on [0, 1]; exact to 1e-13 for exp(80 x)


def high_precision(logit: float) -> tuple[float, float, float]:
    """Log normaliser log(sinh(l/2) / (l/2)), mean and variance of the continuous Bernoulli, to 60 digits."""
    with mpmath.workdps(60):
        if logit == 0:
            return 0.0, 0.5, 1 / 12
        u = mpmath.mpf(logit)
        norm = mpmath.log(mpmath.sinh(u / 2) / (u / 2))
        mean = 1 / (1 - mpmath.exp(-u)) - 1 / u
        variance = 1 / u**2 - 1 / (4 * mpmath.sinh(u / 2) ** 2)
        return float(norm), float(mean), float(variance)


@pytest.mark.parametrize("logit", LOGITS)
class TestContinuousBernoulli:
    def test_integrates_to_one_with_its_mean_and_variance(self, logit):
        """200-point Gauss-Legendre quadrature: its error is below 1e-12 for |logit| <= 80."""
        d = ContinuousBernoulli(torch.tensor(logit))
        mass = d.log_prob(UNIT).exp() * UNIT_WEIGHTS
        assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
        assert float((mass * UNIT).sum()) == pytest.approx(float(d.mean), abs=1e-12)
        assert float((mass * (UNIT - d.mean) ** 2).sum()) == pytest.approx(float(d.variance), abs=1e-12)

    def test_agrees_with_sixty_digits(self, logit):
        """The log normaliser grows to 40: 1e-14 absolute where it is of order one, else a few last places."""
        norm, mean, variance = high_precision(logit)
        d = ContinuousBernoulli(torch.tensor(logit))
        assert float(log_sinhc(d.logits)) == pytest.approx(norm, abs=1e-14, rel=4e-16)
        assert float(d.mean) == pytest.approx(mean, abs=1e-14)
        assert float(d.variance) == pytest.approx(variance, abs=1e-14)

    def test_mean_and_variance_are_derivatives_of_the_log_normaliser(self, logit):
        """The density is exp(l (x - 1/2) - A(l)): its cumulants are derivatives of A, which autograd takes."""
        at = torch.tensor(logit, requires_grad=True)
        (first,) = torch.autograd.grad(log_sinhc(at), [at], create_graph=True)
        (second,) = torch.autograd.grad(first, [at])
        _, mean, variance = high_precision(logit)
        assert float(first.detach()) + 0.5 == pytest.approx(mean, abs=1e-14)
        # the second derivative of the closed form is a difference of terms up to 2/l² <= 8, each of several roundings
        assert float(second) == pytest.approx(variance, abs=1e-13)

    def test_icdf_inverts_the_distribution_function(self, logit):
        """The distribution function is integrated by quadrature over [0, x]."""
        d = ContinuousBernoulli(torch.tensor(logit))
        u = torch.linspace(0.001, 0.999, 41)
        x = d.icdf(u)
        below = (d.log_prob(x[:, None] * UNIT).exp() * UNIT_WEIGHTS).sum(-1) * x
        torch.testing.assert_close(below, u, atol=1e-12, rtol=0)

    def test_icdf_of_the_ends_is_the_ends(self, logit):
        d = ContinuousBernoulli(torch.tensor(logit))
        torch.testing.assert_close(d.icdf(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]), atol=1e-15, rtol=0)

    def test_samples_have_its_mean_and_variance(self, logit):
        """20000 samples, 5 se: failure rate 6e-7 for each number."""
        d = ContinuousBernoulli(torch.tensor(logit))
        x = d.sample((20000,))
        assert bool(d.support.check(x).all())
        within(x, d.mean, se=5)
        within((x - d.mean).square(), d.variance, se=5)

    def test_a_sample_moves_with_the_logit_as_the_distribution_function_says(self, logit):
        """dx/dl at fixed u is -(dF/dl) / density; here by central differences of icdf, step 1e-4, error about 1e-8."""
        u, step = torch.linspace(0.05, 0.95, 7), 1e-4
        at = torch.tensor(logit, requires_grad=True)
        jacobian = torch.autograd.functional.jacobian(lambda logits: ContinuousBernoulli(logits).icdf(u), at)
        up, down = (ContinuousBernoulli(torch.tensor(logit + s)).icdf(u) for s in (step, -step))
        # with |l| < step the power series of icdf is first order and the closed form cancels: 1e-12 / step
        torch.testing.assert_close(jacobian, (up - down) / (2 * step), atol=1e-7, rtol=0)

    def test_float32_is_close_and_its_gradient_finite(self, logit):
        """float32 rounds by 6e-8: l, l (x - 1/2), and the terms of the variance, which are of order 4 at most."""
        x = torch.linspace(0, 1, 11)
        at = torch.tensor(logit, dtype=torch.float32, requires_grad=True)
        narrow, wide = ContinuousBernoulli(at), ContinuousBernoulli(at.detach().double())
        log_prob = narrow.log_prob(x.float())
        torch.testing.assert_close(log_prob.double(), wide.log_prob(x.float().double()), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(narrow.mean.double(), wide.mean, atol=1e-6, rtol=0)
        torch.testing.assert_close(narrow.variance.double(), wide.variance, atol=2e-6, rtol=0)
        (gradient,) = torch.autograd.grad(log_prob.sum(), [at])
        torch.testing.assert_close(gradient.double(), (x - wide.mean).sum(), atol=1e-5, rtol=1e-6)


def test_the_gradient_of_a_continuous_bernoulli_sample_is_finite_for_every_uniform_number():
    at = torch.tensor([-80.0, 0.0, 80.0], dtype=torch.float32, requires_grad=True)
    for u in (0.0, 2.0**-24, 0.5, 1 - 2.0**-24):  # what torch.rand can return, its ends included
        (gradient,) = torch.autograd.grad(ContinuousBernoulli(at).icdf(torch.full((3,), u)).sum(), [at])
        assert bool(gradient.isfinite().all()), u


@pytest.mark.parametrize("family", [Normal, Laplace])
def test_an_affine_density_integrates_to_one_per_unit_of_x(family):
    """Quadrature on both sides of the Laplace kink; the tails beyond 40 deviations hold less than 1e-15."""
    loc, scale = torch.tensor([2.0]), torch.tensor([0.05])
    base = family(torch.tensor([0.3]), 1.5)
    d = Affine(Independent(base, 1), loc, scale)
    centre = loc + scale * base.mean
    grid, weight = (t.reshape(-1) for t in (NODES.repeat(2, 1), WEIGHTS.repeat(2, 1)))
    side = torch.cat([-torch.ones(200), torch.ones(200)])
    reach = 40 * scale * base.stddev
    x = centre + side * reach * (grid + 1) / 2
    mass = d.log_prob(x.unsqueeze(-1)).exp() * weight * reach / 2
    # 200 points over 40 deviations resolve both functions, smooth on each side, to rounding
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    assert float((mass * x).sum()) == pytest.approx(float(d.mean), abs=1e-12)
    assert float((mass * (x - d.mean) ** 2).sum()) == pytest.approx(float(d.variance), abs=1e-12)


def test_an_affine_normal_is_the_normal_in_other_units():
    mean, scale = torch.randn(4, 3), torch.rand(4, 3) + 0.1
    loc, unit = torch.randn(3), torch.rand(3) * 10 + 0.01
    x = torch.randn(5, 4, 3)
    d = Affine(Independent(Normal(mean, scale), 1), loc, unit)
    expected = Independent(Normal(loc + unit * mean, unit * scale), 1)
    torch.testing.assert_close(d.log_prob(x), expected.log_prob(x), atol=0, rtol=1e-11)
    torch.testing.assert_close(d.mean, expected.mean)
    torch.testing.assert_close(d.mode, expected.mode)
    torch.testing.assert_close(d.variance, expected.variance)
    wide = d.expand((5, 4))
    assert wide.batch_shape == (5, 4)
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x), atol=0, rtol=0)
    for draw in (d.sample, d.rsample):  # 5 se: failure rate 6e-7 for each of 48 numbers
        within(draw((5000,)), expected.mean, se=5)
        within((draw((5000,)) - expected.mean).square(), expected.variance, se=5)


def test_a_delta_has_mass_at_its_point_alone():
    point = torch.randn(4, 2)
    d = Delta(point)
    assert torch.equal(d.log_prob(point), torch.zeros(4))
    assert torch.equal(d.log_prob(point + torch.tensor([0.0, 1e-12])), torch.full((4,), -math.inf))
    assert torch.equal(d.rsample((3,)), point.expand(3, 4, 2))
    assert torch.equal(d.mean, point)
    assert torch.equal(d.variance, torch.zeros(4, 2))
    assert d.expand((3, 4)).batch_shape == (3, 4)
    assert Delta(point.float()).log_prob(point.float()).dtype == torch.float32


# Closed forms of KL: every pair of types that reparam registers, with general (not standard) members.


def diagonal(dim: int, batch: tuple[int, ...] = (3,)) -> Independent:
    return Independent(Normal(torch.randn(*batch, dim), torch.rand(*batch, dim) + 0.3), 1)


def full(dim: int, batch: tuple[int, ...] = (3,)) -> MultivariateNormal:
    # elements of 0.3 keep the condition number small, so that the Monte Carlo mean is nearly Gaussian
    factor = 0.3 * torch.randn(*batch, dim, dim).tril(-1) + torch.diag_embed(torch.rand(*batch, dim) + 0.3)
    return MultivariateNormal(torch.randn(*batch, dim), scale_tril=factor)


PAIRS = {(MultivariateNormal, Independent): (full, diagonal), (Independent, MultivariateNormal): (diagonal, full)}


def moments(d) -> tuple[torch.Tensor, torch.Tensor]:
    return d.mean, d.covariance_matrix if isinstance(d, MultivariateNormal) else torch.diag_embed(d.variance)


def gaussian_kl(q, p) -> torch.Tensor:
    """The textbook formula, by inverse and determinant."""
    (m, s), (n, t) = moments(q), moments(p)
    inverse, shift = torch.linalg.inv(t), (n - m).unsqueeze(-1)
    trace = (inverse @ s).diagonal(dim1=-2, dim2=-1).sum(-1)
    square = (shift.mT @ inverse @ shift)[..., 0, 0]
    return (trace + square - m.shape[-1] + torch.logdet(t) - torch.logdet(s)) / 2


def test_no_registered_kl_escapes_these_tests():
    ours = {pair for pair, function in _KL_REGISTRY.items() if function.__module__ == "reparam.distributions.kl"}
    assert {(q.__name__, p.__name__) for q, p in ours} == {
        *((q.__name__, p.__name__) for q, p in PAIRS),
        ("Delta", "Distribution"),
        # in test_posteriors.py
        ("LowRankMultivariateNormal", "Independent"),
        ("Independent", "LowRankMultivariateNormal"),
        ("VonMisesFisher", "SphereUniform"),
    }


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one prior", "a prior for each row"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda p: f"{p[0].__name__}-{p[1].__name__}")
def test_kl_is_the_textbook_formula_and_its_monte_carlo_mean(pair, dim, batch):
    """Monte Carlo: 20000 samples, 4 se, failure rate 6e-5 for each of 36 numbers, 2e-3 for all."""
    q, p = pair[0](dim), pair[1](dim, batch)
    kl = kl_divergence(q, p)
    assert kl.shape == (3,)
    torch.testing.assert_close(kl, gaussian_kl(q, p), atol=1e-9, rtol=1e-10)
    z = q.sample((20000,))
    within(q.log_prob(z) - p.log_prob(z), kl)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=lambda p: f"{p[0].__name__}-{p[1].__name__}")
def test_kl_of_equal_gaussians_is_zero(pair):
    mean, scale = torch.randn(3, 4), torch.rand(3, 4) + 0.1
    same = {
        full: MultivariateNormal(mean, scale_tril=torch.diag_embed(scale)),
        diagonal: Independent(Normal(mean, scale), 1),
    }
    torch.testing.assert_close(kl_divergence(same[pair[0]], same[pair[1]]), torch.zeros(3), atol=1e-13, rtol=0)


def test_kl_of_a_point_mass_is_infinite():
    q = Delta(torch.randn(3, 2))
    for p in (diagonal(2, ()), diagonal(2), full(2), Independent(Laplace(torch.zeros(2), torch.ones(2)), 1)):
        assert torch.equal(kl_divergence(q, p), torch.full((3,), math.inf))


def test_no_closed_form_is_claimed_for_other_vectors():
    laplace = Independent(Laplace(torch.zeros(2), torch.ones(2)), 1)
    for q, p in ((laplace, full(2, ())), (full(2, ()), laplace)):
        with pytest.raises(NotImplementedError):
            kl_divergence(q, p)


def test_standard_normal_noise_becomes_the_draw_that_it_stands_for():
    """The covariance of the image of e_1 ... e_D is that of the distribution: the map is mean + L eps, L L' = Σ."""
    for d in (diagonal(3), full(3), full(3, ())):
        mean, covariance = moments(d)
        eye = torch.eye(3).unsqueeze(1).expand(3, 3, 3)
        columns = from_standard_normal(d, eye) - mean
        torch.testing.assert_close(torch.einsum("kbi,kbj->bij", columns, columns), covariance.expand(3, 3, 3))
    point = Delta(torch.randn(3, 2))
    assert torch.equal(from_standard_normal(point, torch.randn(5, 3, 2)), point.loc.expand(5, 3, 2))
    assert from_standard_normal(Independent(Gamma(torch.ones(3, 2), 1.0), 1), torch.randn(5, 3, 2)) is None


def test_unwrap_finds_what_stands_inside_any_nesting():
    base = Normal(torch.zeros(2, 3, 4), 1.0)
    assert unwrap(Independent(Independent(base, 1), 1)) is base
    assert unwrap(base) is base
