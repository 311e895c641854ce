"""The command, as its users type it: what works leaves the right files, what does not leaves one line and none."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import reparam as rp
from reparam.cli.main import main
from reparam.cli.options import TrainOptions
from reparam.cli.train import build, context_names, resolve
from reparam.data import read
from reparam.engine import has_bfloat16

QUICK = ["--epochs", "2", "--latent-dim", "2", "--seed", "1"]


def run(*words: object) -> int:
    return main([str(w) for w in words])


def refused(capsys, *words: object) -> str:
    """The one line of a command that must be refused with status 2."""
    capsys.readouterr()
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    return lines[0]


@pytest.fixture(scope="module")
def grey_file(tmp_path_factory) -> Path:
    """120 grey images of 8 x 6 pixels, uint8, with two labels."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    bright = np.where(y[:, None, None], np.linspace(0, 1, 6), np.linspace(1, 0, 6))
    x = (255 * bright.repeat(8, axis=1) * rng.uniform(0.7, 1, (120, 8, 6))).astype(np.uint8)
    np.savez(folder / "grey.npz", x=x, y=y)
    return folder / "grey.npz"


@pytest.fixture(scope="module")
def trained(grey_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run("train", grey_file, "--out", folder, "--likelihood", "bernoulli", "--binarize", "dynamic", *QUICK) == 0
    return folder


@pytest.fixture(scope="module")
def table_file(tmp_path_factory) -> Path:
    """A table of 3 correlated columns in units of thousands, and a label."""
    path = tmp_path_factory.mktemp("data") / "table.csv"
    rng = np.random.default_rng(0)
    x = 5000 + 1000 * rng.normal(size=(150, 1)) + 100 * rng.normal(size=(150, 3))
    rows = "\n".join(",".join(map(str, r)) + f",{i % 2}" for i, r in enumerate(x.tolist()))
    path.write_text("a,b,c,kind\n" + rows + "\n")
    return path


@pytest.fixture(scope="module")
def trained_table(table_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "table"
    assert run("train", table_file, "--out", folder, "--labels", "kind", *QUICK) == 0
    return folder


# ---- what works ----


def test_train_leaves_the_run_folder_of_the_contract(trained):
    names = {p.name for p in trained.iterdir()}
    assert names >= {
        "config.toml", "model.safetensors", "schema.json", "history.jsonl", "checkpoints", "report.html", "figures",
        "environment.json",
    }  # fmt: skip
    config = tomllib.loads((trained / "config.toml").read_text())
    assert config["options"]["objective"] == "elbo"  # auto is resolved
    assert config["options"]["pixel_max"] == 255
    assert len((trained / "history.jsonl").read_text().splitlines()) == 2
    assert not [p for p in trained.rglob("*") if p.name.startswith(".")]


def test_evaluate_refines_q_before_it_takes_bounds(trained, grey_file, capsys):
    numbers = []
    for words in ([], ["--refine", "20"]):
        capsys.readouterr()
        assert run("evaluate", trained, grey_file, "--k", "50", "--json", *words) == 0
        numbers.append(json.loads(capsys.readouterr().out))
    assert numbers[1]["refine"] == 20
    assert "refine" not in numbers[0]
    assert numbers[1]["elbo"] > numbers[0]["elbo"]
    assert run("evaluate", trained, grey_file, "--k", "5", "--refine", "3") == 0
    assert "from q refined by 3 steps" in capsys.readouterr().out
    assert "does not propose from q" in refused(
        capsys, "evaluate", trained, grey_file, "--method", "prior", "--refine", "3"
    )


def test_evaluate_gives_the_numbers_of_the_contract_and_they_are_the_librarys(trained, grey_file, capsys):
    capsys.readouterr()
    assert run("evaluate", trained, grey_file, "--k", "50", "--seed", "3", "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert set(numbers) >= {
        "elbo", "reconstruction", "kl", "log_likelihood", "stderr", "k", "bits_per_dim", "active_units", "n", "seconds",
    }  # fmt: skip
    assert numbers["elbo"] == pytest.approx(numbers["reconstruction"] - numbers["kl"], abs=1e-9)
    assert numbers["log_likelihood"] > numbers["elbo"]
    assert numbers["bits_per_dim"] == pytest.approx(-numbers["log_likelihood"] / 48 / np.log(2))
    assert (numbers["n"], numbers["k"]) == (120, 50)
    with np.load(grey_file) as archive:
        data = rp.Dataset(archive["x"], binarize="dynamic")
    estimate = rp.evaluate.log_likelihood(rp.load(trained), data, k=50, seed=3)
    assert numbers["log_likelihood"] == estimate.value
    assert numbers["stderr"] == estimate.stderr
    capsys.readouterr()
    assert run("evaluate", trained, grey_file, "--k", "10") == 0
    assert "log-likelihood" in capsys.readouterr().out


def test_the_same_command_gives_the_same_bits(trained, grey_file, tmp_path):
    again = tmp_path / "again"
    assert run("train", grey_file, "--out", again, "--likelihood", "bernoulli", "--binarize", "dynamic", *QUICK) == 0
    assert (again / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv", ".parquet", ".png"])
def test_sample_writes_every_kind_of_file(trained, tmp_path, ending):
    out = tmp_path / f"samples{ending}"
    assert run("sample", trained, "-n", 5, "--out", out) == 0
    if ending == ".npy":
        x = np.load(out)
        assert x.dtype == np.uint8
        assert x.shape == (5, 8, 6)
        assert set(np.unique(x)) <= {0, 255}  # a draw of x, not its mean
    elif ending == ".csv":
        assert len(out.read_text().splitlines()) == 6
    else:
        assert out.stat().st_size > 0


def test_samples_repeat_with_the_seed_and_mean_gives_grey(trained, tmp_path):
    for name, words in {"a": [], "b": [], "c": ["--seed", 1], "mean": ["--mean"]}.items():
        assert run("sample", trained, "-n", 20, "--out", tmp_path / f"{name}.npy", *words) == 0
    a, b, c, mean = (np.load(tmp_path / f"{name}.npy") for name in ("a", "b", "c", "mean"))
    assert (a == b).all()
    assert (a != c).any()
    assert len(np.unique(mean)) > 2


def test_encode_decode_reconstruct_and_score_agree_with_the_library(trained, grey_file, tmp_path):
    z, x_hat, r, s = (tmp_path / f"{n}.npy" for n in ("z", "decoded", "reconstructed", "scores"))
    assert run("encode", trained, grey_file, "--out", z) == 0
    assert run("decode", trained, z, "--out", x_hat) == 0
    assert run("reconstruct", trained, grey_file, "--out", r) == 0
    assert run("score", trained, grey_file, "--k", 20, "--out", s) == 0
    assert np.load(z).shape == (120, 2)
    assert (np.load(x_hat) == np.load(r)).all()
    vae = rp.load(trained)
    with np.load(grey_file) as archive:
        data = rp.Dataset(archive["x"], binarize="dynamic")
    assert np.array_equal(np.load(s), rp.evaluate.log_likelihood(vae, data, k=20).per_datum.numpy())
    assert np.array_equal(np.load(z), rp.evaluate.encode(vae, data).numpy())


def test_a_table_trains_and_comes_back_in_its_own_units(trained_table, table_file, tmp_path, capsys):
    samples, scores = tmp_path / "samples.csv", tmp_path / "scores.csv"
    assert run("sample", trained_table, "-n", 200, "--out", samples) == 0
    header, *rows = samples.read_text().splitlines()
    assert header == "a,b,c"
    values = np.array([r.split(",") for r in rows], float)
    assert abs(values.mean() - 5000) < 600  # in units of thousands, though hardly trained
    assert run("score", trained_table, table_file, "--labels", "kind", "--k", 20, "--out", scores) == 0
    header, *rows = scores.read_text().splitlines()
    assert header == "log_likelihood,ess"
    mean = np.mean([float(r.split(",")[0]) for r in rows])
    # three columns of standard deviation 1000: a density per unit is near exp(-3 (log 1000 + 1.4))
    assert -32 < mean < -18


def test_a_point_posterior_is_a_plain_autoencoder(grey_file, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--posterior", "point", "--likelihood", "continuous_bernoulli", *QUICK]
    assert run("train", grey_file, "--out", folder, *words) == 0
    capsys.readouterr()
    assert run("evaluate", folder, grey_file, "--k", "20", "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["elbo"] is None
    assert numbers["method"] == "prior"
    assert np.isfinite(numbers["log_likelihood"])


@pytest.mark.parametrize(
    "words",
    [
        ["--network", "conv", "--channels", "4,8"],
        ["--posterior", "full"],
        ["--objective", "iwae", "--k", "3"],
        ["--beta", "4"],
        ["--likelihood", "gaussian"],
        ["--likelihood", "gaussian", "--scale", "0.1", "--validation", "0"],
        ["--likelihood", "gaussian", "--scale", "predicted", "--network", "conv", "--channels", "4"],
        ["--likelihood", "gaussian", "--scale", "elementwise"],
        ["--activation", "tanh", "--threads", "1"],
    ],
)
def test_every_choice_trains_evaluates_and_samples(grey_file, tmp_path, words, capsys):
    folder = tmp_path / "run"
    assert run("train", grey_file, "--out", folder, *QUICK, *words) == 0
    capsys.readouterr()
    assert run("evaluate", folder, grey_file, "--k", 10, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert np.isfinite([numbers["elbo"], numbers["log_likelihood"], numbers["bits_per_dim"]]).all()
    assert run("sample", folder, "-n", 3, "--out", tmp_path / "s.png") == 0


def test_recipes_are_listed_and_train(grey_file, tmp_path, capsys):
    capsys.readouterr()
    assert run("recipes") == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(rp.recipes.RECIPES)
    for name in ("beta_tc_vae", "iwae", "annealed_vae", "wae"):
        folder = tmp_path / name
        assert run("train", grey_file, "--out", folder, "--recipe", name, *QUICK) == 0
        assert tomllib.loads((folder / "config.toml").read_text())["options"]["recipe"] == name
        assert run("evaluate", folder, grey_file, "--k", 5, "--json") == 0
    assert run("resume", folder, "--epochs", 3) == 0


def test_options_come_from_a_file_the_environment_and_the_line_in_rising_order(grey_file, tmp_path, monkeypatch):
    (tmp_path / "c.toml").write_text("latent_dim = 3\nhidden = [8, 4]\nepochs = 1\n")
    (tmp_path / "c.yaml").write_text("latent_dim: 4\nepochs: 1\n")
    monkeypatch.setenv("REPARAM_BATCH_SIZE", "40")
    assert run("train", grey_file, "--out", tmp_path / "a", "--config", tmp_path / "c.toml", "--latent-dim", 5) == 0
    assert run("train", grey_file, "--out", tmp_path / "b", "--config", tmp_path / "c.yaml") == 0
    a, b = (tomllib.loads((tmp_path / n / "config.toml").read_text())["options"] for n in "ab")
    assert (a["latent_dim"], a["hidden"], a["epochs"], a["batch_size"]) == (5, [8, 4], 1, 40)
    assert (b["latent_dim"], b["batch_size"]) == (4, 40)


def test_the_configuration_of_a_run_is_one_of_the_next(grey_file, tmp_path, monkeypatch):
    """The same model, whatever was chosen by itself; the line and the environment go before it."""
    words = ["--recipe", "vamp_vae", "--pseudo-inputs", 9, "--hidden", "8", "--binarize", "dynamic", *QUICK]
    assert run("train", grey_file, "--out", tmp_path / "a", *words) == 0
    config = tmp_path / "a" / "config.toml"
    assert run("train", grey_file, "--out", tmp_path / "b", "--config", config) == 0
    monkeypatch.setenv("REPARAM_LATENT_DIM", "3")
    assert run("train", grey_file, "--out", tmp_path / "c", f"--config={config}", "--epochs", 1) == 0
    a, b, c = (tomllib.loads((tmp_path / n / "config.toml").read_text()) for n in "abc")
    assert b["model"] == a["model"]
    assert {**b["options"], "out": 0} == {**a["options"], "out": 0}
    assert (c["options"]["epochs"], c["options"]["latent_dim"], c["options"]["recipe"]) == (1, 3, "vamp_vae")
    weights = [rp.load(tmp_path / n).state_dict() for n in "ab"]
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())
    assert rp.load(tmp_path / "a").prior.raw.shape[0] == 9


def test_the_environment_takes_switches_and_names_what_is_misspelt(trained, grey_file, monkeypatch, capsys):
    for value in ("1", "yes", "true", "ON"):
        monkeypatch.setenv("REPARAM_JSON", value)
        assert run("evaluate", trained, grey_file, "--k", 5) == 0
        assert "elbo" in json.loads(capsys.readouterr().out)
        assert os.environ["REPARAM_JSON"] == value
    for value in ("0", "no", "False"):
        monkeypatch.setenv("REPARAM_JSON", value)
        assert run("evaluate", trained, grey_file, "--k", 5) == 0
        assert "log-likelihood" in capsys.readouterr().out
    monkeypatch.setenv("REPARAM_JSON", "perhaps")
    assert "REPARAM_JSON takes 1 or 0" in refused(capsys, "evaluate", trained, grey_file)
    monkeypatch.delenv("REPARAM_JSON")
    monkeypatch.setenv("REPARAM_SED", "3")
    assert "REPARAM_SED: did you mean 'SEED'?" in refused(capsys, "evaluate", trained, grey_file)


@pytest.mark.parametrize("name", rp.recipes.RECIPES)
def test_the_command_builds_every_recipe(name, grey_file):
    """The model and objective that it trains; what training then does is the same for all."""
    words = {"network": "conv", "channels": [4, 8]} if name in ("vq_vae", "fsq_vae") else {"hidden": [8]}
    conditional = "context" in inspect.signature(rp.recipes.RECIPES[name]).parameters
    counts = {"likelihood": "negative_binomial"} if name == "nb_vae" else {}
    options = TrainOptions(
        data=str(grey_file),
        out="",
        recipe=name,
        context="labels" if conditional else None,
        latent_dim=4,
        **words,
        **counts,
    )
    source = read(options.data, None, context_names(options))
    plan, schema, _ = resolve(options, source)
    data = schema.dataset(source)
    vae, objective = build(plan, data)
    x, contexts = data.fixed(data.x[:8], torch.empty(0), 0), data.contexts_of(slice(0, 8), torch.empty(0))
    assert objective.bound(objective.draw(vae, x, *contexts)).shape == (8,)


@pytest.mark.parametrize("name", ["vamp_vae", "flow_prior_vae", "mixture_vae", "iaf_vae", "svae"])
def test_recipes_of_latents_train_and_serve(name, tmp_path, capsys):
    words = ["--latent-dim", 3, "--hidden", "16", "--epochs", 1, "--lr", "3e-3"]
    assert run("train", "digits", "--out", tmp_path / "run", "--recipe", name, *words) == 0
    served(tmp_path / "run", "digits", tmp_path, capsys)


def test_counts_train_by_their_recipe(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).negative_binomial(2, 0.1, (80, 12)))
    words = ["--latent-dim", 2, "--hidden", "8", "--epochs", 2, "--dispersion", "shared"]
    assert run("train", tmp_path / "x.npy", "--out", tmp_path / "run", "--recipe", "nb_vae", *words) == 0
    assert isinstance(rp.load(tmp_path / "run").likelihood, rp.likelihoods.NegativeBinomial)
    assert rp.load(tmp_path / "run").likelihood.dispersion == "shared"
    served(tmp_path / "run", tmp_path / "x.npy", tmp_path, capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["--likelihood", "binomial", "--total", 9],
        ["--likelihood", "multinomial"],
        ["--posterior", "categorical", "--latent-classes", 3, "--gradient", "score", "--prior", "autoregressive"],
        ["--posterior", "bernoulli", "--gradient", "enumerate"],
    ],
    ids=lambda words: words[1],
)
def test_further_names_train_and_serve(words, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 6, (60, 5)))
    more = ["--latent-dim", 6, "--hidden", "8", "--epochs", 1]
    assert run("train", tmp_path / "x.npy", "--out", tmp_path / "run", *words, *more) == 0
    if "--total" in words:
        assert rp.load(tmp_path / "run").likelihood.total == 9
    served(tmp_path / "run", tmp_path / "x.npy", tmp_path, capsys)


def test_a_binomial_has_as_many_trials_as_the_largest_count(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).binomial(7, 0.5, (300, 3)))
    words = ["--out", tmp_path / "run", "--likelihood", "binomial", "--hidden", "4", "--epochs", 1]
    assert run("train", tmp_path / "x.npy", *words) == 0
    assert rp.load(tmp_path / "run").likelihood.total == 7
    assert "0 to 3" in refused(capsys, "train", tmp_path / "x.npy", *words, "--total", 3, "--overwrite")
    gaussian = ["--out", tmp_path / "other", "--likelihood", "gaussian", "--total", 3]
    assert "total is of binomial" in refused(capsys, "train", tmp_path / "x.npy", *gaussian)


def served(folder, data, tmp_path, capsys):
    """What a run is for: its numbers, samples and latents."""
    capsys.readouterr()
    assert run("evaluate", folder, data, "--k", 5, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["elbo"] is not None
    assert np.isfinite(numbers["log_likelihood"])
    assert run("sample", folder, "-n", 3, "--out", tmp_path / "s.npy") == 0
    assert run("encode", folder, data, "--out", tmp_path / "z.npy") == 0
    assert np.load(tmp_path / "s.npy").shape[0] == 3
    assert np.isfinite(np.load(tmp_path / "z.npy")).all()


def test_overwrite_replaces_a_run_and_nothing_else(grey_file, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("train", grey_file, "--out", folder, *QUICK) == 0
    assert "already" in refused(capsys, "train", grey_file, "--out", folder, *QUICK)
    assert run("train", grey_file, "--out", folder, *QUICK, "--overwrite") == 0
    (folder / "thesis.txt").write_text("mine")
    assert "thesis.txt" in refused(capsys, "train", grey_file, "--out", folder, *QUICK, "--overwrite")
    assert (folder / "model.safetensors").exists()


def test_what_auto_chose_is_said(grey_file, tmp_path, capsys):
    assert run("train", grey_file, "--out", tmp_path / "run", *QUICK) == 0
    assert "likelihood continuous_bernoulli: grey values" in capsys.readouterr().err


# ---- what is refused ----


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latent-dim", "0"], "at least 1 dimension"),
        (["--epochs", "-3"], "epochs must be a whole number of at least 1, not -3"),
        (["--epochs", "many"], "--epochs takes a whole number, not 'many'"),
        (["--likelihood", "bernouli"], "did you mean 'bernoulli'?"),
        (["--likelihood", "bernoulli"], "binarize"),
        (["--binarize", "dynamc"], "did you mean 'dynamic'?"),
        (["--posterior", "diagnal"], "did you mean 'diagonal'?"),
        (["--network", "cnv"], "did you mean 'conv'?"),
        (["--objective", "elbow"], "did you mean 'elbo'?"),
        (["--latent-dims", "3"], "did you mean '--latent-dim'?"),
        (["--network", "conv", "--channels", "4,4,4,4,4"], "too many"),
        (["--network", "conv", "--hidden", "9"], "--hidden is for the network mlp"),
        (["--channels", "9"], "--channels is for the network conv"),
        (["--scale", "2"], "has no scale"),
        (["--dispersion", "2"], "has no dispersion"),
        (["--posterior", "lapace"], "did you mean 'laplace'?"),
        (["--prior", "mixtur"], "did you mean 'mixture'?"),
        (["--posterior", "laplace", "--prior", "sphere_uniform"], "do not go together"),
        (["--rank", "3"], "it is of the posterior lowrank"),
        (["--recipe", "svae", "--posterior", "full"], "brings the posterior vmf"),
        (["--recipe", "beta_va"], "did you mean 'beta_vae'?"),
        (["--recipe", "iwae", "--k", "9"], "brings its own objective"),
        (["--k", "0"], "k must be a whole number of at least 1"),
        (["--hidden", "a"], "--hidden takes whole numbers"),
        (["--hidden", "0"], "at least 1"),
        (["--posterior", "point", "--objective", "elbo"], "Reconstruction"),
        (["--objective", "iwae", "--beta", "2"], "beta"),
        (["--lr", "0"], "lr"),
        (["--seed", "-1"], "seed"),
        (["--validation", "1.5"], "validation"),
        (["--threads", "0"], "threads"),
        (["--scale", "wide", "--likelihood", "gaussian"], "unknown kind of scale 'wide'"),
        (["--scale", "-1", "--likelihood", "gaussian"], "positive"),
        (["--pixel-max", "100"], "outside 0..100"),
        (["--activation", "rlu"], "did you mean 'relu'?"),
        (["--config", "nothing.toml"], "no such configuration file"),
    ],
)
def test_wrong_options_leave_one_line_and_no_folder(grey_file, tmp_path, capsys, words, said):
    folder = tmp_path / "run"
    assert said in refused(capsys, "train", grey_file, "--out", folder, "--epochs", 1, *words)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("latent_dim = = 3", "configuration file is broken"),
        ("latent_dmi = 3", "did you mean 'latent_dim'?"),
        ('latent_dim = "three"', "--latent-dim takes a whole number, not 'three'"),
    ],
)
def test_a_broken_configuration_file_is_refused(grey_file, tmp_path, capsys, content, said):
    (tmp_path / "c.toml").write_text(content)
    assert said in refused(capsys, "train", grey_file, "--out", tmp_path / "run", "--config", tmp_path / "c.toml")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "x", "said"),
    [
        ("nan.npy", np.array([[0.0, 1.0], [np.nan, 1.0]]), "row 1, column 0"),
        ("inf.npy", np.array([[0.0, 1.0], [0.0, np.inf]]), "row 1, column 1"),
        ("none.npy", np.ones((0, 3)), "no rows"),
        ("one.npy", np.ones((1, 3)), "at least 2 rows"),
        ("flat.npy", np.ones(7), "one row for each datum"),
        ("big.npy", np.full((9, 4, 4), 300), "beyond 0..255"),
        ("objects.npy", np.array([[{}]], dtype=object), "never unpickled"),
    ],
)
def test_data_that_cannot_be_used_leave_one_line_and_no_folder(tmp_path, capsys, name, x, said):
    np.save(tmp_path / name, x, allow_pickle=True)
    assert said in refused(capsys, "train", tmp_path / name, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_mistakes_leave_one_line(trained, grey_file, table_file, tmp_path, capsys):
    out = tmp_path / "o.npy"
    np.save(tmp_path / "z.npy", np.zeros((3, 7)))
    cases = {
        "unknown command 'tarin': did you mean 'train'?": ["tarin"],
        "train needs DATA and --out": ["train"],
        "no such file": ["train", "nothing.npy", "--out", tmp_path / "run"],
        "no run folder at": ["evaluate", tmp_path / "nothing", grey_file],
        "is not a run folder": ["evaluate", tmp_path, grey_file],
        "has shape (8, 6)": ["evaluate", trained, table_file],
        "k must be a whole number": ["evaluate", trained, grey_file, "--k", 0],
        "unknown method 'imprtance'": ["evaluate", trained, grey_file, "--method", "imprtance"],
        "unknown precision 'bfloat'": ["evaluate", trained, grey_file, "--precision", "bfloat"],
        "method 'ais' has no option 'precision'": [
            "evaluate",
            trained,
            grey_file,
            "--method",
            "ais",
            "--precision",
            "float32",
        ],
        "no writer knows 'o.jpg'": ["sample", trained, "--out", tmp_path / "o.jpg"],
        "no such folder": ["sample", trained, "--out", tmp_path / "nowhere" / "o.npy"],
        "-n must be at least 1": ["sample", trained, "-n", 0, "--out", out],
        "this model's latents are numbers (rows, 2)": ["decode", trained, tmp_path / "z.npy", "--out", out],
        "does not know what to do with 'more'": ["sample", trained, "more", "--out", out],
    }
    for said, words in cases.items():
        assert said in refused(capsys, *words)
    assert not out.exists()


def test_a_run_without_a_checkpoint_says_that_it_starts_over(grey_file, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("train", grey_file, "--out", folder, *QUICK) == 0
    expected = (folder / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "checkpoints")
    (folder / "model.safetensors").unlink()
    assert "reparam resume" in refused(capsys, "evaluate", folder, grey_file)
    assert run("resume", folder) == 0
    assert "from the beginning" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == expected


def test_resuming_another_model_or_to_fewer_epochs_is_refused(grey_file, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("train", grey_file, "--out", folder, *QUICK) == 0
    assert "has 2 epochs already" in refused(capsys, "resume", folder, "--epochs", 1)
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace('activation = "relu"', 'activation = "tanh"'))
    assert "model = " in refused(capsys, "resume", folder, "--epochs", 3)


def test_data_that_float32_cannot_tell_apart_are_refused(tmp_path, capsys):
    rows = "\n".join(f"{1e9 + i % 7},{i % 5 + 0.5}" for i in range(90))
    (tmp_path / "t.csv").write_text("time,b\n" + rows + "\n")
    said = refused(capsys, "train", tmp_path / "t.csv", "--out", tmp_path / "run")
    assert "column 'time' varies by 1.99 around 1e+09" in said
    assert "subtract an offset" in said


@pytest.mark.thorough
def test_the_elbo_is_below_the_log_likelihood_of_every_method(trained, grey_file, tmp_path, capsys):
    few = tmp_path / "few.npz"
    np.savez(few, x=np.load(grey_file)["x"][:12])
    for method, k in (("importance", 200), ("mixture", 200), ("ais", 2)):
        capsys.readouterr()
        assert run("evaluate", trained, few, "--method", method, "--k", k, "--json") == 0
        numbers = json.loads(capsys.readouterr().out)
        assert numbers["log_likelihood"] > numbers["elbo"]
        assert (numbers["method"], numbers["k"]) == (method, k)


def test_products_of_an_evaluation_are_of_the_precision_asked_for(trained, grey_file, capsys):
    """On grey values of 8 x 8 pixels; rounded operands move a mean by less than a nat, and not by nothing."""
    found = {}
    for precision in ("auto", "float32", *(("bfloat16",) if has_bfloat16(torch.device("cpu")) else ())):
        capsys.readouterr()
        assert run("evaluate", trained, grey_file, "--k", 20, "--precision", precision, "--json") == 0
        found[precision] = json.loads(capsys.readouterr().out)["log_likelihood"]
    assert found["auto"] == found["float32"]
    assert "bfloat16" not in found or 0 < abs(found["bfloat16"] - found["float32"]) < 1


def test_a_reader_that_has_seen_enough_is_no_failure():
    with subprocess.Popen(
        [sys.executable, "-m", "reparam", "recipes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as p:
        p.stdout.close()
        assert p.stderr.read() == b""
        assert p.wait() == 0


def test_a_closed_standard_error_does_not_disturb_results(trained, grey_file, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    assert run("evaluate", trained, grey_file, "--k", 5, "--json") == 0
    assert json.loads(capsys.readouterr().out)["k"] == 5


def test_a_failure_while_running_has_status_1(trained, grey_file, monkeypatch, capsys):
    def fail(*args, **options):
        raise RuntimeError("the disk\nis full")

    monkeypatch.setattr("reparam.cli.evaluate.measure", fail)
    assert run("evaluate", trained, grey_file) == 1
    assert capsys.readouterr().err.splitlines() == ["reparam: the disk is full (REPARAM_DEBUG=1 shows where)"]
    monkeypatch.setenv("REPARAM_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run("evaluate", trained, grey_file)


# ---- killed ----


def _train_in_a_process(data: Path, folder: Path) -> subprocess.Popen[bytes]:
    words = [
        "train",
        data,
        "--out",
        folder,
        "--epochs",
        4000,
        "--hidden",
        "32",
        "--validation",
        "0.1",
        "--patience",
        4000,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "reparam", *map(str, words)],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 (tests may run under nohup)
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _wait_for_epochs(folder: Path, epochs: int) -> None:
    history = folder / "history.jsonl"
    while not history.exists() or len(history.read_text().splitlines()) < epochs:
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_training_leaves_a_run_that_is_usable_and_resumes(grey_file, tmp_path, capsys, number):
    folder = tmp_path / "run"
    process = _train_in_a_process(grey_file, folder)
    _wait_for_epochs(folder, 3)
    process.send_signal(number)
    assert process.wait() == 130
    done = len((folder / "history.jsonl").read_text().splitlines())
    assert run("evaluate", folder, grey_file, "--k", 5, "--json") == 0
    assert run("resume", folder, "--epochs", done + 2) == 0
    assert len((folder / "history.jsonl").read_text().splitlines()) == done + 2
    assert (folder / "report.html").exists()


def test_killed_training_leaves_a_run_that_resumes_to_the_bits_of_one_that_was_not(grey_file, tmp_path, capsys):
    folder, whole = tmp_path / "run", tmp_path / "whole"
    process = _train_in_a_process(grey_file, folder)
    _wait_for_epochs(folder, 3)
    process.kill()
    process.wait()
    assert run("evaluate", folder, grey_file, "--k", 5, "--json") == 0  # saved after its first epoch
    done = 400  # more than the few epochs that were done when it was killed
    assert run("resume", folder, "--epochs", done) == 0
    words = ["--epochs", done, "--hidden", "32", "--validation", "0.1", "--patience", 4000]
    assert run("train", grey_file, "--out", whole, *words) == 0
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
