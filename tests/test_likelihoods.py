"""Families against scipy and high precision, their limits, contexts of their own, and what they refuse."""

from __future__ import annotations

import itertools
import math

import mpmath
import pytest
import torch
from torch import Tensor, nn

import reparam as rp
from models import Constant, Function
from refusals import refused
from reparam import distributions, likelihoods

stats = pytest.importorskip("scipy.stats")
pytestmark = pytest.mark.usefixtures("double")

COUNTS = torch.tensor([0.0, 1.0, 2.0, 7.0, 9.0, 10.0, 11.0, 60.0, 1000.0], dtype=torch.float64)


def at(wrap, value: Tensor) -> torch.distributions.Distribution:
    """The distribution of a likelihood whose net gives this output."""
    return distributions.unwrap(wrap(Constant(value.reshape(-1) if value.dim() == 0 else value))(torch.zeros(1)))


def close(got: Tensor, expected, tolerance: float = 1e-10) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


class TestAgainstScipy:
    """Log densities, means, variances and quantiles, to 1e-10."""

    X = torch.linspace(-9.0, 11.0, 9, dtype=torch.float64)
    SHARES = torch.tensor([1e-9, 0.01, 0.3, 0.5, 0.9, 1 - 1e-9], dtype=torch.float64)

    def check(self, d, reference, x: Tensor) -> None:
        log = reference.logpmf if hasattr(reference.dist, "logpmf") else reference.logpdf
        close(d.log_prob(x), log(x.numpy()))
        close(d.mean.squeeze(), reference.mean())
        close(d.variance.squeeze(), reference.var())

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
    def test_real(self, scale):
        self.check(
            at(lambda n: likelihoods.Laplace(n, scale), torch.tensor(0.7)),
            stats.laplace(0.7, scale),
            0.7 + scale * self.X,
        )
        for df in (2.5, 9.0, 19.9, 20.1, 300.0):
            d = at(lambda n, df=df: likelihoods.StudentT(n, scale, df), torch.tensor(0.7))
            self.check(d, stats.t(df, 0.7, scale), self.X)

    @pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
    def test_log_normal(self, scale):
        d, reference = (
            distributions.LogNormal(torch.tensor(0.7), torch.tensor(scale)),
            stats.lognorm(scale, 0, math.e**0.7),
        )
        self.check(d, reference, self.X.exp())
        close(d.icdf(self.SHARES), reference.ppf(self.SHARES.numpy()))
        close(
            at(lambda n: likelihoods.LogNormal(n, scale), torch.tensor(0.7)).log_prob(self.X.exp()),
            d.log_prob(self.X.exp()),
        )

    @pytest.mark.parametrize(("a", "b"), [(0.3, 0.4), (1.0, 1.0), (2.0, 9.9), (40.0, 3.0), (700.0, 900.0)])
    def test_beta(self, a, b):
        d = distributions.Beta(torch.tensor(a), torch.tensor(b))
        self.check(d, stats.beta(a, b), self.SHARES)
        logit = torch.tensor(math.log(a / b))
        close(at(lambda n: likelihoods.Beta(n, a + b), logit).log_prob(self.SHARES), d.log_prob(self.SHARES))

    @pytest.mark.parametrize("rate", [0.3, 9.9, 200.0])
    def test_counts(self, rate):
        log_rate = torch.tensor(rate).log()
        self.check(at(likelihoods.Poisson, log_rate), stats.poisson(rate), COUNTS)
        for theta in (1e-3, 1.0, 9.9, 10.1, 1000.0):
            d = at(lambda n, theta=theta: likelihoods.NegativeBinomial(n, theta), log_rate)
            self.check(d, stats.nbinom(theta, theta / (theta + rate)), COUNTS)

    @pytest.mark.parametrize("logit", [-30.0, -1.0, 0.0, 2.0])
    def test_trials(self, logit):
        p, x = 1 / (1 + math.exp(-logit)), torch.arange(41.0)
        d = at(lambda n: likelihoods.Binomial(n, 40), torch.tensor(logit))
        self.check(d, stats.binom(40, p), x[:38] if logit < -20 else x)

    def test_words(self):
        logits = torch.randn(4)
        d = distributions.Multinomial(logits, 6)
        x = d.sample((50,))
        close(d.log_prob(x), stats.multinomial(6, d.log_probs.exp().numpy()).logpmf(x.numpy()))

    def test_grey_levels(self):
        """Where differences of scipy's distribution function do not cancel."""
        d = distributions.DiscretizedLogistic(torch.tensor(100.0), torch.tensor(20.0), levels=256, maximum=255.0)
        x = torch.arange(256.0)
        upper = stats.logistic.cdf(x.numpy() + 0.5, 100, 20)
        upper[-1] = 1
        close(d.log_prob(x).exp(), torch.as_tensor(upper).diff(prepend=torch.zeros(1)), 1e-13)


def negative_binomial_exactly(x: float, mu: float, theta: float) -> float:
    with mpmath.workdps(50):
        x, mu, theta = mpmath.mpf(x), mpmath.mpf(mu), mpmath.mpf(theta)
        ways = mpmath.loggamma(x + theta) - mpmath.loggamma(theta) - mpmath.loggamma(x + 1)
        return float(ways + theta * mpmath.log(theta / (theta + mu)) + x * mpmath.log(mu / (theta + mu)))


@pytest.mark.parametrize("theta", [1e-6, 1.0, 1e3, 1e6])
@pytest.mark.parametrize(
    ("x", "mu"), [(0.0, 1e6), (3.0, 2.0), (1e6, 1e6), (1001000.0, 1e6), (1e6, 1.0), (1.0, 1e-6), (5.0, 1e-6)]
)
def test_counts_of_a_million_agree_with_fifty_digits(x, mu, theta):
    """float64: 1e-9 of the value. float32 rounds log mu by 1e-6, which x - mu counts multiply, and values by 1e-6."""
    d = distributions.NegativeBinomial(torch.tensor(mu).log(), torch.tensor(theta))
    exact = negative_binomial_exactly(x, mu, theta)
    assert float(d.log_prob(torch.tensor(x))) == pytest.approx(exact, rel=1e-9, abs=1e-9)
    narrow = distributions.NegativeBinomial(torch.tensor(mu).log().float(), torch.tensor(theta).float())
    assert float(narrow.log_prob(torch.tensor(x).float())) == pytest.approx(
        exact, rel=3e-6, abs=2e-5 + 2e-6 * min(abs(x - mu), theta)
    )


class TestLimits:
    def test_a_negative_binomial_of_large_theta_is_poisson(self):
        """The difference is ((x - mu)² - x) / 2 theta to first order."""
        x, mu = torch.arange(20.0), 4.0
        poisson = distributions.Poisson(torch.tensor(mu).log())
        for theta in (1e4, 1e6):
            d = distributions.NegativeBinomial(torch.tensor(mu).log(), torch.tensor(theta))
            first_order = ((x - mu) ** 2 - x) / (2 * theta)
            close(d.log_prob(x) - poisson.log_prob(x), first_order, 2000 / theta**2 + 1e-11)

    def test_a_student_of_many_degrees_of_freedom_is_gaussian(self):
        x = torch.linspace(-5, 5, 11)
        normal = torch.distributions.Normal(0.5, 2.0)
        for df in (1e4, 1e8):
            d = distributions.StudentT(torch.tensor(df), torch.tensor(0.5), torch.tensor(2.0))
            z = (x - 0.5) / 2
            close(d.log_prob(x) - normal.log_prob(x), (z**4 - 2 * z**2 - 1) / (4 * df), 1000 / df**2 + 1e-12)

    def test_a_mixture_of_one_logistic_is_that_logistic(self):
        value = torch.randn(3, 2)
        single = at(lambda n: likelihoods.DiscretizedLogistic(n, "predicted", 16), value[1:])
        mixture = at(lambda n: likelihoods.MixtureOfDiscretizedLogistics(n, 1, 16), value)
        x = single.sample((30,))
        close(mixture.log_prob(x), single.log_prob(x), 1e-14)
        close(mixture.mean, single.mean, 1e-14)
        close(mixture.variance, single.variance, 1e-14)

    def test_a_multinomial_of_one_draw_is_categorical(self):
        logits = torch.randn(5, 4)
        one, classes = distributions.Multinomial(logits, 1), distributions.Categorical(logits)
        close(one.log_prob(torch.eye(4).unsqueeze(1)), classes.log_prob(torch.arange(4.0).unsqueeze(1)), 1e-14)
        close(one.mean, classes.probs, 1e-14)

    @pytest.mark.parametrize("n", [0, 1, 4])
    def test_a_multinomial_of_any_sum_is_normalised_for_each_sum(self, n):
        d = distributions.Multinomial(torch.randn(3))
        x = torch.tensor([c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n], dtype=torch.float64)
        assert float(d.log_prob(x).exp().sum()) == pytest.approx(1, abs=1e-13)

    def test_a_binomial_of_one_trial_and_ordered_classes_of_two_are_bernoulli(self):
        logits, x = torch.tensor([-40.0, -1.0, 0.0, 3.0]), torch.tensor([[0.0], [1.0]])
        expected = torch.distributions.Bernoulli(logits=logits).log_prob(x.expand(2, 4))
        close(distributions.Binomial(logits, total=1).log_prob(x), expected, 1e-12)
        close(at(lambda n: likelihoods.Ordinal(n, 2), logits).log_prob(x), expected, 1e-12)

    def test_ordered_classes_start_equally_probable_and_rise_with_the_predictor(self):
        d = at(lambda n: likelihoods.Ordinal(n, 5), torch.tensor([0.0, 1.0, 2.0]))
        close(d.probs[0], torch.full((5,), 0.2), 1e-14)
        assert bool((d.mean.diff() > 0).all())

    def test_zero_inflation_ends_in_the_counts_or_in_zeros(self):
        base = distributions.Poisson(torch.tensor(1.0))
        close(distributions.ZeroInflated(base, torch.tensor(-50.0)).log_prob(COUNTS), base.log_prob(COUNTS), 1e-14)
        assert float(distributions.ZeroInflated(base, torch.tensor(50.0)).log_prob(torch.zeros(()))) == pytest.approx(0)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.1, 10.0, 1e6])
@pytest.mark.parametrize("loc", [-80.0, 0.0, 0.5003, 1.0, 80.0])
def test_256_grey_levels_sum_to_one_at_every_place_and_width(loc, scale):
    d = distributions.DiscretizedLogistic(torch.tensor(loc), torch.tensor(scale), levels=256, maximum=1.0)
    x = torch.arange(256.0) / 255
    log_prob = d.log_prob(x)
    assert bool(log_prob.isfinite().all())
    assert float(log_prob.logsumexp(0)) == pytest.approx(0, abs=1e-12)
    close(d.log_prob(x.float().double()), log_prob, 1e-14)  # levels as float32 hold them


class TestExposure:
    """The last context multiplies the rate, and the net does not see it."""

    FAMILIES = {  # noqa: RUF012
        "poisson": lambda net: likelihoods.Poisson(net, exposure=True),
        "negative binomial": lambda net: likelihoods.NegativeBinomial(net, 2.0, exposure=True),
    }

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("shape", [(), (1,), (3,)], ids=str)
    def test_it_multiplies_the_mean(self, family, shape):
        z, exposure = torch.randn(4, 5, 2), torch.rand(4, 5, *shape) + 0.5
        part = self.FAMILIES[family](rp.networks.mlp(2, 3))
        d, once = part(z, exposure), part(z, torch.ones(4, 5))
        factor = exposure.unsqueeze(-1) if shape == () else exposure
        close(d.mean, once.mean * factor, 1e-13)
        if family == "negative binomial":
            close(d.variance, d.mean + d.mean**2 / 2, 1e-13)

    def test_other_contexts_enter_the_net(self):
        part = likelihoods.Poisson(rp.networks.mlp(2, 3, context=2), exposure=True)
        z, label, size = torch.randn(5, 2), torch.randn(5, 2), torch.full((5, 1), 3.0)
        other = likelihoods.Poisson(part.net)
        close(part(z, label, size).mean, 3 * other(z, label).mean, 1e-13)

    def test_in_a_model_of_rows_with_sizes_of_their_own(self):
        """The same draw of z, with a context for each row."""
        encoder = rp.networks.mlp(3, 4, context=1)
        part = likelihoods.ZeroInflated(likelihoods.Poisson(rp.networks.mlp(2, (2, 3)), exposure=True))
        vae = rp.VAE(rp.priors.StandardNormal(2), part, rp.posteriors.DiagonalGaussian(encoder))
        size = torch.tensor([[1.0], [10.0], [100.0]])
        x = vae.sample(3, size)
        draw = vae(x, size, k=7)
        assert draw.log_px.shape == (7, 3)
        each = torch.stack(
            [vae.at(draw.z[:, i : i + 1], x[i : i + 1], size[i : i + 1]).log_px[:, 0] for i in range(3)], 1
        )
        close(draw.log_px, each, 1e-12)

    def test_what_is_refused(self):
        part = likelihoods.Poisson(rp.networks.mlp(2, 3), exposure=True)
        refused(lambda: part(torch.zeros(4, 2)), "Poisson", "context")
        refused(lambda: part(torch.zeros(4, 2), torch.zeros(4)), "exposure", "positive")


def test_a_mixed_table_is_the_product_of_its_parts():
    """Each part reads its slice of the net, and its columns stand where they were."""
    value = torch.randn(7)
    parts = [
        (lambda n: likelihoods.Gaussian(n, "predicted"), [3, 0]),
        (likelihoods.Poisson, [1]),
        (likelihoods.Bernoulli, [2, 4]),
    ]
    d = likelihoods.Mixed(Constant(value), parts)(torch.zeros(6, 1))
    x = d.sample()
    normal = torch.distributions.Normal(value[:2], (value[2:4] / 2).exp())
    expected = normal.log_prob(x[:, [3, 0]]).sum(-1)
    expected = expected + distributions.Poisson(value[4]).log_prob(x[:, 1])
    expected = expected + torch.distributions.Bernoulli(logits=value[5:]).log_prob(x[:, [2, 4]]).sum(-1)
    close(d.log_prob(x), expected, 1e-13)
    close(d.mean[0], torch.stack([value[1], value[4].exp(), value[5].sigmoid(), value[0], value[6].sigmoid()]), 1e-14)
    close(d.mode[0, [3, 0]], value[:2], 1e-14)
    assert d.expand((2, 6)).batch_shape == (2, 6)


class TestRefusals:
    NET = rp.networks.mlp(2, 2)

    @pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
    def test_a_second_parameter_is_positive_and_finite(self, value):
        for wrap in (likelihoods.Laplace, likelihoods.NegativeBinomial, likelihoods.Beta, likelihoods.LogNormal):
            for given in (value, torch.tensor([1.0, value])):
                refused(lambda wrap=wrap, given=given: wrap(self.NET, given), "positive and finite")
        refused(lambda: likelihoods.StudentT(self.NET, df=value), "df", "positive and finite")
        refused(lambda: likelihoods.DiscretizedLogistic(self.NET, maximum=value), "maximum", "positive and finite")

    def test_numbers_and_kinds(self):
        net = self.NET
        refused(lambda: likelihoods.NegativeBinomial(net, "sharde"), "kind of dispersion", "did you mean 'shared'")
        refused(lambda: likelihoods.NegativeBinomial(net, "elementwise"), "dispersion", "event_shape")
        refused(lambda: likelihoods.StudentT(net, df="predicted"), "kind of df")
        refused(lambda: likelihoods.StudentT(net, df="elementwise"), "df", "event_shape")
        refused(lambda: likelihoods.Binomial(net, 0), "number of trials", "at least 1")
        refused(lambda: likelihoods.Categorical(net, 1), "classes", "at least 2")
        refused(lambda: likelihoods.Ordinal(net, 1), "classes", "not 1")
        refused(lambda: likelihoods.Multinomial(net, -1), "number of draws")
        refused(lambda: likelihoods.MixtureOfDiscretizedLogistics(net, 0), "components")
        refused(lambda: likelihoods.DiscretizedLogistic(net, levels=1), "levels", "at least 2")
        refused(lambda: likelihoods.ZeroInflated(likelihoods.Gaussian(net)), "zero inflation", "Gaussian")

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda net: likelihoods.NegativeBinomial(net, "predicted"),
            lambda net: likelihoods.ZeroInflated(likelihoods.Poisson(net)),
            lambda net: likelihoods.MixtureOfDiscretizedLogistics(net, 2),
        ],
    )
    def test_a_net_with_too_few_outputs(self, wrap):
        refused(lambda: wrap(rp.networks.mlp(2, 3))(torch.zeros(4, 2)), "*event)", "gives (..., 3)")

    def test_mixed_tables(self):
        mixed, bit = likelihoods.Mixed, likelihoods.Bernoulli
        refused(lambda: mixed(self.NET, [(bit, [0]), (bit, [0, 1])]), "columns [0, 0, 1]", "once")
        refused(lambda: mixed(self.NET, [(bit, [0]), (bit, [2])]), "columns [0, 2]")
        refused(lambda: mixed(self.NET, []), "columns []")
        refused(lambda: mixed(self.NET, [(lambda net: nn.Linear(1, 1), [0])]), "Linear", "outputs")
        refused(lambda: mixed(self.NET, [(lambda n: likelihoods.Poisson(n, True), [0])]), "context", "exposure")
        refused(lambda: mixed(rp.networks.mlp(2, 3), [(bit, [0, 1])])(torch.zeros(4, 2)), "(..., 2)", "gives (..., 3)")
        refused(lambda: mixed(self.NET, [(bit, [0, 1])]).outputs((3,)), "2 columns", "(3,)")

    def test_a_wrong_sum(self):
        part = likelihoods.Multinomial(self.NET, 3)
        vae = rp.VAE(rp.priors.StandardNormal(2), part, rp.posteriors.Point(Function(lambda x: x)))
        refused(lambda: vae.check(torch.tensor([[1.0, 2.0], [3.0, 1.0]])), "row 1", "sum 3", "total None")
