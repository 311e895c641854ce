"""Scores of disentanglement on codes whose answer is known."""

from __future__ import annotations

import pytest
import torch

from refusals import refused
from reparam.evaluate import disentanglement
from reparam.evaluate.disentanglement import modularity

SCORES = ("mig", "sap", "factor_vae", "modularity", "disentanglement", "completeness", "informativeness")


def factors(n: int = 2000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randint(0, v, (n,), generator=generator) for v in (4, 3, 5)], 1)


def test_a_code_of_one_dimension_for_each_factor_has_all_scores_at_one():
    """Two more dimensions say nothing; signs, units and the order of dimensions do not matter. What is left to 1 is the
    noise of the finite sample: 0.03, and for sap, whose second best dimension beats chance by it, 0.1."""
    y = factors()
    codes = torch.stack([-3.0 * y[:, 1], torch.randn(2000), 0.1 * y[:, 2] + 7, 1.0 * y[:, 0], torch.randn(2000)], 1)
    found = disentanglement(codes, y)
    for name in SCORES:
        assert getattr(found, name) == pytest.approx(1, abs=0.1 if name == "sap" else 0.03), name


def test_a_code_that_says_nothing_has_low_scores():
    """By chance alone: gaps and votes below 0.1, and the forest's best guess is near the largest class."""
    found = disentanglement(torch.randn(2000, 5), factors())
    for name in ("mig", "sap", "factor_vae"):
        assert getattr(found, name) < 0.1, name
    assert found.disentanglement < 0.3
    assert found.informativeness < 0.45


def test_a_rotated_code_is_informative_and_not_disentangled():
    y = factors()
    x = (y - y.float().mean(0)) / y.float().std(0)
    rotation = torch.tensor([[2.0, -1.0, 2.0], [2.0, 2.0, -1.0], [-1.0, 2.0, 2.0]]) / 3
    found = disentanglement(x @ rotation, y)
    assert found.informativeness > 0.9
    for name in ("mig", "sap"):
        assert getattr(found, name) < 0.3, name
    assert found.disentanglement < 0.7
    assert found.completeness < 0.7
    assert found.modularity < 0.9


def test_two_dimensions_for_one_factor_are_modular_and_have_no_gap():
    y = factors()
    codes = torch.stack([y[:, 0], 2 * y[:, 0], y[:, 1], y[:, 1], y[:, 2], y[:, 2]], 1).float()
    found = disentanglement(codes, y, dci=False)
    assert found.mig == pytest.approx(0, abs=1e-9)
    assert found.sap == pytest.approx(0, abs=1e-9)
    assert found.modularity == pytest.approx(1, abs=0.01)
    assert found.disentanglement is None


def test_modularity_by_hand():
    table = torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert modularity(table) == pytest.approx(1 - (0.25 / 2 + 0) / 2)


def test_factors_that_cannot_be_used_are_refused():
    codes = torch.randn(50, 2)
    refused(lambda: disentanglement(codes, torch.zeros(50, 1)), "factor 0", "1 values")
    refused(lambda: disentanglement(codes, torch.randn(50, 1)), "bins")
    refused(lambda: disentanglement(codes, torch.zeros(40, 1)), "(N, F)")
