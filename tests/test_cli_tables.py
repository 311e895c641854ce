"""The command on tables with text, dates and holes."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import reparam as rp
from reparam.cli.main import main
from test_tabular import people


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    frame = people(200)
    frame.to_csv(folder / "people.csv", index=False)
    frame.to_parquet(folder / "people.parquet")
    words = ["--epochs", "4", "--latent-dim", "2", "--hidden", "8", "--k", "2"]
    assert main(["train", str(folder / "people.csv"), "--out", str(folder / "run"), "--context", "site", *words]) == 0
    return folder


def run(capsys, *words) -> str:
    assert main([str(w) for w in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys, *words) -> str:
    assert main([str(w) for w in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_training_says_what_it_takes_each_column_for(place, capsys):
    run(capsys, "schema", place / "people.csv")
    words = ["--epochs", "1", "--latent-dim", "2", "--hidden", "8", "--k", "2"]
    assert main(["train", str(place / "people.parquet"), "--out", str(place / "again"), *words]) == 0
    error = capsys.readouterr().err
    for line in (
        "person: identifier",
        "sex: binary, one of F, M",
        "joined: datetime, 2015-01",
        "country: constant, always FR",
    ):
        assert line in error
    assert (place / "again" / "report.html").exists()


def test_the_run_is_that_of_the_estimator(place, capsys):
    model, frame = rp.TabularVAE.load(place / "run"), pd.read_csv(place / "people.csv", parse_dates=["joined"])
    run(capsys, "score", place / "run", place / "people.csv", "--out", place / "s.csv", "--k", 50)
    scores = pd.read_csv(place / "s.csv")["log_likelihood"]
    np.testing.assert_allclose(scores, model.set_params(k=50).score_samples(frame), rtol=1e-6)
    run(capsys, "encode", place / "run", place / "people.csv", "--out", place / "z.npy")
    np.testing.assert_array_equal(np.load(place / "z.npy"), model.transform(frame))
    told = json.loads(run(capsys, "evaluate", place / "run", place / "people.csv", "--k", 50, "--json"))
    assert told["log_likelihood"] == pytest.approx(scores.mean())
    assert told["elbo"] < told["log_likelihood"]


def test_holes_are_filled_and_what_is_seen_is_kept(place, capsys):
    run(capsys, "impute", place / "run", place / "people.csv", "--out", place / "i.csv", "--k", 20)
    before, after = (pd.read_csv(place / name) for name in ("people.csv", "i.csv"))
    assert list(before.columns) == list(after.columns)
    assert not after.isna().any().any()
    seen = before.notna()
    kept = [t.astype(object).where(seen, "-") for t in (after, before)]
    assert kept[0].equals(kept[1])
    run(capsys, "impute", place / "run", place / "people.parquet", "--out", place / "m.parquet", "-m", 2, "--k", 20)
    assert len(pd.read_parquet(place / "m.parquet")) == 400
    run(capsys, "impute", place / "run", place / "people.csv", "--out", place / "v.csv", "--intervals", "--k", 20)
    assert len(pd.read_csv(place / "v.csv")) == int(before.isna().to_numpy().sum())


def test_samples_meet_conditions(place, capsys):
    asked = "sex=F,age=30..40,joined=2016-01-01..,city=Lyon|Bonn,site=south"
    run(capsys, "sample", place / "run", "-n", 30, "--out", place / "x.csv", "--given", asked)
    drawn = pd.read_csv(place / "x.csv", parse_dates=["joined"])
    assert (drawn["sex"] == "F").all()
    assert (drawn["site"] == "south").all()
    assert drawn["age"].between(30, 40).all()
    assert drawn["joined"].min() >= pd.Timestamp("2016-01-01")
    assert "person" not in drawn


def test_codes_go_back_to_rows_of_the_table(place, capsys):
    """decode of encode is reconstruct, in the table's own columns; of another group or drawn they are other rows."""
    table, out = place / "people.csv", [place / f"{n}.csv" for n in ("back", "north", "south", "drawn")]
    run(capsys, "reconstruct", place / "run", table, "--out", out[0])
    run(capsys, "encode", place / "run", table, "--out", place / "codes.csv")
    run(capsys, "decode", place / "run", place / "codes.csv", "--out", out[1], "--given", "site=north")
    run(capsys, "reconstruct", place / "run", table, "--out", out[2], "--given", "site=south")
    run(capsys, "decode", place / "run", place / "codes.csv", "--out", out[3], "--given", "site=north", "--sample")
    before, (back, north, south, drawn) = pd.read_csv(table), (pd.read_csv(p) for p in out)
    assert list(back.columns) == [c for c in before.columns if c != "person"]
    assert back["site"].equals(before["site"])
    assert not back.isna().any().any()
    there = (before["site"] == "north").to_numpy()
    columns = ["sex", "city", "land", "country"]
    pd.testing.assert_frame_equal(back.loc[there, columns], north.loc[there, columns])
    np.testing.assert_allclose(back.loc[there, "age"], north.loc[there, "age"], atol=1)
    assert (south["site"] == "south").all()
    assert (drawn["age"] != north["age"]).mean() > 0.5


def test_a_run_goes_on(place, capsys):
    words = ["--epochs", "1", "--latent-dim", "2", "--hidden", "8", "--k", "2"]
    whole, halves = place / "whole", place / "halves"
    assert main(["train", str(place / "people.csv"), "--out", str(whole), *words[:1], "2", *words[2:]]) == 0
    assert main(["train", str(place / "people.csv"), "--out", str(halves), *words]) == 0
    run(capsys, "resume", halves, "--epochs", 2)
    found = [rp.TabularVAE.load(f).score_samples(people(20)) for f in (whole, halves)]
    np.testing.assert_array_equal(*found)


def test_a_schema_can_be_corrected(place, capsys):
    run(capsys, "schema", place / "people.csv", "--out", place / "schema.json")
    text = (
        (place / "schema.json").read_text().replace('"kind": "identifier"', '"kind": "constant", "categories": ["p"]')
    )
    (place / "schema.json").write_text(text)
    words = ["--epochs", "1", "--hidden", "8", "--schema", place / "schema.json"]
    assert main([str(w) for w in ["train", place / "people.csv", "--out", place / "own", *words]]) == 0
    assert rp.TabularVAE.load(place / "own").schema_["person"].kind == "constant"
    assert json.loads(run(capsys, "schema", place / "people.csv", "--json"))["columns"][1]["name"] == "sex"


def test_wrong_use_is_one_line(place, capsys, tmp_path):
    table = place / "people.csv"
    assert "leave out --scale" in refused(capsys, "train", table, "--out", tmp_path / "r", "--table", "--scale", "1")
    assert "leave --mean out" in refused(capsys, "sample", place / "run", "--out", tmp_path / "x.csv", "--mean")
    assert "never saw" in refused(capsys, "sample", place / "run", "--out", tmp_path / "x.csv", "--given", "sex=X")
    assert "write conditions as" in refused(
        capsys, "sample", place / "run", "--out", tmp_path / "x.csv", "--given", "F"
    )
    run(capsys, "encode", place / "run", table, "--out", tmp_path / "z.npy")
    decode = ["decode", place / "run", tmp_path / "z.npy", "--out", tmp_path / "d.csv"]
    assert "say which of 'site'" in refused(capsys, *decode)
    assert "its group 'site' alone" in refused(capsys, *decode, "--given", "sex=F")
    assert "never saw" in refused(capsys, *decode, "--given", "site=moon")
    np.save(tmp_path / "wide.npy", np.zeros((3, 9)))
    assert "(rows, 2)" in refused(
        capsys, "decode", place / "run", tmp_path / "wide.npy", "--out", tmp_path / "d.csv", "--given", "site=north"
    )
    people(20).drop(columns="age").to_csv(tmp_path / "less.csv", index=False)
    assert "no column 'age'" in refused(
        capsys, "score", place / "run", tmp_path / "less.csv", "--out", tmp_path / "s.csv"
    )
    (tmp_path / "typo.csv").write_text("a,b\n" + "1.5,x\n2.5,y\n" * 30 + "3;5,x\n")
    assert "row 60, column 'a' is '3;5'" in refused(capsys, "train", tmp_path / "typo.csv", "--out", tmp_path / "r")
    (tmp_path / "twice.csv").write_text("a,a\nx,y\ny,x\n")
    assert "two columns named 'a'" in refused(capsys, "schema", tmp_path / "twice.csv")
    (tmp_path / "ragged.csv").write_text("a,b\n1,x\n2,y,3,4\n")
    assert "cannot be read" in refused(capsys, "schema", tmp_path / "ragged.csv")
    (tmp_path / "cut.parquet").write_bytes((place / "people.parquet").read_bytes()[:900])
    assert "cannot be read as Parquet" in refused(capsys, "schema", tmp_path / "cut.parquet")
    assert "no such file" in refused(capsys, "schema", tmp_path / "none.csv")


def test_large_files_are_read_in_pieces_with_the_same_result(place, capsys, monkeypatch):
    """With the size that counts as large set low, scores and imputations are those of the whole table."""
    from reparam.data import streams

    whole = [place / "whole.csv", place / "whole.parquet"]
    run(capsys, "score", place / "run", place / "people.parquet", "--out", whole[0], "--k", 50)
    run(capsys, "impute", place / "run", place / "people.parquet", "--out", whole[1], "--k", 50)
    monkeypatch.setattr(streams, "_LARGE", 100)
    monkeypatch.setattr(streams.pieces, "__defaults__", (64,))
    parts = [place / "parts.csv", place / "parts.parquet"]
    run(capsys, "score", place / "run", place / "people.parquet", "--out", parts[0], "--k", 50)
    run(capsys, "impute", place / "run", place / "people.parquet", "--out", parts[1], "--k", 50)
    pd.testing.assert_frame_equal(pd.read_csv(whole[0]), pd.read_csv(parts[0]), rtol=1e-6)
    one, other = (pd.read_parquet(p) for p in (whole[1], parts[1]))
    categories = ["sex", "city", "land", "site", "country", "person"]
    pd.testing.assert_frame_equal(one[categories], other[categories])
    words = ["--epochs", "2", "--latent-dim", "2", "--hidden", "8", "--k", "2", "--validation", "0.1"]
    assert main(["train", str(place / "people.parquet"), "--out", str(place / "large"), *words]) == 0
    model, frame = rp.TabularVAE.load(place / "large"), pd.read_parquet(place / "people.parquet")
    assert np.isfinite(model.score_samples(frame)).all()
    direct = rp.TabularVAE(2, hidden=(8,), epochs=2, train_k=2, validation=0.1).fit_parquet(place / "people.parquet")
    np.testing.assert_array_equal(direct.score_samples(frame), model.set_params(k=direct.k).score_samples(frame))
