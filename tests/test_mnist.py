"""MNIST at the size of a hand-written loop: the library may not be worse than the loop that it replaces, and its
estimators agree.

``make slow DATA=folder`` with the four idx files of MNIST; about ten minutes on two cores.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch

import reparam as rp
from reparam.cli.main import main
from reparam.data import read

FOLDER = Path(os.environ.get("REPARAM_MNIST", ""))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.name, reason="REPARAM_MNIST names no folder with MNIST"),
]
PLAN = {"steps": 100, "leapfrog": 10, "start": "posterior"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """784-400-20, ten epochs: a loop of the same size at the same learning rate gives -102.3 and -97.0 nats."""
    folder = tmp_path_factory.mktemp("mnist") / "run"
    words = ["--likelihood", "bernoulli", "--binarize", "dynamic", "--latent-dim", "20", "--hidden", "400"]
    words += ["--epochs", "10", "--batch-size", "128", "--seed", "0"]
    assert main(["train", str(FOLDER / "train-images-idx3-ubyte.gz"), "--out", str(folder), *words]) == 0
    return folder


def images(n: int) -> rp.Dataset:
    x = read(FOLDER / "t10k-images-idx3-ubyte.gz").x[:n]
    return rp.Dataset(torch.from_numpy(x.copy()), binarize="dynamic")


def test_the_published_command_reaches_the_bound_of_a_hand_written_loop(run, capsys):
    """Over two seeds of the loop, with all 10,000 images and k = 1000."""
    capsys.readouterr()
    words = ["--binarize", "dynamic", "--k", "1000", "--json"]
    assert main(["evaluate", str(run), str(FOLDER / "t10k-images-idx3-ubyte.gz"), *words]) == 0
    numbers = json.loads(capsys.readouterr().out)
    print(numbers)
    assert numbers["elbo"] >= -102.8
    assert numbers["log_likelihood"] >= -97.5
    assert numbers["log_likelihood"] > numbers["elbo"]
    assert 0 < numbers["stderr"] < 0.5


def test_annealing_and_importance_sampling_agree_within_a_nat_and_annealing_is_not_below(run):
    """Of two lower bounds in expectation the one that does not hang on the encoder is the higher; 64 images, paired."""
    vae, x = rp.load(run), images(64)
    importance = rp.evaluate.log_likelihood(vae, x, 5000)
    annealed = rp.evaluate.log_likelihood(vae, x, 16, "ais", **PLAN)
    more = annealed.per_datum - importance.per_datum
    error = float(more.std()) / math.sqrt(len(more))
    print(importance, annealed, f"{float(more.mean()):.3f} ± {error:.3f}")
    assert -2 * error <= float(more.mean()) <= 1


def test_the_sandwich_on_simulated_images_closes_to_under_a_nat(run):
    """32 images of the model's own; both bounds hold in expectation, so that the gap is at least 0 up to its error."""
    lower, upper = rp.evaluate.bdmc(rp.load(run), 32, 16, **PLAN)
    gap = upper.per_datum - lower.per_datum
    error = float(gap.std()) / math.sqrt(len(gap))
    print(lower, upper, f"{float(gap.mean()):.3f} ± {error:.3f}")
    assert -4 * error <= float(gap.mean()) <= 1
