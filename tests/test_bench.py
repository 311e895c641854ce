"""The bench runs and says what it measured; no test looks at how fast anything is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from reparam.bench import CASES, Case, growth, measure, whole
from reparam.bench.hand import HandWritten
from reparam.cli.main import main
from reparam.data import Dataset
from reparam.evaluate import log_likelihood
from reparam.objectives import IWAE
from reparam.train.roof import flops_of_row

SMALL = Case("small", (12,), 2, hidden=(8,), batch=16, rows=40)


def test_every_case_gives_rates_and_ratios():
    found = measure(SMALL, False, "float32", rounds=2)
    assert found["samples_per_second"].keys() == {"reparam", "dataloader", "fast eager"} | (
        found["samples_per_second"].keys() & {"jax", "pythae"}
    )
    assert all(r > 0 for r in found["samples_per_second"].values())
    assert found["ratio"].keys() == found["samples_per_second"].keys() - {"reparam"}
    assert found["peak_mb"] > 10
    assert found["share_of_own_products"] > 0


def test_importance_weights_have_the_error_of_their_form_beside_plain_ones():
    """Plain against plain, on the same samples: none at all."""
    found = measure(Case("small", (12,), 2, hidden=(8,), rows=20, few=4, k=50, evaluation=True), False, "float32", 1)
    assert found["ratio"].keys() == {"row by row"}
    assert (found["error_mean"], found["error_sd"]) == (0.0, 0.0)


def test_whole_processes_train_the_model_of_the_case():
    texts = whole.programs(case := Case("short", (12,), 2, hidden=(8,), batch=16, rows=40, whole=True))
    assert texts.keys() >= {"reparam", "dataloader", "fast eager"}
    for name in ("reparam", "fast eager"):
        space: dict[str, Any] = {}
        exec(texts[name], space)
        model = space["vae"] if name == "reparam" else space["model"]
        assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in case.vae().parameters())


def test_growth_changes_one_thing_at_a_time():
    found = list(growth.points(quick=False))
    assert {axis for axis, *_ in found} == {"rows", "dimensions", "k", "batch", "processes"}
    for axis, value, case, processes in found:
        assert {"rows": case.rows, "dimensions": case.shape[0], "k": case.k, "batch": case.batch,
                "processes": processes}[axis] == value  # fmt: skip


def test_a_short_run_does_not_import_the_compiler_of_torch():
    """It takes longer than the run."""
    code = (
        "import sys, torch, reparam as rp; rp.fit(rp.recipes.vae((4,), 2, hidden=(8,)), torch.ones(20, 4), epochs=1); "
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["mlp-128", "conv-28", "iwae-50"])
def test_the_arithmetic_of_a_step_is_that_of_its_products(name):
    """Counted as it is done, forward and backward, and from the shapes of the layers: convolutions are of patches."""
    case = replace(CASES[name], rows=10)
    vae, data = case.vae(), Dataset(case.data())
    before = torch.get_rng_state()
    counted = flops_of_row(vae, case.objective(), data)
    assert torch.equal(torch.get_rng_state(), before)
    assert counted == sum(2 * math.prod(p) for p in case.products(2)) / 2
    assert all(p.grad is None for p in vae.parameters())


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
