"""Laws that every public class on the axes obeys: a likelihood, posterior, prior or objective without a row fails."""

from __future__ import annotations

import copy
import inspect
import math
import tomllib
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import reparam as rp
from models import with_parameters, within
from reparam import likelihoods, objectives, posteriors, priors
from reparam.distributions import element_support, unwrap
from reparam.errors import InputError
from reparam.run import describe, dump_toml, rebuild
from rows import EVENT, LATENT, Row
from rows_likelihoods import LIKELIHOODS, gaussian
from rows_objectives import OBJECTIVES
from rows_posteriors import DISCRETE as DISCRETE_POSTERIORS
from rows_posteriors import OTHERS as OTHER_POSTERIORS
from rows_posteriors import POSTERIORS
from rows_priors import CONDITIONAL as CONDITIONAL_PRIORS
from rows_priors import DISCRETE as DISCRETE_PRIORS
from rows_priors import OTHERS as OTHER_PRIORS
from rows_priors import PRIORS
from rows_quantised import POSTERIORS as QUANTISED_POSTERIORS
from rows_quantised import PRIORS as QUANTISED_PRIORS

pytestmark = pytest.mark.usefixtures("double")

CONDITIONED = LIKELIHOODS | POSTERIORS | CONDITIONAL_PRIORS
ALL = CONDITIONED | PRIORS

rows = pytest.mark.parametrize("row", ALL.values(), ids=ALL)
conditioned = pytest.mark.parametrize("row", CONDITIONED.values(), ids=CONDITIONED)
sides = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@pytest.mark.parametrize(
    ("axis", "table"),
    [
        (likelihoods, LIKELIHOODS),
        (posteriors, POSTERIORS | OTHER_POSTERIORS | DISCRETE_POSTERIORS | QUANTISED_POSTERIORS),
        (priors, PRIORS | OTHER_PRIORS | CONDITIONAL_PRIORS | DISCRETE_PRIORS | QUANTISED_PRIORS),
        (objectives, OBJECTIVES),
    ],
)
def test_no_public_class_escapes_the_laws(axis, table):
    """Latents without closed-form moments, on a sphere, a simplex or a quadrant, or discrete: their own files."""
    public = {name for name in axis.__all__ if not inspect.isabstract(getattr(axis, name))}
    assert public == {(row.cls if isinstance(row, Row) else type(row)).__name__ for row in table.values()}


def at(row: Row, *lead: int) -> Distribution:
    """The distribution of a row of the table, at given values with these leading dimensions."""
    part = row.make()
    return part() if row in PRIORS.values() else part(torch.randn(*lead, 2))


@rows
def test_its_mass_is_one(row):
    """100 points on each axis resolve these functions to rounding, which for 10000 terms is below 1e-12."""
    with torch.no_grad():
        d = at(row)
        points, weights = row.grid(d)
        mass = d.log_prob(points).exp() * weights
        assert float(mass.sum()) == pytest.approx(1, abs=1e-11)
        first, second = ((mass.unsqueeze(-1) * (points - d.mean) ** power).sum(0) for power in (1, 2))
        # a width of 1e-6 beside a mean of 1 is known to 1e-10 of itself
        assert bool((first.abs() <= 1e-9 * d.stddev).all())
        finite = d.variance.isfinite()
        torch.testing.assert_close(second[finite], d.variance[finite], rtol=1e-9, atol=0)
        # where there is no variance, the sum over a grid that reaches 1e11 widths is as large as the grid lets it be
        spread = (mass.unsqueeze(-1) * (points - d.mean).abs()).sum(0)
        assert bool((second[~finite] > 1e4 * spread[~finite].square()).all())


@rows
def test_its_samples_follow_its_density(row):
    """E tanh and E exp(-x²), in units of the mean deviation; 20000 samples, 5 se: failure rate 6e-7 for each number."""
    with torch.no_grad():
        d = at(row)
        points, weights = row.grid(d)
        mass = d.log_prob(points).exp() * weights
        spread = (mass.unsqueeze(-1) * (points - d.mean).abs()).sum(0)
        unit = torch.where(spread > 0, spread, 1.0)
        x = d.sample((20000,))
        for function in (lambda t: (2 * t).tanh(), lambda t: (-t.square()).exp()):
            expected = (mass.unsqueeze(-1) * function((points - d.mean) / unit)).sum(0)
            within(function((x - d.mean) / unit), expected, se=5, bias=1e-9)


@rows
def test_its_mode_has_the_highest_density(row):
    with torch.no_grad():
        d = at(row)
        try:
            mode = d.mode
        except NotImplementedError:  # a family need not know
            return
        points, _ = row.grid(d)
        best = float(d.log_prob(points).max())
        assert float(d.log_prob(mode)) >= best - 1e-9 * (1 + abs(best))


@pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_its_quantile_inverts_its_distribution_function(row):
    """P(X < quantile(u)) <= u <= P(X <= quantile(u)), over all values of a discrete family."""
    with torch.no_grad():
        d = at(row)
        points, weights = row.grid(d)
        base = unwrap(d)
        if not bool((weights == 1).all()) or type(base).icdf is Distribution.icdf:
            return  # quantiles of densities: test_distributions
        mass = d.log_prob(points).exp()
        for u in (0.01, 0.3, 0.5, 0.77, 0.99):
            x = base.icdf(torch.tensor([u, u]))
            below, upto = ((mass.unsqueeze(-1) * (points < x + shift)).sum(0) for shift in (-1e-6, 1e-6))
            assert bool(((below <= u + 1e-9) & (upto >= u - 1e-9)).all())


@rows
def test_its_samples_have_its_mean_and_variance_and_a_finite_density(row):
    """20000 samples, 5 se: failure rate 6e-7 for each number."""
    with torch.no_grad():
        d = at(row)
        x = d.sample((20000,))
        assert bool(d.log_prob(x).isfinite().all())
        finite = d.variance.isfinite()  # else means converge too slowly; its samples are judged by bounded functions
        unit = torch.where((d.stddev > 0) & finite, d.stddev, 1.0)
        x = (x - d.mean) / unit
        for i in finite.nonzero().flatten().tolist():
            within(x[:, i], 0.0, se=5)
            within(x[:, i].square(), (d.stddev / unit)[i].square(), se=5)


@conditioned
def test_its_gradient_is_that_of_finite_differences(row):
    part, given = row.make(), torch.randn(3, 2)
    x = part(given).sample().detach()

    def value(call):
        d = call(given)  # a point mass has no density to differentiate
        return d.rsample((2,)) if row.cls is posteriors.Point else d.log_prob(x)

    # steps must be small beside a scale of 1e-6: central differences of its quadratic have no other error
    width = float(part(given).stddev.detach().clamp(1e-6, 1).min()) if row.outside else 1.0
    assert with_parameters(part, value, 1e-6 * math.sqrt(width))


def test_the_gradient_of_a_prior_is_that_of_finite_differences():
    for row in PRIORS.values():
        z = torch.randn(3, 2, requires_grad=True)
        assert torch.autograd.gradcheck(row.make()().log_prob, (z,))


@rows
def test_float32_is_close_to_float64(row):
    """Rounding of 6e-8 in each of a dozen numbers, in units of the largest: values, widths and log densities."""
    wide = row.make()
    narrow, given = copy.deepcopy(wide).float(), torch.randn(5, 2, dtype=torch.float32)
    p, q = (wide(given.double()), narrow(given)) if row not in PRIORS.values() else (wide(), narrow())
    with torch.no_grad():
        x = q.sample((7,))
        assert x.dtype == torch.float32
        expected, got = p.log_prob(x.double()), q.log_prob(x)
        # x - mean is rounded to 1e-7 of the mean, a part of the width, and its square is taken
        unit = torch.where(q.stddev > 0, q.stddev, 1.0)
        z = float(((x - q.mean) / unit).abs().max())
        lost = float((q.mean.abs() / unit).max()) * 3e-7
    assert got.dtype == torch.float32
    if row.cls is posteriors.Point:
        assert torch.equal(got, torch.zeros(7, 5, dtype=torch.float32))
        return
    assert float((got - expected).abs().max()) < 1e-5 * (1 + float(expected.abs().max())) + 4 * z * lost + 4 * lost**2


def extremes(shape: tuple[int, ...]) -> list[Tensor]:
    """All outputs of a net that are 80 or -80; of more than 7 outputs, 128 of them."""
    size = math.prod(shape)
    if size > 7:
        return [80 * (2.0 * torch.randint(2, shape) - 1) for _ in range(128)]
    return [80 * torch.tensor(signs).reshape(shape) for signs in product((1.0, -1.0), repeat=size)]


@sides
@conditioned
def test_extreme_outputs_of_the_net_have_finite_values_and_gradients(row, dtype):
    for value in extremes(row.shape):
        part = row.flat(value).to(dtype)
        d = part(torch.zeros(1, 2, dtype=dtype))
        draws = d.rsample((20,)) if d.has_rsample else d.sample((20,))
        total = torch.stack([d.log_prob(draws), d.log_prob(draws.detach())])
        assert bool(total.isfinite().all()), value
        if row.outside:  # a likelihood: also values that it did not expect
            other = torch.tensor(row.unexpected, dtype=dtype)
            assert bool(d.log_prob(other).isfinite().all())
            total = torch.cat([total.flatten(), d.log_prob(other)])
        if row.cls is posteriors.Point:
            total = draws
        for gradient in torch.autograd.grad(total.sum() + draws.sum(), list(part.parameters()), allow_unused=True):
            assert gradient is not None
            assert bool(gradient.isfinite().all()), value


@pytest.mark.parametrize("lead", [(), (3,), (4, 3)], ids=str)
@conditioned
def test_batch_shape_is_the_leading_shape_of_what_is_given(row, lead):
    d = at(row, *lead)
    assert d.batch_shape == lead
    assert d.event_shape == (2,)
    assert d.sample((5,)).shape == (5, *lead, 2)
    assert d.log_prob(d.sample((5,))).shape == (5, *lead)
    assert d.log_prob(d.sample()).shape == lead
    assert d.mean.shape == d.variance.shape == (*lead, 2)


def test_a_prior_has_one_distribution_for_all_rows():
    for row in PRIORS.values():
        for given in ((), (torch.randn(4, 3),)):
            assert row.make()(*given).batch_shape in ((), (4,))
            assert row.make()(*given).event_shape == (LATENT,)


def vae_of(likelihood: nn.Module | None = None, posterior: nn.Module | None = None) -> rp.VAE:
    return rp.VAE(
        priors.StandardNormal(LATENT),
        likelihood or likelihoods.Gaussian(rp.networks.mlp(LATENT, EVENT, (3,))),
        posterior or posteriors.DiagonalGaussian(rp.networks.mlp(EVENT, 2 * LATENT, (3,))),
    )


REFUSED = [f"{name} {value}" for name, row in LIKELIHOODS.items() for value in row.outside]


@pytest.mark.parametrize(("row", "value"), [(r, v) for r in LIKELIHOODS.values() for v in r.outside], ids=REFUSED)
def test_values_outside_the_support_are_refused_by_name(row, value):
    vae = vae_of(row.make())
    x = vae.likelihood(torch.zeros(4, 2)).sample()
    vae(x)
    vae.check(x)
    x[2, 1] = value
    for call in (lambda: vae(x), lambda: vae.check(x)):
        with pytest.raises(InputError) as error:
            call()
        text = str(error.value)
        for part in (
            row.cls.__name__,
            "row 2",
            "element (1,)",
            f"is {value:.6g}:",
            vae.likelihood.allowed,
            vae.likelihood.remedy,
        ):
            assert part in text
    with pytest.raises(InputError, match=r"row 12, column 'b'"):
        vae.check(x, columns=["a", "b"], first_row=10)
    with pytest.raises(InputError, match=r"shape \(2,\).*shape \(3,\)"):
        vae.check(torch.zeros(4, 3))


BOUNDED = {n: r for n, r in LIKELIHOODS.items() if not {math.inf, math.nan, -math.inf} >= set(r.outside)}


@pytest.mark.parametrize("row", BOUNDED.values(), ids=BOUNDED)
def test_a_family_that_is_not_real_valued_is_not_standardised(row):
    """(x - loc) / spread of a 0 or 1 is neither: the numbers would be no probabilities."""
    part = likelihoods.Standardized(row.make(), torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]))
    with pytest.raises(InputError, match=f"cannot be standardised: use {row.cls.__name__}"):
        vae_of(part)(torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_its_support_says_whether_it_is_probability_or_density(row):
    """Bits per dimension change with the units of the data for densities alone."""
    with torch.no_grad():
        d = at(row)
        counted = bool((row.grid(d)[1] == 1).all())
        assert bool(element_support(d).is_discrete) == counted


@pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_a_likelihood_says_which_output_its_net_must_give(row):
    assert row.make().outputs(EVENT) == row.shape


@rows
def test_a_description_rebuilds_the_same_part(row):
    """Through the text of a file: equal weights, and equal bits of every log density."""
    part = row.make()
    vae = vae_of(**{"likelihood": part} if row.outside else {"posterior": part} if row in POSTERIORS.values() else {})
    again = rebuild(tomllib.loads(dump_toml(describe(vae))))
    again.load_state_dict(vae.state_dict())
    x = vae.likelihood(torch.randn(5, 2)).sample()
    draws = []
    for each in (vae, again):
        torch.manual_seed(1)
        draws.append(each(x, k=3))
    assert describe(again) == describe(vae)
    for name in ("z", "log_px", "log_pz", "log_qz"):
        assert torch.equal(getattr(draws[0], name), getattr(draws[1], name)), name


@pytest.mark.parametrize("init_scale", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("kind", ["shared", "elementwise", "number", "tensor"])
def test_a_scale_is_positive_and_finite(kind, init_scale):
    scale = {"number": init_scale, "tensor": torch.tensor([1.0, init_scale])}.get(kind, kind)
    with pytest.raises(InputError, match="positive and finite"):
        gaussian(scale, init_scale)(rp.networks.mlp(2, 2))


@pytest.mark.parametrize("row", POSTERIORS.values(), ids=POSTERIORS)
def test_draws_of_a_posterior_carry_its_mean_its_covariance_and_their_gradients(row):
    """E[z'Az] = m'Am + tr AΣ for every A, and its derivative; 40 means of 500 draws, 5 se, failure rate 1e-5 each."""
    part, a = row.flat(0.5 * torch.randn(row.shape)), torch.randn(2, 2)
    parameter = part.net.value

    def q() -> Distribution:
        return part(torch.zeros(1, 2))

    def covariance(d: Distribution) -> Tensor:
        return d.covariance_matrix if hasattr(d, "covariance_matrix") else torch.diag_embed(d.variance)

    mean, sigma = q().mean[0], covariance(q())[0]
    exact = mean @ a @ mean + (a * sigma.T).sum() + mean.sum()
    (slope,) = torch.autograd.grad(exact, [parameter])
    values, slopes = [], []
    for _ in range(40):
        z = q().rsample((500,))[:, 0]
        value = torch.einsum("ni,ij,nj->n", z, a, z).mean() + z.sum(-1).mean()
        values.append(value.detach())
        slopes.append(torch.autograd.grad(value, [parameter])[0])
    within(torch.stack(values), exact.detach(), se=5)
    within(torch.stack(slopes), slope, se=5)
    assert float(slope.abs().min()) > 0


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_value_of_an_objective_belongs_to_its_row_and_to_the_set_of_samples(objective):
    """Neither the other rows, nor the order of samples, nor the repetition of all of them changes it."""
    vae, x, z = vae_of(), torch.randn(5, 2), torch.randn(4, 5, 2)
    value = objective.bound(vae.at(z, x))
    assert value.shape == (5,)
    for samples in (z.flip(0), torch.cat([z, z]), z.repeat(3, 1, 1)):
        torch.testing.assert_close(objective.bound(vae.at(samples, x)), value, atol=1e-12, rtol=0)
    for i in range(5):
        torch.testing.assert_close(
            objective.bound(vae.at(z[:, i : i + 1], x[i : i + 1]))[0], value[i], atol=1e-12, rtol=0
        )
