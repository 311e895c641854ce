"""The command given contexts: columns of a table, arrays of an archive, labels; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import reparam as rp
from refusals import refused as refuses
from reparam.data import Schema, infer, read
from reparam.data.context import Context
from reparam.errors import RunFolderError
from reparam.evaluate import diagnose
from test_cli import refused, run

QUICK = ["--epochs", "40", "--latent-dim", "2", "--lr", "0.01", "--hidden", "16"]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """300 rows of 2 columns that a side shifts by 6, and a dose."""
    path = tmp_path_factory.mktemp("data") / "table.csv"
    rng = np.random.default_rng(0)
    side, dose = rng.integers(0, 2, 300), rng.uniform(0, 3, 300)
    x = rng.normal(size=(300, 2)) + 6 * side[:, None] + dose[:, None] * [0, 1]
    rows = (f"{a},{'left' if s else 'right'},{b},{d}" for (a, b), s, d in zip(x, side, dose, strict=True))
    path.write_text("a,side,b,dose\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["--context", "side,dose", "--recipe", "cvae", *QUICK]
    assert run("train", table, "--out", folder, *words) == 0
    return folder


def columns(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", skiprows=1)


def test_samples_follow_the_context_that_is_given(trained, tmp_path):
    """6 and 2 apart by the model's own law; the fit of 300 rows by 40 epochs is known to about 0.5."""
    means = []
    for given in ("side=left,dose=0.5", "side=right,dose=0.5", "dose=2.5,side=right"):
        assert run("sample", trained, "-n", 3000, "--given", given, "--out", tmp_path / "s.csv") == 0
        means.append(columns(tmp_path / "s.csv").mean(0))
    np.testing.assert_allclose(means[0] - means[1], [6, 6], atol=0.6)
    np.testing.assert_allclose(means[2] - means[1], [0, 2], atol=0.6)


def test_every_command_reads_the_contexts_by_their_names_and_agrees_with_the_library(trained, table, tmp_path, capsys):
    schema = Schema.from_json((trained / "schema.json").read_text())
    data, vae = schema.dataset(read(table, None, ["side", "dose"])), rp.load(trained)
    assert data.columns == ["a", "b"]
    assert data.contexts[0].shape == (300, 3)
    for command in ("encode", "reconstruct"):
        assert run(command, trained, table, "--out", tmp_path / f"{command}.npy") == 0
    assert run("score", trained, table, "--k", 20, "--out", tmp_path / "score.npy") == 0
    np.testing.assert_allclose(np.load(tmp_path / "encode.npy"), rp.evaluate.encode(vae, data), atol=1e-6)
    scores = rp.evaluate.log_likelihood(vae, data, k=20).per_datum
    np.testing.assert_allclose(np.load(tmp_path / "score.npy"), scores, atol=1e-6)
    capsys.readouterr()
    assert run("evaluate", trained, table, "--k", 20, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["log_likelihood"] == pytest.approx(float(scores.mean()), abs=1e-5)
    assert numbers["latent_dim"] == 2
    other = tmp_path / "shuffled.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    other.write_text("\n".join(",".join((d, b, a, s)) for a, s, b, d in rows) + "\n")
    assert run("score", trained, other, "--k", 20, "--out", tmp_path / "other.npy") == 0
    assert np.array_equal(np.load(tmp_path / "other.npy"), np.load(tmp_path / "score.npy"))


def test_rows_are_decoded_as_if_they_had_another_context(trained, table, tmp_path):
    """What the side adds is gone once all rows are decoded on one side."""
    assert run("reconstruct", trained, table, "--given", "side=right,dose=0", "--out", tmp_path / "r.csv") == 0
    left = np.array(["left" in line for line in table.read_text().splitlines()[1:]])
    moved = columns(tmp_path / "r.csv")
    assert np.abs(moved[left].mean(0) - moved[~left].mean(0)).max() < 1.0
    assert run("encode", trained, table, "--out", tmp_path / "z.npy") == 0
    assert run("decode", trained, tmp_path / "z.npy", "--given", "side=right,dose=0", "--out", tmp_path / "d.csv") == 0
    np.testing.assert_allclose(columns(tmp_path / "d.csv"), moved, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "give --given side=left,dose=NUMBER"),
        (("--given", "side=left"), "give --given side=left,dose=NUMBER"),
        (("--given", "side=lef,dose=1"), "'lef', which training never saw: it is one of 'left', 'right'"),
        (("--given", "sid=left,dose=1"), "did you mean 'side'"),
        (("--given", "side=left,dose=much"), "is a number, not 'much'"),
        (("--given", "side=left,dose=nan"), "not finite"),
        (("--given", "side=left,side=right,dose=1"), "twice"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(trained, tmp_path, capsys, given, said):
    assert said in refused(capsys, "sample", trained, "--out", tmp_path / "s.csv", *given)
    assert not (tmp_path / "s.csv").exists()


def test_data_whose_contexts_do_not_fit_are_refused(trained, table, tmp_path, capsys):
    text = table.read_text()
    for change, said in (
        (("left", "middle"), "context 'side' is 'middle', which training never saw"),
        ((",side,", ",sides,"), "no context 'side': did you mean 'sides'?"),
        ((",left,", ",,"), "context 'side' of row"),
    ):
        (tmp_path / "t.csv").write_text(text.replace(*change))
        assert said in refused(capsys, "evaluate", trained, tmp_path / "t.csv")


def test_arrays_of_an_archive_and_labels_are_contexts(tmp_path, capsys):
    rng = np.random.default_rng(0)
    y, c = rng.integers(3, 6, 60), rng.normal(size=(60, 2)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(60, 4)).astype(np.float32), y=y, c=c)
    for names, width in (("y", 3), ("labels", 3), ("c", 2), ("y,c", 5)):
        folder = tmp_path / names
        assert run("train", tmp_path / "d.npz", "--out", folder, "--context", names, "--epochs", 1) == 0
        assert rp.load(folder).likelihood.likelihood.net.context == width
    assert "context c" in capsys.readouterr().err
    said = refused(capsys, "sample", tmp_path / "c", "--out", tmp_path / "s.npy", "--given", "c=1")
    assert "2 numbers a row, which no option gives" in said
    assert run("sample", tmp_path / "y", "-n", 3, "--given", "y=4", "--out", tmp_path / "s.npy") == 0
    assert "no context 'z'" in refused(capsys, "train", tmp_path / "d.npz", "--out", tmp_path / "n", "--context", "z")
    said = refused(capsys, "train", tmp_path / "d.npz", "--out", tmp_path / "n", "--recipe", "cvae")
    assert "train --context NAME" in said
    assert not (tmp_path / "n").exists()


def test_a_model_without_contexts_takes_none(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 3)))
    assert run("train", tmp_path / "x.npy", "--out", tmp_path / "run", "--epochs", 1) == 0
    words = ["sample", tmp_path / "run", "--out", tmp_path / "s.npy", "--given", "a=1"]
    assert "leave --given out" in refused(capsys, *words)


@pytest.mark.parametrize(
    ("values", "categories"),
    [
        (np.array([3, 1, 10]), ["1", "3", "10"]),
        (np.array(["b", "a", "b"]), ["a", "b"]),
        (np.array([True, False, True]), ["False", "True"]),
        (np.arange(51), None),
        (np.array([1.0, 2.0, 4.0]), None),
        (np.eye(3), None),
    ],
    ids=["whole", "text", "bool", "many", "real", "matrix"],
)
def test_few_kinds_are_one_hot_and_numbers_are_standardised(values, categories):
    context = Context.of("c", values)
    assert context.categories == categories
    encoded = context.encode(values, "there")
    assert encoded.shape == (len(values), context.width)
    if categories:
        assert [categories[i] for i in encoded.argmax(1)] == [str(v) for v in values.tolist()]
        assert np.array_equal(encoded.sum(1), np.ones(len(values)))
    else:
        np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(encoded.std(0), 1, atol=1e-6)


def test_contexts_that_tell_rows_apart_or_are_none_are_refused():
    refuses(lambda: Context.of("id", np.array([f"row {i}" for i in range(1001)])), "tells rows apart")
    refuses(lambda: Context.of("c", np.array([1.0, np.nan])), "row 1 is not finite")
    refuses(lambda: Context.of("c", np.array([1.0, 2.0])).encode(np.array(["a", "b"]), "there"), "training had numbers")


def test_a_schema_keeps_its_contexts_and_refuses_others(table):
    schema = infer(read(table, None, ["side", "dose"]))[0]
    assert Schema.from_json(schema.to_json()) == schema
    raw = json.loads(schema.to_json())
    for contexts in (
        [], "side", [{"name": "side"}], [{**raw["contexts"][0], "categories": []}],
        [{**raw["contexts"][0], "categories": [1]}], [{**raw["contexts"][1], "spread": [0.0]}],
        [{**raw["contexts"][1], "loc": [1.0, 2.0]}], [{**raw["contexts"][1], "loc": [float("nan")]}],
    ):  # fmt: skip
        text = json.dumps({**raw, "contexts": contexts})
        refuses(lambda text=text: Schema.from_json(text), "contexts is", kinds=(RunFolderError,))


def test_the_doctor_reads_the_contexts_and_agrees_with_the_library(trained, table, tmp_path, capsys):
    """DATA is another file here than that of the run: all its rows are examined, with the contexts that it names. The
    sweep trains conditional models as the run is one."""
    copy = tmp_path / "copy.csv"
    copy.write_text(table.read_text())
    capsys.readouterr()
    assert run("doctor", trained, copy, "--json", "--gap-rows", 10, "--out", tmp_path / "page.html") == 0
    said = json.loads(capsys.readouterr().out)
    schema = Schema.from_json((trained / "schema.json").read_text())
    data = schema.dataset(read(table, None, ["side", "dose"]))
    found = diagnose(rp.load(trained), data, train=data, gap_rows=10)
    assert not said["skipped"]
    assert said["rows"] == 300
    for name in ("kl", "elbo", "dispersion", "sbc_distance"):
        assert said["numbers"][name]["value"] == pytest.approx(found.numbers[name].value, rel=1e-4)
    nameless = tmp_path / "nameless.csv"
    nameless.write_text("a,b\n" + "0,0\n" * 30)
    assert "side" in refused(capsys, "doctor", trained, nameless)


def test_a_sweep_over_beta_trains_conditional_models(table, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--context", "side,dose", "--latent-dim", "2", "--epochs", "2", "--hidden", "8", "--validation", "0.2"]
    assert run("train", table, "--out", folder, *words) == 0
    capsys.readouterr()
    words = ["--json", "--gap-rows", 10, "--sweep", "beta", "--betas", "1", "--sweep-epochs", 1]
    assert run("doctor", folder, *words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sweep"]["beta"] == [1.0]
    assert said["rows_in_all"] == 60
