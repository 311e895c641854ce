"""The bench runs and says what it measured; no test looks at how fast anything is."""

from __future__ import annotations

import json
import math

import pytest
import torch

from reparam.bench import CASES, Case, measure
from reparam.bench.hand import HandWritten
from reparam.cli.main import main
from reparam.evaluate import log_likelihood
from reparam.objectives import IWAE

SMALL = Case("small", (12,), 2, hidden=(8,), batch=16, rows=40)


def test_every_case_gives_rates_and_ratios():
    found = measure(SMALL, False, "float32", rounds=2)
    assert found["samples_per_second"].keys() == {"reparam", "dataloader", "fast eager"} | (
        found["samples_per_second"].keys() & {"jax"}
    )
    assert all(r > 0 for r in found["samples_per_second"].values())
    assert found["ratio"].keys() == found["samples_per_second"].keys() - {"reparam"}
    assert found["peak_mb"] > 10


def test_the_loops_by_hand_have_the_librarys_loss():
    """The same layers and noise: the ELBO with a closed form of KL, and the importance-weighted bound."""
    x = SMALL.data()[:16]
    for k in (1, 4):
        case = Case("small", (12,), 2, hidden=(8,), k=k, rows=40)
        vae = case.vae()
        by_hand = HandWritten(vae.posterior.net, vae.likelihood.net, k)
        torch.manual_seed(1)
        expected = by_hand.loss(x)
        torch.manual_seed(1)
        objective = case.objective()
        assert isinstance(objective, IWAE) == (k > 1)
        value = -objective.bound(vae(x, k=k)).mean()
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


def test_the_evaluation_by_hand_is_the_librarys_in_the_limit():
    case = Case("small", (4,), 1, hidden=(4,), rows=3)
    vae, x = case.vae(), case.data()
    by_hand = HandWritten(vae.posterior.net, vae.likelihood.net).importance(x, 20_000)
    assert by_hand.tolist() == pytest.approx(log_likelihood(vae, x, 20_000).per_datum.tolist(), abs=0.05)


def test_products_are_those_of_a_step():
    """3 products a layer but for the first, whose input needs no gradient: 784-400-20 is 3.28 MFLOP a sample."""
    case = CASES["mlp-128"]
    assert sum(2 * math.prod(p) for p in case.products(128)) / 128 == pytest.approx(3.28e6, rel=0.01)
    assert len(case.products(128)) == 11


def test_the_command_prints_one_object(capsys):
    assert main(["bench", "--cases", "iwae-50", "--form", "eager-float32", "--rounds", "1", "--threads", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["case"] == "iwae-50"
    assert main(["bench", "--cases", "mlp-129"]) == 2
    assert "did you mean 'mlp-128'" in capsys.readouterr().err


def test_the_data_are_what_the_likelihood_takes():
    assert set(SMALL.data().unique().tolist()) == {0.0, 1.0}
