"""What every released version has written loads, and scores as it did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import reparam as rp
from released import make

RUNS = sorted(p.parent for p in (Path(__file__).parent / "released").glob("*/*/config.toml"))


def test_the_first_version_is_there() -> None:
    assert {p.name for p in RUNS if p.parent.name == "0.1.0"} == set(make.RUNS)


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_a_run_loads_and_scores_as_when_it_was_written(folder: Path) -> None:
    rows = next(folder.glob("rows.*"))
    expected = json.loads((folder / "scores.json").read_text())
    assert np.allclose(make.scores(folder, rows), expected, atol=1e-6, rtol=0)
    assert len(expected) == 8
    vae = rp.load(folder)
    assert not vae.training


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_runs_are_small_and_name_no_machine(folder: Path) -> None:
    assert sum(p.stat().st_size for p in folder.rglob("*")) < 40_000
    assert "/" not in (folder / "config.toml").read_text().partition("[model")[0]
