"""Quantiles: the inverse of the distribution function in every family of one number, and scipy's numbers."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch.distributions import Bernoulli, Distribution

from reparam import distributions
from reparam.distributions import element_support, unwrap
from rows_likelihoods import LIKELIHOODS

pytestmark = pytest.mark.usefixtures("double")

U = torch.tensor([1e-9, 1e-3, 0.05, 0.3, 0.5, 0.77, 0.99, 1 - 1e-6], dtype=torch.float64)


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


FAMILIES = {
    "StudentT": (lambda: distributions.StudentT(t(5.0), t(1.0), t(2.0)), stats.t(5, 1, 2)),
    "StudentT heavy": (lambda: distributions.StudentT(t(0.7), t(0.0), t(1.0)), stats.t(0.7)),
    "StudentT light": (lambda: distributions.StudentT(t(1e6), t(-3.0), t(0.1)), stats.t(1e6, -3, 0.1)),
    "Beta": (lambda: distributions.Beta(t(2.5), t(0.8)), stats.beta(2.5, 0.8)),
    "Beta at the ends": (lambda: distributions.Beta(t(0.05), t(0.1)), stats.beta(0.05, 0.1)),
    "Beta narrow": (lambda: distributions.Beta(t(3e5), t(7e5)), stats.beta(3e5, 7e5)),
    "LogNormal": (lambda: distributions.LogNormal(t(0.3), t(1.2)), stats.lognorm(1.2, scale=2.718281828459045**0.3)),
    "Poisson": (lambda: distributions.Poisson(t(3.7).log()), stats.poisson(3.7)),
    "Poisson rare": (lambda: distributions.Poisson(t(1e-3).log()), stats.poisson(1e-3)),
    "Poisson many": (lambda: distributions.Poisson(t(1e6).log()), stats.poisson(1e6)),
    "NegativeBinomial": (lambda: distributions.NegativeBinomial(t(4.0).log(), t(0.3)), stats.nbinom(0.3, 0.3 / 4.3)),
    "NegativeBinomial many": (
        lambda: distributions.NegativeBinomial(t(5e4).log(), t(20.0)), stats.nbinom(20, 20 / 50020),
    ),
    "Binomial": (lambda: distributions.Binomial(t(0.4), total=30), stats.binom(30, 1 / (1 + 2.718281828459045**-0.4))),
    "Binomial one": (lambda: distributions.Binomial(t(-2.0), total=1), stats.bernoulli(1 / (1 + 2.718281828459045**2))),
}  # fmt: skip
each = pytest.mark.parametrize(("make", "known"), FAMILIES.values(), ids=FAMILIES)


@each
def test_quantiles_and_distribution_functions_are_scipys(make, known):
    d = make()
    expected = torch.from_numpy(known.ppf(U.numpy()))
    # scipy's own bisections of tails end at 1e-9 or so of the value
    torch.testing.assert_close(d.icdf(U), expected, rtol=1e-8, atol=1e-12)
    places = torch.from_numpy(known.ppf([0.01, 0.4, 0.8, 0.999]))
    torch.testing.assert_close(d.cdf(places), torch.from_numpy(known.cdf(places.numpy())), rtol=1e-9, atol=1e-12)
    assert bool((d.icdf(U).diff() >= 0).all())


def elements(row) -> Distribution:
    torch.manual_seed(1)
    with torch.no_grad():
        return unwrap(row.make()(torch.randn(2)))


def test_every_likelihood_of_single_numbers_has_quantiles():
    """Vectors have none; torch's Bernoulli has but two values."""
    families = {type(d): d for d in map(elements, LIKELIHOODS.values()) if d.event_shape == ()}
    assert {cls for cls in families if cls.icdf is Distribution.icdf} == {Bernoulli}
    assert len(families) >= 14


@pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_a_quantile_is_the_least_value_whose_distribution_function_reaches_its_level(row):
    """Equal to 1e-6 for densities; for whole steps P(X <= x) >= u > P(X <= x - step)."""
    d = elements(row)
    if type(d).icdf is Distribution.icdf or type(d).cdf is Distribution.cdf:
        return
    u = U[1:-1].unsqueeze(-1)
    x = d.icdf(u)
    assert bool((x.diff(dim=0) >= 0).all())
    if not element_support(d).is_discrete:
        torch.testing.assert_close(d.cdf(x), u.expand_as(x), rtol=0, atol=1e-6)
        return
    step = getattr(d, "step", getattr(getattr(d, "components", None), "step", 1.0))
    below = torch.where(x > 0, d.cdf((x - step).clamp_min(0)), 0.0)
    assert bool((d.cdf(x) >= u - 1e-12).all())
    assert bool((below < u + 1e-12).all())


def test_quantiles_keep_the_dtype_and_have_ends():
    for d in (distributions.Poisson(torch.zeros(3)), distributions.NegativeBinomial(torch.zeros(3), torch.ones(3))):
        assert d.icdf(torch.tensor(1.0)).tolist() == [torch.inf] * 3
        assert d.icdf(torch.tensor(0.0)).tolist() == [0.0] * 3
    d = distributions.Binomial(torch.zeros(2, dtype=torch.float32), total=5)
    assert d.icdf(torch.tensor([0.0, 1.0])).tolist() == [0.0, 5.0]
    assert d.icdf(torch.tensor(0.5)).dtype == torch.float32
    beta = distributions.Beta(torch.ones(1), torch.ones(1))
    assert beta.icdf(torch.tensor([0.0, 0.25, 1.0])).tolist() == pytest.approx([0.0, 0.25, 1.0], abs=1e-12)
    student = distributions.StudentT(torch.tensor([3.0]), torch.zeros(1), torch.ones(1))
    assert student.icdf(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-torch.inf, 0.0, torch.inf]


def test_zeros_of_two_kinds():
    """Zero up to the probability of both kinds of zero, then the base's own quantile of what is left."""
    base, gate = distributions.Poisson(t(2.0)), t(-0.4)
    d = distributions.ZeroInflated(base, gate)
    pi = float(gate.sigmoid())
    both = pi + (1 - pi) * float(base.cdf(t(0.0)))
    u = t(pi / 2, both - 1e-6, both + 1e-6, 0.9)
    assert d.icdf(u).tolist() == [0, 0, 1, float(base.icdf(t((0.9 - pi) / (1 - pi))))]
