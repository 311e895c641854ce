"""Closed forms of KL by Monte Carlo, and von Mises-Fisher by Bessel functions."""

from __future__ import annotations

import math

import pytest
import scipy.special
import torch
from torch.distributions import (
    Dirichlet,
    Distribution,
    Gamma,
    Independent,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from models import within
from reparam.distributions import SphereUniform, VonMisesFisher, centre
from reparam.distributions.polar import log_mean_exp_cosine, mean_cosine, polar_angle

pytestmark = pytest.mark.usefixtures("double")


# closed forms of KL


def pairs() -> dict[str, tuple[Distribution, Distribution]]:
    def vector(d: Distribution) -> Independent:
        return Independent(d, 1)

    normal = vector(Normal(torch.randn(4), torch.rand(4) + 0.5))
    low = LowRankMultivariateNormal(torch.randn(3, 4), torch.randn(3, 4, 2), torch.rand(3, 4) + 0.1)
    full = MultivariateNormal(torch.zeros(4), torch.eye(4) + 0.5)
    gammas = [vector(Gamma(torch.rand(*s, 4) + 0.5, torch.rand(*s, 4) + 0.5)) for s in ((3,), ())]
    dirichlets = [Dirichlet(torch.rand(*s, 4) + 0.5) for s in ((3,), ())]
    table = {
        "low rank, diagonal": (low, normal),
        "low rank, full": (low, full),
        "diagonal, low rank": (vector(Normal(torch.randn(3, 4), torch.rand(3, 4) + 0.5)), low.expand((3,))),
        "Laplace, normal": (vector(Laplace(torch.randn(3, 4), torch.rand(3, 4) + 0.2)), normal),
        "Gamma": tuple(gammas),
        "Dirichlet": tuple(dirichlets),
    }
    for dim in (2, 3, 10, 100):
        mu = torch.nn.functional.normalize(torch.randn(4, dim), dim=-1)
        kappa = torch.tensor([1e-3, 1.0, 50.0, 1e4])
        table[f"von Mises-Fisher {dim}"] = (VonMisesFisher(mu, kappa), SphereUniform(torch.ones(dim)))
    return table


@pytest.mark.parametrize("name", pairs())
def test_a_closed_form_of_kl_is_its_monte_carlo_estimate(name):
    """20000 draws, 5 se: failure rate 6e-7 for each number."""
    q, p = pairs()[name]
    z = q.sample((20000,))
    exact = kl_divergence(q, p)
    assert exact.shape == q.batch_shape
    within(q.log_prob(z) - p.log_prob(z), exact, se=5)


def test_kl_of_a_low_rank_gaussian_is_that_of_its_full_covariance():
    q, p = pairs()["low rank, diagonal"]
    full = MultivariateNormal(q.loc, q.covariance_matrix), MultivariateNormal(p.mean, torch.diag(p.variance))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(*full), rtol=1e-10, atol=1e-10)
    with pytest.raises(NotImplementedError):
        kl_divergence(q, Independent(Laplace(torch.zeros(4), torch.ones(4)), 1))


# von Mises-Fisher

KAPPA = torch.logspace(-3, 4, 15, dtype=torch.float64)


@pytest.mark.parametrize("dim", [2, 3, 4, 7, 20, 50, 100])
def test_normaliser_and_mean_of_von_mises_fisher_are_those_of_bessel_functions(dim):
    """scipy's exponentially scaled I_ν, to the digits that it has (1e-12); where it underflows it says nothing."""
    nu = dim / 2 - 1
    low, high = (torch.from_numpy(scipy.special.ive(v, KAPPA.numpy())) for v in (nu, nu + 1))
    known = low > 1e-280
    assert int(known.sum()) > 5
    log_m = math.lgamma(nu + 1) + nu * (2 / KAPPA).log() + low.log()
    ours = log_mean_exp_cosine(KAPPA, dim, shifted=True)
    torch.testing.assert_close(ours[known], log_m[known], rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(mean_cosine(KAPPA, dim)[known], (high / low)[known], rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(log_mean_exp_cosine(KAPPA, dim), ours + KAPPA, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dim", [2, 3, 5, 30, 100])
def test_the_mean_is_the_slope_of_the_normaliser_and_the_kl_has_the_right_slope(dim):
    """d log M / d kappa = A and d KL / d kappa = kappa A', with A' = 1 - (D-1)/kappa A - A²."""
    kappa = torch.tensor([0.1, 1.0, 10.0, 300.0], requires_grad=True)
    a = mean_cosine(kappa, dim)
    (slope,) = torch.autograd.grad(log_mean_exp_cosine(kappa, dim).sum(), kappa)
    torch.testing.assert_close(slope, a.detach(), rtol=1e-11, atol=0)
    q = VonMisesFisher(torch.eye(1, dim).expand(4, dim), kappa)
    (slope,) = torch.autograd.grad(q.kl_uniform().sum(), kappa)
    with torch.no_grad():
        torch.testing.assert_close(slope, kappa * (1 - (dim - 1) / kappa * a - a**2), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 10, 100])
def test_the_angle_inverts_its_distribution_function(dim):
    """In three dimensions it is known; elsewhere the slope is that of finite differences, and draws pass a KS test."""
    kappa, noise = torch.tensor([0.01, 1.0, 30.0, 1e4]), torch.randn(3000, 4)
    angle, slope = polar_angle(kappa, dim, noise)
    step = 1e-5 * kappa
    near = [polar_angle(k, dim, noise)[0] for k in (kappa + step, kappa - step)]
    torch.testing.assert_close(slope, (near[0] - near[1]) / (2 * step), rtol=1e-4, atol=1e-9)
    if dim == 3:
        below = torch.expm1(kappa * (angle.cos() - 1) * 1.0) / torch.expm1(-2 * kappa)
        torch.testing.assert_close(below, torch.special.ndtr(-noise), atol=1e-11, rtol=0)
    within(angle.cos() - 1, mean_cosine(kappa, dim, shifted=True), se=5)


def test_von_mises_fisher_claims_its_covariance_and_lies_on_the_sphere():
    mu = torch.nn.functional.normalize(torch.randn(3, 4), dim=-1)
    q = VonMisesFisher(mu, torch.tensor([0.1, 3.0, 1e4]))
    z = q.sample((20000,))
    assert bool(q.support.check(z).all())
    assert float((z.norm(dim=-1) - 1).abs().max()) < 1e-12
    gap = z - q.mean
    within(gap / q.stddev, torch.zeros(3, 4), se=5)
    scale = (q.variance.unsqueeze(-1) * q.variance.unsqueeze(-2)).sqrt()
    within(gap.unsqueeze(-1) * gap.unsqueeze(-2) / scale, q.covariance_matrix / scale, se=5)
    assert torch.equal(centre(q), mu)
