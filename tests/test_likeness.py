"""How like two sets of points are, where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch

import reparam as rp
from models import LinearGaussian
from refusals import refused
from reparam.evaluate import likeness, sample_quality
from reparam.evaluate.likeness import frechet, mmd, sliced_wasserstein

pytestmark = pytest.mark.usefixtures("double")


def test_equal_laws_are_alike_and_far_ones_are_not():
    x, y = torch.randn(300, 4), torch.randn(300, 4)
    same, far = likeness(x, y), likeness(x, y + 50)
    assert min(same.precision, same.recall, same.coverage) > 0.85
    assert same.density == pytest.approx(1, abs=0.15)  # its mean over equal laws is 1 (Naeem et al. 2020, section 3.2)
    assert abs(same.mmd) < 0.01
    assert far[:4] == (0, 0, 0, 0)
    assert far.mmd > 1
    assert far.wasserstein == pytest.approx(50, rel=0.15)


def test_precision_falls_with_samples_outside_and_recall_with_modes_that_are_missed():
    """Data with two modes: samples of one of them are precise and miss half; those of three are half outside."""
    x = torch.randn(400, 2) * 0.1
    x[200:] += 10
    one = likeness(x, torch.randn(300, 2) * 0.1)
    assert one.precision > 0.9
    assert one.recall == pytest.approx(0.5, abs=0.06)
    assert one.coverage == pytest.approx(0.5, abs=0.06)
    more = torch.randn(400, 2) * 0.1
    more[200:] -= 10
    assert likeness(x, more).precision == pytest.approx(0.5, abs=0.06)


def test_coverage_and_density_by_hand():
    """5 points on a line and k = 5 of 6: all balls reach over all points of the data, whatever their order."""
    x = torch.arange(6.0).unsqueeze(1)
    y = torch.tensor([[2.0], [2.5], [3.0], [2.0], [2.2], [100.0]])
    found = likeness(x, y)
    assert found.precision == pytest.approx(5 / 6)
    assert found.density == pytest.approx(6 * 5 / 6 / 5)
    assert found.coverage == 1


def test_the_frechet_distance_of_gaussians():
    """Points whose moments are exact: commuting and other covariances, by the closed form of their roots."""
    x = torch.randn(500, 3)
    rest = x - x.mean(0)
    white = rest @ torch.linalg.inv(torch.linalg.cholesky(rest.T @ rest / 499)).mT
    assert frechet(white, 2 * white + 1) == pytest.approx(3 + 3 * (2 - 1) ** 2)
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.3, 0.2, 0.5]])
    s = factor @ factor.T
    roots = torch.linalg.eigvalsh(s).sqrt()
    assert frechet(white, white @ factor.T) == pytest.approx(float(3 + s.trace() - 2 * roots.sum()))
    assert frechet(white, white) == pytest.approx(0, abs=1e-9)


def test_the_discrepancy_of_gaussians_is_unbiased():
    """MMD² of N(0, 1) and N(m, 1) with a kernel of width w: closed form, 200 seeds, 4 se; also where it is 0."""
    width, shift = 1.3, 0.7
    for m in (0.0, shift):
        top = math.sqrt(width**2 / (width**2 + 2))
        truth = 2 * top * (1 - math.exp(-(m**2) / (2 * (width**2 + 2))))
        found = torch.tensor([mmd(torch.randn(40, 1), torch.randn(50, 1) + m, width) for _ in range(200)])
        assert float(found.mean()) == pytest.approx(truth, abs=4 * float(found.std()) / 200**0.5)


def test_the_sliced_distance_of_a_shift_and_of_another_number_of_points():
    """A shift by v has distance |v| / sqrt(D) in the mean over directions; in one dimension it is exact."""
    x = torch.randn(200, 1)
    assert sliced_wasserstein(x, x + 3) == pytest.approx(3)
    assert sliced_wasserstein(x, x.repeat(3, 1)[torch.randperm(600)]) == pytest.approx(0, abs=1e-12)
    y = torch.randn(50, 4)
    assert sliced_wasserstein(y, y + 2) == pytest.approx(2, rel=0.2)


def test_samples_of_the_true_model_are_as_good_as_other_data():
    model = LinearGaussian.random(2, 4, seed=0)
    found = sample_quality(model.exact(), model.data(600))
    for name in ("precision", "recall", "coverage"):
        assert getattr(found.samples, name) == pytest.approx(getattr(found.baseline, name), abs=0.1)
    data = model.data(600)
    two, scaled = (sample_quality(model.exact(), data, features=lambda x, u=u: u * x[:, :2]) for u in (1, 10))
    assert scaled.samples.wasserstein == pytest.approx(10 * two.samples.wasserstein)
    assert scaled.samples.precision == two.samples.precision
    assert two.samples.wasserstein != found.samples.wasserstein
    refused(lambda: sample_quality(model.exact(), model.data(600), features=lambda x: x[:, 0]), "features")
    refused(lambda: sample_quality(model.exact(), model.data(8)), "12")
    refused(lambda: likeness(torch.randn(9, 2), torch.randn(5, 2)), "two sets")
    assert isinstance(found, rp.evaluate.SampleQuality)
