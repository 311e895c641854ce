"""Likelihoods of what is seen: missing elements are integrated out; networks that read rows with holes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import reparam as rp
from reparam.errors import InputError
from reparam.likelihoods import Bernoulli, Categorical, Gaussian, Mixed, Multinomial, Observed, Standardized
from reparam.networks import Cells, Floored

pytestmark = pytest.mark.usefixtures("double")


def likelihood() -> Observed:
    """A real column far from 0, one of three classes, and a bit."""
    far = lambda net: Standardized(Gaussian(net, "predicted"), torch.tensor([1e3]), torch.tensor([0.1]))  # noqa: E731
    net = rp.networks.mlp(2, 6, (5,))
    return Observed(Mixed(net, [(far, [0]), (lambda n: Categorical(n, 3), [2]), (Bernoulli, [1])]))


def test_the_density_of_what_is_seen_is_the_integral_over_what_is_not():
    """Sums over classes and bits, Gauss-Legendre over the real column; for every pattern of holes."""
    p = likelihood()(torch.randn(4, 2))
    nodes, weights = _legendre()
    m, s = p.mean[:, :1], p.variance[:, :1].sqrt()
    for holes in torch.cartesian_prod(*[torch.tensor([False, True])] * 3):
        x = torch.stack([m[:, 0] + s[:, 0], torch.ones(4), torch.full((4,), 2.0)], -1)
        grids = [
            (m + 10 * s * nodes, (10 * s * weights).log()) if holes[0] else (x[:, :1], torch.zeros(4, 1)),
            (torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)) if holes[1] else (x[:, 1:2], torch.zeros(4, 1)),
            (torch.tensor([[0.0, 1.0, 2.0]]), torch.zeros(1, 3)) if holes[2] else (x[:, 2:], torch.zeros(4, 1)),
        ]
        total = []
        for i in range(grids[0][0].shape[1]):
            for j in range(grids[1][0].shape[1]):
                for k in range(grids[2][0].shape[1]):
                    at = [g[0][:, n].expand(4) for g, n in zip(grids, (i, j, k), strict=True)]
                    volume = sum(g[1][:, n] for g, n in zip(grids, (i, j, k), strict=True))
                    total.append(p.log_prob(torch.stack(at, -1)) + volume)
        got = p.log_prob(torch.where(holes, torch.nan, x))
        torch.testing.assert_close(got, torch.stack(total).logsumexp(0), rtol=0, atol=1e-8)


def _legendre() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(80))


def test_a_hole_leaves_gradients_finite_and_other_rows_alone():
    part = likelihood().float()
    x = torch.tensor([[1e3, 1.0, math.nan], [math.nan] * 3])
    log_p = part(torch.zeros(2, 2, dtype=torch.float32)).log_prob(x.float())
    assert float(log_p[1].detach()) == 0
    for gradient in torch.autograd.grad(log_p.sum(), list(part.parameters())):
        assert bool(gradient.isfinite().all())


def test_elements_that_are_not_independent_are_refused():
    d = Observed(Multinomial(nn.Identity()))(torch.zeros(1, 3))
    with pytest.raises(InputError, match="one by one"):
        d.log_prob(torch.tensor([[1.0, math.nan, 0.0]]))


def test_a_missing_cell_enters_as_zeros_and_a_mask():
    cells = Cells(nn.Identity(), [0, 1, 3], torch.tensor([1.0, 2.0, 0.0]), torch.tensor([2.0, 1.0, 1.0]))
    x = torch.tensor([[3.0, math.e**2 - 1, 1.0], [math.nan, math.nan, math.nan], [1e30, 0.0, 2.0]])
    got = cells(x)
    assert got.shape[1] == Cells.features([0, 1, 3]) == 8
    torch.testing.assert_close(got[0], torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0]))
    assert bool((got[1] == 0).all())
    assert 5 < float(got[2, 0]) < 10.01  # numbers far out are drawn in
    for wrong in (lambda: cells(x[:, :2]), lambda: Cells(nn.Identity(), [], torch.ones(0), torch.ones(0))):
        with pytest.raises(InputError):
            wrong()


def test_variances_do_not_fall_below_that_of_rounding():
    """exp of the channel and of the floor add up; other channels are as they were."""
    least = torch.tensor([-4.0, 1.0])
    out = torch.tensor([[[1.0, 2.0], [-50.0, 3.0]]])
    got = Floored(nn.Identity(), 1, least)(out)
    torch.testing.assert_close(got[:, 0], out[:, 0])
    torch.testing.assert_close(got[:, 1].exp(), out[:, 1].exp() + least.exp())


def test_holes_reach_a_dataset_only_where_they_are_announced():
    x = torch.tensor([[1.0, math.nan], [2.0, 3.0]])
    assert bool(rp.Dataset(x, missing=True).x.isnan().any())
    with pytest.raises(InputError, match="missing value"):
        rp.Dataset(x)
    with pytest.raises(InputError, match="infinite"):
        rp.Dataset(x / 0, missing=True)


def test_holes_in_an_array_are_missing_values_for_a_model_that_integrates_them_out():
    """As in a Dataset that says so; a model that does not is told what would."""
    net = rp.networks.mlp(2, 3, (5,))
    encoder = rp.posteriors.DiagonalGaussian(Cells(nn.Linear(6, 4), [0, 0, 0], torch.zeros(3), torch.ones(3)))
    x = torch.randn(60, 3)
    x[::7, 1] = math.nan
    vae = rp.VAE(rp.priors.StandardNormal(2), Observed(Gaussian(net, "shared")), encoder)
    said = rp.Dataset(x, missing=True)
    for call in (rp.evaluate.elbo, rp.evaluate.log_likelihood):
        assert torch.equal(call(vae, x, 5).per_datum, call(vae, said, 5).per_datum)
    assert torch.equal(rp.evaluate.encode(vae, x), rp.evaluate.encode(vae, said))
    assert rp.evaluate.diagnose(vae, x, gap_rows=3).rows == 60
    assert rp.fit(vae, x, epochs=1, validation=x[:20]).records
    plain = rp.VAE(rp.priors.StandardNormal(2), Gaussian(net, "shared"), encoder)
    with pytest.raises(InputError, match=r"row 0, column 1 is a missing value.*likelihoods\.Observed"):
        rp.evaluate.elbo(plain, x)
