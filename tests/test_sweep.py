"""Sweeps: what is varied, what is tried, and that a killed sweep ends as one that was not."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import refused
from reparam.cli.main import main
from reparam.sweep import Axis, Ledger, Trial, compare, parse, written
from reparam.sweep.space import combinations

KNOWN = {"lr": float, "latent_dim": int, "posterior": str, "hidden": str}


def axes(text):
    return parse(text, KNOWN, {"seed": "because"})


def test_ranges_and_choices_are_read_with_commas_inside_choices():
    found = axes("lr=1e-4..1e-2, latent-dim=2..5,posterior=diagonal|full,hidden=400|400,200")
    assert found == [
        Axis("lr", low=1e-4, high=1e-2),
        Axis("latent_dim", low=2, high=5, whole=True),
        Axis("posterior", ("diagonal", "full")),
        Axis("hidden", ("400", "400,200")),
    ]
    assert [axis.logarithmic for axis in found] == [True, False, False, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr", "with values"),
        ("lr=", "with values"),
        ("lrr=1..2", "did you mean 'lr'"),
        ("seed=1|2", "because"),
        ("lr=1..", "a number at each end"),
        ("lr=2..1", "from the smaller number to the larger"),
        ("latent-dim=1.5..3", "whole numbers"),
        ("posterior=1..2", "no numbers in a row"),
        ("posterior=full|full", "must differ"),
        ("lr=1..2,lr=3..4", "twice"),
    ],
)
def test_what_is_no_axis_is_refused(text, words):
    refused(lambda: axes(text), words)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True), st.integers(-3, 3), st.integers(1, 4))
def test_all_combinations_are_all_there_once(words, low, width):
    found = combinations([Axis("a", tuple(words)), Axis("b", low=low, high=low + width, whole=True)])
    assert {(f["a"], f["b"]) for f in found} == {(w, n) for w in words for n in range(low, low + width + 1)}
    assert len(found) == len(words) * (width + 1)
    assert combinations([Axis("a", tuple(words)), Axis("c", low=0.0, high=1.0)]) is None


def run(ledger, value=lambda values: 0.0, failing=()):
    """Everything that the ledger asks for."""
    asked = []
    while trial := ledger.ask():
        asked.append(trial)
        if trial.number in failing:
            trial.failed = "it fell"
        else:
            trial.value = value(trial.values)
            ledger.result(trial.number).write_text(json.dumps({"value": trial.value, "stderr": 0.5}))
        ledger.tell(trial)
    return asked


def test_of_few_combinations_each_is_tried_once_and_failures_are_kept(tmp_path):
    ledger = Ledger(tmp_path, axes("latent-dim=2|3,posterior=a|b|c"), 0, None)
    asked = run(ledger, lambda v: float(v["latent_dim"]), failing=(1,))
    assert ledger.planned == len(asked) == len({tuple(t.values.items()) for t in asked}) == 6
    ended = Ledger(tmp_path, ledger.axes, 0, None).ended()
    assert [t.value for t in ended[:3]] == [3.0, 3.0, 3.0]
    assert (ended[-1].failed, ended[-1].value, ended[-1].number) == ("it fell", None, 1)
    assert ended[0].stderr == 0.5


def test_of_many_combinations_none_is_trained_twice(tmp_path):
    ledger = Ledger(tmp_path, axes("latent-dim=2..9"), 0, 6)
    asked = run(ledger)
    assert len({t.values["latent_dim"] for t in asked}) == len(asked)
    assert len(ledger.ended()) == 6


def test_suggestions_come_near_the_best(tmp_path):
    """Of 30 draws of a uniform number, the best is within 0.01 of a given place with probability 0.45; here it is
    within 0.002 of it, which uniform draws reach with probability 0.11."""
    ledger = Ledger(tmp_path, axes("lr=0..1"), 0, 30)
    run(ledger, lambda v: -((v["lr"] - 0.3) ** 2))
    assert abs(ledger.ended()[0].values["lr"] - 0.3) < 0.002


def test_what_was_running_comes_back_and_the_number_of_trials_may_grow(tmp_path):
    space = axes("lr=1e-4..1e-2")
    first = Ledger(tmp_path, space, 0, 2)
    trial = first.ask()
    again = Ledger(tmp_path, space, 0, 2)
    (begun,) = again.begun()
    assert (begun.number, begun.values) == (trial.number, trial.values)
    begun.value = 1.0
    again.result(begun.number).write_text('{"value": 1.0, "stderr": 0.1}')
    again.tell(begun)
    assert len(run(again)) == 1
    assert len(run(Ledger(tmp_path, space, 0, 5))) == 3
    assert len(Ledger(tmp_path, space, 0, 5).ended()) == 5


def test_differences_have_the_error_of_pairs(tmp_path):
    generator = np.random.default_rng(0)
    shared = generator.normal(size=400) * 10
    rows = {3: shared, 5: shared - 1 + 0.1 * generator.normal(size=400)}
    trials = [Trial(3, {"lr": 0.1}, float(rows[3].mean()), 0.5), Trial(5, {"lr": 0.2}, float(rows[5].mean()), 0.5)]
    gaps = compare(trials, rows)
    assert gaps[3] == (0.0, 0.0)
    assert gaps[5][0] == pytest.approx(1.0, abs=4 * 0.1 / 20)
    assert gaps[5][1] == pytest.approx(0.1 / 20, rel=0.2)
    table = list(csv.DictReader(written(trials, gaps, axes("lr=0.1|0.2")).splitlines()))
    assert [row["trial"] for row in table] == ["3", "5"]
    assert float(table[1]["below_best"]) == gaps[5][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--over", "seed=1|2"], "the best of many seeds is luck"),
        (["--over", "binarize=dynamic|threshold"], "other data"),
        (["--over", "lr=1e-3|1e-2", "--validation", "0"], "chooses by held-out rows"),
        (["--over", "lr=1e-3|1e-2", "--jobs", "0"], "at least 1"),
        (["--over", "lr=1e-3|1e-2", "--trials", "0"], "at least 1"),
    ],
)
def test_the_command_refuses_what_is_no_comparison(words, said, tmp_path, capsys):
    assert main(["sweep", "digits", "--out", str(tmp_path / "s"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_places_that_cannot_be_are_refused_before_a_trial_begins(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("x")
    over = ["--over", "lr=1e-3|1e-2"]
    for words, said in ((["nothing.npy", "--out", "s"], "nothing.npy"), (["digits", "--out", str(file)], "is a file")):
        assert main(["sweep", *words, *over]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
    assert main(["resume", str(tmp_path), "--trials", "3"]) == 2
    assert "--trials is of a sweep" in capsys.readouterr().err


COMMAND = ["sweep", "digits", "--over", "latent-dim=2|4,hidden=32|32,16", "--epochs", "2", "--samples", "20"]


@pytest.mark.thorough
def test_a_killed_sweep_goes_on_and_ends_as_one_that_was_not(tmp_path, capsys):
    """The same trials, with the same log p(x) of each row to the bit; a trial that was killed is not begun anew."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*COMMAND, "--out", str(whole)]) == 0
    table = capsys.readouterr().out
    words = [sys.executable, "-m", "reparam", *COMMAND, "--out", str(killed), "--jobs", "2"]
    sweep = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while not list(killed.glob("trials/*.result.json")):
        assert sweep.poll() is None
        time.sleep(0.05)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    _wait_for_the_orphans(killed)
    assert main(["resume", str(killed)]) == 0
    assert capsys.readouterr().out == table
    for file in whole.glob("trials/*.npy"):
        np.testing.assert_array_equal(np.load(file), np.load(killed / "trials" / file.name))
    assert (killed / "sweep.csv").read_text() == (whole / "sweep.csv").read_text()
    assert main([*COMMAND, "--out", str(killed)]) == 2
    assert "reparam resume" in capsys.readouterr().err


def _wait_for_the_orphans(folder):
    """Until the trials have seen that their sweep is gone, saved their state and left."""
    while subprocess.run(["pgrep", "-f", f"reparam.cli.trial {folder}"], capture_output=True, check=False).stdout:
        time.sleep(0.1)


@pytest.mark.thorough
def test_models_of_other_kinds_and_trials_that_fail_are_left_out(tmp_path, capsys):
    """A density and a probability are not compared; the run of the best can be used as any other."""
    out = tmp_path / "s"
    words = ["sweep", "digits", "--out", str(out), "--over", "likelihood=gaussian|bernoulli|laplace|nonsense"]
    assert main([*words, "--epochs", "1", "--hidden", "16", "--samples", "10"]) == 0
    said = capsys.readouterr()
    assert "'nonsense'" in said.err
    table = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    assert [row["likelihood"] for row in table[2:]] == ["bernoulli", "nonsense"]
    assert all(row["failed"] for row in table[2:])
    assert not any(row["failed"] for row in table[:2])
    best = out / "trials" / f"{int(table[0]['trial']):04d}"
    assert main(["evaluate", str(best), "digits", "--k", "5"]) == 0
