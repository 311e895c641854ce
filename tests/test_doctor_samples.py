"""The doctor on samples, in data space and in a space of the caller's, and on known factors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import reparam as rp
from models import LinearGaussian
from refusals import refused
from reparam.cli.main import main
from reparam.evaluate import diagnose
from reparam.evaluate.diagnosis import checks_samples
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.subject import Subject
from reparam.evaluate.diagnosis.training import Run
from reparam.evaluate.likeness import neighbourhoods


def examined(vae: rp.VAE, x: torch.Tensor) -> Chart:
    data, chart = rp.Dataset(x), Chart(Run())
    checks_samples.samples(Subject(vae, data, data, None, 0), chart)
    return chart


def found(chart: Chart) -> set[str]:
    return {f.name for f in chart.findings if f.sure >= 0.9999}


def test_a_measure_that_fails_fresh_data_is_silent_and_says_so():
    """In 5000 dimensions a scale that is wrong by 3% moves every sample out of reach of all data: a precision of 0
    would say nothing of the model, as data 5% further away have it too. In 20 such a model is as good as right."""
    for size, silent in ((20, False), (5000, True)):
        model = LinearGaussian(torch.randn(size, 1), torch.zeros(size), 1.0)
        near = LinearGaussian(model.w, model.b, 1.03).exact()
        x = model.data(120, 1)
        if silent:
            words = refused(lambda: examined(near, x), "5% further", "--features")  # noqa: B023
            assert "precision" in words
        else:
            chart = examined(near, x)
            assert not found(chart)
            assert chart.numbers["sample_precision"].value > 0.8 * chart.numbers["control_precision"].value


def test_noise_that_lies_outside_the_data_is_told_from_a_prior_that_does():
    """Data on a line, in 50 dimensions. A decoder that adds noise of 0.3 to them has means like the data and draws that
    are not; one that is right has samples elsewhere where the codes are ±3 alone."""
    w = torch.randn(50, 1)
    z = 3.0 * torch.randint(0, 2, (400, 1)).mul(2).sub(1) + 0.3 * torch.randn(400, 1)
    noisy, right = LinearGaussian(w, torch.zeros(50), 0.3), LinearGaussian(w, torch.zeros(50), 0.02)
    wide = torch.randn(400, 1) @ w.T + 0.02 * torch.randn(400, 50)
    chart = examined(noisy.exact(), wide)
    finding = next(f for f in chart.findings if f.name == "samples_low_precision")
    assert finding.sure >= 0.9999
    assert "noise of p(x|z)" in finding.sentence
    assert finding.details["at_codes"] < 0.1
    assert finding.details["control"] > 0.8
    chart = examined(right.exact(), z @ w.T + 0.02 * torch.randn(400, 50))
    other = next(f for f in chart.findings if f.name == "samples_low_precision")
    assert other.sure >= 0.9999
    assert "where the prior puts z" in other.sentence
    assert other.details["at_codes"] > 0.8
    assert other.weight > finding.weight
    assert set(chart.pictures["samples"]) == {"data", "codes", "samples"}
    assert rp.plots.png_bytes(rp.plots.diagnosis("samples", chart.pictures["samples"])).startswith(b"\x89PNG")


def test_standard_errors_of_shares_hold_for_repeated_draws():
    """Precision and coverage of fresh draws beside fresh data, 200 times: their standard deviation, which is known to
    5%, is at most the error that is stated, and no less than 0.4 of it. It lies at 0.7 and 0.8."""
    near = [neighbourhoods(torch.randn(100, 3), torch.randn(100, 3) * 1.5) for _ in range(200)]
    for name in ("precision", "coverage"):
        values = torch.tensor([getattr(t, name) for t in near])
        stated = checks_samples._error(float(values.mean()), 100)
        assert 0.4 * stated < float(values.std()) < stated, name


def test_samples_are_compared_in_a_space_of_the_callers():
    model = LinearGaussian.random(2, 6, 0)
    x = model.data(200)

    def two(t: torch.Tensor) -> np.ndarray:
        assert t.shape[0] <= 256
        return t.numpy()[:, :2] * 10

    plain, given = (diagnose(model.exact(), x, gap_rows=5, features=f).numbers for f in (None, two))
    assert given["sample_frechet"].value > 20 * plain["sample_frechet"].value > 0
    assert given["control_frechet"].value > 0
    for wrong in (lambda t: t[0], lambda t: t[:, 0], lambda t: t * math.nan, lambda t: "text"):
        refused(lambda f=wrong: diagnose(model.exact(), x, features=f), "features")


def code(model: LinearGaussian) -> tuple[rp.VAE, torch.Tensor, torch.Tensor]:
    """A model whose two latents are two factors of three values each, in its data."""
    y = torch.randint(0, 3, (600, 2))
    z = (y - 1.0) * 1.2
    return model.diagonal(), z @ model.w.T + model.s * torch.randn(600, len(model.b)), y


def test_known_factors_give_scores_beside_those_of_chance():
    """Each latent is one factor, up to noise that never takes one value for another: all scores are near 1 but that of
    sap, whose second best dimension beats chance a little; in random order near 0 but for what DCI tells by chance."""
    model = LinearGaussian(torch.eye(4)[:, :2], torch.zeros(4), 0.05)
    vae, x, y = code(model)
    result = diagnose(vae, x, factors=y, gap_rows=5)
    for name in ("mig", "sap", "factor_vae", "modularity", "disentanglement", "completeness", "informativeness"):
        assert result.numbers[name].value > 0.85, name
    for name in ("mig", "sap", "factor_vae"):
        assert result.numbers[f"{name}_by_chance"].value < 0.15, name
    assert "mig" in str(result)
    assert "random order" in str(result)
    refused(lambda: diagnose(vae, x, factors=y[:50], gap_rows=5), "one row for each of 600")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A short run on 300 rows, of which 60 are held out, with their factors in three kinds of files."""
    folder = tmp_path_factory.mktemp("samples")
    _, x, y = code(LinearGaussian(torch.eye(4)[:, :2], torch.zeros(4), 0.1))
    x, y = x[:300].numpy(), y[:300].numpy()
    np.savez(folder / "data.npz", x=x, y=y[:, 0])
    np.save(folder / "factors.npy", y)
    lines = [f"{'abc'[a]},{b}" for a, b in y]
    (folder / "factors.csv").write_text("shape,size\n" + "\n".join(lines) + "\n")
    (folder / "holed.csv").write_text("shape,size\n" + "\n".join([",1", *lines[1:]]) + "\n")
    (folder / "beside.py").write_text("WIDTH = 2\n")
    (folder / "mine.py").write_text(
        "from beside import WIDTH\n\n"
        "def half(x):\n    return x[:, :WIDTH]\n\n"
        "def failing(x):\n    return x[:, 77]\n\n"
        "def infinite(x):\n    return x / 0\n\n"
        "number = 3\n"
    )
    (folder / "broken.py").write_text("half = no_such_name\n")
    words = ["--epochs", "2", "--latent-dim", "2", "--hidden", "8", "--validation", "0.2"]
    assert main(["train", str(folder / "data.npz"), "--out", str(folder / "run"), *words]) == 0
    yield folder
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)


def asked(capsys, *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["doctor", *map(str, words), "--gap-rows", "3"])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_command_takes_factors_of_the_rows_that_it_examines(place, capsys):
    """By file or as labels; of the run's own data, those of the held-out rows, and a table of text is as good as
    numbers."""
    scores = []
    for given in ("factors.npy", "factors.csv", "labels"):
        file = place / given if "." in given else given
        status, out, _ = asked(capsys, place / "run", "--factors", file, "--json")
        assert status == 0
        scores.append(json.loads(out)["numbers"])
    assert json.dumps(scores[0]) == json.dumps(scores[1])
    schema = rp.data.Schema.from_json((place / "run" / "schema.json").read_text())
    data = schema.dataset(rp.data.read(place / "data.npz"))
    held = torch.zeros(300, dtype=torch.bool)
    held[torch.randperm(300, generator=torch.Generator().manual_seed(0))[:60]] = True
    codes = rp.evaluate.encode(rp.load(place / "run"), data[held])
    want = rp.evaluate.disentanglement(codes, np.load(place / "factors.npy")[held.numpy()])
    assert scores[0]["mig"]["value"] == pytest.approx(want.mig)
    assert scores[0]["informativeness"]["value"] == pytest.approx(want.informativeness)
    one = rp.evaluate.disentanglement(codes, np.load(place / "factors.npy")[held.numpy()][:, :1])
    assert scores[2]["mig"]["value"] == pytest.approx(one.mig)


def test_the_command_takes_a_function_of_the_callers(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    numbers = []
    for given in (f"{place / 'mine.py'}:half", "mine:half"):
        status, out, _ = asked(capsys, place / "run", "--features", given, "--json")
        assert status == 0
        numbers.append(json.loads(out)["numbers"])
    assert numbers[0] == numbers[1]
    assert numbers[0]["sample_frechet"]["value"] >= 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--factors", "nowhere.csv"), "no such file"),
        (("--factors", "holed.csv"), "'shape' of row 0 is missing"),
        (("--factors", "short.npy"), "has 5 rows"),
        (("--factors", "hole.npy"), "factor 1 of row 3 is nan"),
        (("--factors", "labels", "--labels", "short.npy"), "5 labels"),
        (("--labels", "nowhere.npy"), "nowhere.npy"),
        (("--betas", "1,2"), "--betas belongs to a sweep"),
        (("--features", "mine.py"), "module:name or file.py:name"),
        (("--features", "mine.py:haf"), "did you mean 'half'"),
        (("--features", "mine.py:number"), "has no function 'number'"),
        (("--features", "nowhere.py:half"), "there is no file"),
        (("--features", "no_such_module:half"), "cannot be imported"),
        (("--features", "broken.py:half"), "NameError: name 'no_such_name' is not defined"),
        (("--features", "mine.py:failing"), "failed for data (2, 4): IndexError"),
        (("--features", "mine.py:infinite"), "features of datum 0 are not all finite"),
    ],
)
def test_factors_and_features_that_cannot_be_are_refused_in_a_sentence(place, capsys, monkeypatch, words, said):
    monkeypatch.chdir(place)
    np.save("short.npy", np.zeros(5, np.int64))
    hole = np.load("factors.npy").astype(float)
    hole[torch.randperm(300, generator=torch.Generator().manual_seed(0))[:60].sort().values[3], 1] = math.nan
    np.save("hole.npy", hole)
    status, _, error = asked(capsys, place / "run", *words)
    assert status == 2
    assert said in error
    assert error.strip().splitlines()[-1].startswith("reparam: ")
