"""Bounded links, sums of exponentials, effective sample sizes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reparam.numerics import effective_sample_size, log_mean_exp, scale_from_log, soft_clip

finite = st.floats(-1e30, 1e30)
limits = st.floats(0.1, 1e3)
LOG_WEIGHTS = st.lists(st.floats(-700, 700), min_size=1, max_size=40)


@given(finite, limits, limits)
@settings(deadline=None)
def test_soft_clip_is_the_identity_inside_and_bounded_outside(x, limit, margin):
    y = float(soft_clip(torch.tensor(x, dtype=torch.float64), limit, margin))
    if abs(x) <= limit:
        assert y == x
    else:
        # rounding of the sum limit + margin: two units in the last place
        assert limit <= math.copysign(y, 1) <= (limit + margin) * (1 + 4e-16)
        assert (y > 0) == (x > 0)


@given(finite, finite, limits, limits)
@settings(deadline=None)
def test_soft_clip_never_falls(x, y, limit, margin):
    low, high = soft_clip(torch.tensor([min(x, y), max(x, y)], dtype=torch.float64), limit, margin).tolist()
    assert low <= high + 4e-16 * abs(high)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("limit", "margin"), [(1.0, 1.0), (13.8, 2.3), (3.0, 0.1)])
def test_soft_clip_is_continuously_differentiable_at_the_limit(sign, limit, margin):
    """Just inside and just outside differ by what a step of 1e-9 explains: slope 1, curvature 2/margin."""
    steps = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64)
    x = (sign * (limit + steps)).requires_grad_()
    y = soft_clip(x, limit, margin)
    (slope,) = torch.autograd.grad(y.sum(), [x])
    torch.testing.assert_close(y, sign * (limit + steps), atol=1e-15, rtol=1e-15)
    torch.testing.assert_close(slope, torch.ones_like(slope), atol=4e-9 / margin, rtol=0)


@given(st.floats(1e-3, 1e6), limits, limits)
@settings(deadline=None)
def test_the_slope_of_soft_clip_is_that_of_its_formula_and_never_zero(excess, limit, margin):
    x = torch.tensor(limit + excess, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(soft_clip(x, limit, margin), [x])
    # excess was rounded when it was added to the limit: up to 1e3 * 2e-16 / 1e-3 of itself
    assert float(slope) == pytest.approx((1 + excess / margin) ** -2, rel=1e-9)
    assert float(slope) > 0


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2e-6), (torch.float64, 4e-15)])
def test_scales_are_exp_inside_their_range_and_bounded_outside(dtype, rounding):
    """``rounding``: the argument, up to 16, is rounded to 1e-7 (2e-16) of itself before exp, and exp's result again."""
    inside = torch.linspace(math.log(1e-6), math.log(1e6), 101, dtype=dtype)[1:-1]
    assert torch.equal(scale_from_log(inside), inside.exp())
    far = torch.tensor([-1e30, -80.0, -14.0, 14.0, 80.0, 1e30], dtype=dtype, requires_grad=True)
    scale = scale_from_log(far)
    assert bool((scale >= 1e-7 * (1 - rounding)).all())
    assert bool((scale <= 1e7 * (1 + rounding)).all())
    (gradient,) = torch.autograd.grad(scale.log().sum(), [far])
    assert bool(gradient.isfinite().all())
    assert bool((gradient[1:-1] > 0).all())


@given(LOG_WEIGHTS)
@settings(deadline=None)
def test_log_mean_exp_is_the_log_of_the_mean(log_w):
    top = max(log_w)
    expected = top + math.log(math.fsum(math.exp(w - top) for w in log_w) / len(log_w))
    got = float(log_mean_exp(torch.tensor(log_w, dtype=torch.float64)))
    assert got == pytest.approx(expected, abs=1e-12, rel=1e-13)


@pytest.mark.parametrize("shift", [-1e5, -1e3, 1e3, 1e5])
def test_log_mean_exp_moves_with_its_argument_where_exp_would_overflow(shift):
    log_w = torch.randn(7, 3, dtype=torch.float64)
    # the argument is rounded to 1e-11 when 1e5 is added to it
    torch.testing.assert_close(log_mean_exp(log_w + shift), log_mean_exp(log_w) + shift, atol=2e-11, rtol=0)
    torch.testing.assert_close(log_mean_exp(log_w, 1), log_mean_exp(log_w.T), atol=1e-15, rtol=0)


@given(LOG_WEIGHTS, st.floats(-1e3, 1e3))
@settings(deadline=None)
def test_effective_sample_size_lies_between_one_and_k_and_ignores_a_shift(log_w, shift):
    w = torch.tensor(log_w, dtype=torch.float64)
    ess = float(effective_sample_size(w))
    # exp of a difference of numbers up to 1400: rounded to 1400 * 2e-16 * 4
    assert 1 - 2e-12 <= ess <= len(log_w) * (1 + 2e-12)
    assert float(effective_sample_size(w + shift)) == pytest.approx(ess, rel=1e-11)


@pytest.mark.parametrize("k", [1, 2, 1000])
def test_equal_weights_have_k_effective_samples_and_one_large_weight_has_one(k):
    equal = torch.full((k, 2), -345.6, dtype=torch.float64)
    torch.testing.assert_close(
        effective_sample_size(equal), torch.full((2,), float(k), dtype=torch.float64), rtol=1e-12, atol=0
    )
    alone = equal.index_fill(0, torch.tensor([0]), 0.0)
    torch.testing.assert_close(effective_sample_size(alone), torch.ones(2, dtype=torch.float64), rtol=1e-12, atol=0)


def test_half_of_the_weights_zero_halves_the_effective_sample_size():
    log_w = torch.zeros(10, dtype=torch.float64)
    log_w[5:] = -math.inf
    assert float(effective_sample_size(log_w)) == pytest.approx(5.0, rel=1e-13)
