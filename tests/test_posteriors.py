"""Laws of posteriors whose latents are constrained, or have no closed-form moments: quadrature is the oracle."""

from __future__ import annotations

import copy
import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
)

import reparam as rp
from models import Constant, with_parameters, within
from refusals import refused
from reparam import posteriors
from reparam.distributions import centre, from_standard_normal
from rows import Row
from rows_posteriors import OTHERS

pytestmark = pytest.mark.usefixtures("double")

others = pytest.mark.parametrize("row", OTHERS.values(), ids=OTHERS)
sides = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def extremes(shape: tuple[int, ...]) -> list[Tensor]:
    """All outputs of a net that are 80 or -80."""
    return [80 * torch.tensor(signs).reshape(shape) for signs in product((1.0, -1.0), repeat=math.prod(shape))]


SMOOTH = sorted(OTHERS.keys() - {"Flow spline"})  # a spline has kinks wherever its bins end


def tolerance(row: Row) -> float:
    """Of quadrature: the affine maps have kinks in their second derivative (ELU), splines in the first."""
    return {"Flow affine": 1e-4, "Flow spline": 5e-3}.get(next(n for n, r in OTHERS.items() if r is row), 1e-9)


def size(row: Row) -> int:
    return 3 if row.outputs in (3, 4) and row.grid.__name__ in ("triangle", "ball") else 2


def statistic(z: Tensor) -> Tensor:
    """A number of z that knows its mean, and every product of two elements."""
    n = z.shape[-1]
    a = torch.linspace(-1, 2, n * n).reshape(n, n)
    return torch.einsum("...i,ij,...j->...", z, a, z) + (z * torch.linspace(0.5, 1.5, n)).sum(-1)


@others
def test_its_mass_is_one(row):
    with torch.no_grad():
        d = row.make()(torch.randn(2))
        points, weights = row.grid(d)
        assert float((d.log_prob(points).exp() * weights).sum()) == pytest.approx(1, abs=tolerance(row))


@pytest.mark.parametrize("name", SMOOTH)
def test_its_draws_and_their_gradients_are_those_of_its_density(name):
    """E f and its derivative by quadrature over the density; 40 means of 500 draws, 5 se: failure rate 6e-7 each."""
    row = OTHERS[name]
    part = row.flat(0.5 * torch.randn(row.shape))
    parameter = next(m for m in part.modules() if isinstance(m, Constant)).value

    def q() -> Distribution:
        return part(torch.zeros(1, 2))

    points, weights = row.grid(q())
    exact = (q().log_prob(points.unsqueeze(1)).exp()[:, 0] * weights * statistic(points)).sum()
    (slope,) = torch.autograd.grad(exact, [parameter])
    values, slopes = [], []
    for _ in range(40):
        value = statistic(q().rsample((500,))).mean()
        values.append(value.detach())
        slopes.append(torch.autograd.grad(value, [parameter])[0])
    within(torch.stack(values), exact.detach(), se=5, bias=tolerance(row))
    within(torch.stack(slopes), slope, se=5, bias=10 * tolerance(row))
    assert float(slope.norm()) > 0


@others
def test_given_noise_draws_from_the_same_law(row):
    """20000 draws each, 5 se of the difference; the families of torch that know no such map say so."""
    with torch.no_grad():
        d = row.make()(torch.randn(1, 2))
        z = from_standard_normal(d, torch.randn(20000, 1, size(row)))
        if row.cls in (posteriors.Gamma, posteriors.Dirichlet):
            assert z is None
            return
        within(statistic(z) - statistic(d.sample((20000,))), torch.zeros(1), se=5)
        assert bool(d.log_prob(z).isfinite().all())


@pytest.mark.parametrize("name", SMOOTH)
def test_its_gradient_is_that_of_finite_differences(name):
    """Not for splines: hundreds of parameters of a density whose Jacobian is tested below."""
    part, given = OTHERS[name].make(), torch.randn(3, 2)
    x = part(given).sample().detach()
    assert with_parameters(part, lambda call: call(given).log_prob(x))


@others
def test_float32_is_close_to_float64(row):
    wide = row.make()
    narrow, given = copy.deepcopy(wide).float(), torch.randn(5, 2, dtype=torch.float32)
    with torch.no_grad():
        x = narrow(given).sample((7,))
        got, expected = narrow(given).log_prob(x), wide(given.double()).log_prob(x.double())
    assert x.dtype == got.dtype == torch.float32
    assert float((got - expected).abs().max()) < 2e-5 * (1 + float(expected.abs().max()))


@sides
@others
def test_extreme_outputs_of_the_net_have_finite_values_and_gradients(row, dtype):
    for value in [*extremes(row.shape), torch.zeros(row.shape)]:
        part = row.flat(value).to(dtype)
        d = part(torch.zeros(1, 2, dtype=dtype))
        draws = d.rsample((20,))
        assert bool(draws.isfinite().all()), value
        total = torch.stack([d.log_prob(draws), d.log_prob(draws.detach())])
        assert bool(total.isfinite().all()), value
        for gradient in torch.autograd.grad(total.sum() + draws.sum(), list(part.parameters()), allow_unused=True):
            assert gradient is not None
            assert bool(gradient.isfinite().all()), value


@pytest.mark.parametrize("lead", [(), (3,), (4, 3)], ids=str)
@others
def test_batch_shape_is_the_leading_shape_of_what_is_given(row, lead):
    d, n = row.make()(torch.randn(*lead, 2)), size(row)
    assert (d.batch_shape, d.event_shape) == (lead, (n,))
    assert d.rsample((5,)).shape == (5, *lead, n)
    assert d.log_prob(d.sample((5,))).shape == (5, *lead)
    assert d.log_prob(d.sample()).shape == lead
    assert centre(d).shape == (*lead, n)


def test_a_net_with_another_number_of_outputs_is_refused():
    def net(n: int) -> nn.Module:
        return rp.networks.mlp(2, n, (3,))

    for part, words in (
        (posteriors.Laplace(net(3)), ("even", "3")),
        (posteriors.Gamma(net(3)), ("even",)),
        (posteriors.LogisticNormal(net(3)), ("even",)),
        (posteriors.LowRankGaussian(net(7), 1), ("rank 1", "7")),
        (posteriors.VonMisesFisher(net(2)), ("D + 1", "2")),
        (posteriors.Flow(net(5), 2, context=2), ("6", "5")),
    ):
        refused(lambda part=part: part(torch.zeros(1, 2)), type(part).__name__, *words)
    for rank in (0, -1, True):
        refused(lambda rank=rank: posteriors.LowRankGaussian(net(6), rank), "rank")
    for options in ({"kind": "affin"}, {"transforms": 0}, {"hidden": (0,)}, {"dim": 0}):
        refused(lambda options=options: posteriors.Flow(net(6), **({"dim": 2} | options)))
