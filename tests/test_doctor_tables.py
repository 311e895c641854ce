"""The doctor on tables with holes and columns of several kinds."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from torch import Tensor

import reparam as rp
from models import Function, LinearGaussian
from reparam.cli.main import main
from reparam.evaluate import diagnose
from reparam.evaluate.diagnosis.subject import posterior_draws, simulate
from test_tabular import people


def with_holes(model: LinearGaussian) -> rp.VAE:
    """p(z | what is seen) as posterior: the rows of W that are seen make its precision."""

    def net(x: Tensor) -> Tensor:
        seen = (~x.isnan()).to(x.dtype)
        precision = torch.eye(model.dim) + torch.einsum("ed,be,ef->bdf", model.w, seen, model.w) / model.s**2
        pull = (torch.where(x.isnan(), 0.0, x - model.b) @ model.w) / model.s**2
        mean = torch.linalg.solve(precision, pull.unsqueeze(-1)).squeeze(-1)
        return rp.posteriors.FullGaussian.pack(mean, torch.linalg.cholesky(torch.linalg.inv(precision)))

    vae = model.vae(rp.posteriors.FullGaussian(Function(net)))
    return rp.VAE(vae.prior, rp.likelihoods.Observed(vae.likelihood), vae.posterior)


def holed(model: LinearGaussian, n: int, seed: int) -> rp.Dataset:
    x = model.data(n, seed)
    holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.25
    return rp.Dataset(torch.where(holes, torch.nan, x), missing=True, columns=[f"c{i}" for i in range(x.shape[1])])


def test_nothing_is_wrong_with_a_model_of_rows_with_holes_that_made_them():
    """Two seeds, of about 20 numbers each at 1 in 10,000."""
    for seed in range(2):
        model = LinearGaussian.random(2, 6, seed)
        found = diagnose(
            with_holes(model), holed(model, 400, seed + 50), train=holed(model, 400, seed + 90), rows=400, gap_rows=30,
            seed=seed,
        )  # fmt: skip
        assert found.healthy, str(found)
        assert not found.skipped
        assert abs(found.numbers["approximation_gap"].value) < 0.05
        assert found.numbers["baseline_less_model"].value < 0


def test_a_column_that_is_not_as_the_model_says_is_named_alone():
    model = LinearGaussian.random(2, 6, 0)
    data = holed(model, 400, 5)
    data.x[:, 3] = data.x[:, 3] + 3 * model.s
    found = diagnose(with_holes(model), data, rows=400, gap_rows=10)
    assert "column_misfit" in found
    assert max(found["column_misfit"].details["columns"].items(), key=lambda t: t[1])[0] == "c3"
    assert "'c3'" in found["column_misfit"].sentence
    assert rp.plots.png_bytes(rp.plots.diagnosis("columns", found.pictures["columns"])).startswith(b"\x89PNG")


def test_simulated_rows_have_the_holes_of_the_data():
    model = LinearGaussian.random(2, 6, 0)
    data = holed(model, 30, 5)
    made, _ = simulate(with_holes(model), data, 50, 0)
    assert torch.equal(made.x[:30].isnan(), data.x.isnan())
    assert torch.equal(made.x[30:].isnan(), data.x[:20].isnan())


def test_draws_that_are_chosen_by_their_weights_come_to_the_posterior():
    """From the prior as q: moments of 2000 draws, each one of 200, against p(z|x), 5 se and a bias of order 1/200."""
    model = LinearGaussian.random(1, 3, 1, s=1.5)
    x = model.data(3)
    with torch.no_grad():
        z = posterior_draws(model.prior_as_posterior(), x, (), 0, "test", 2000, 200)
    sd = float(1 / model.precision.sqrt())
    assert bool(((z.mean(0) - model.mean(x)).abs() < sd * (5 / 2000**0.5 + 0.05)).all())
    assert bool(((z.std(0) / sd - 1).abs() < 5 / 4000**0.5 + 0.05).all())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor-tables")
    people(300).to_csv(folder / "people.csv", index=False)
    words = ["--epochs", "4", "--latent-dim", "1", "--hidden", "8", "--k", "3", "--validation", "0.3"]
    assert main(["train", str(folder / "people.csv"), "--out", str(folder / "run"), *words]) == 0
    yield folder
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)


def test_the_command_examines_a_mixed_table(place, capsys):
    capsys.readouterr()
    words = ["--json", "--gap-rows", "20", "--rows", "90"]
    assert main(["doctor", str(place / "run"), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows_in_all"] == 90
    assert not found["skipped"]
    constant = next(f for f in found["findings"] if f["name"] == "constant_columns")
    assert constant["details"]["columns"] == ["country"]
    assert {"train_test_gap", "amortisation_gap", "baseline_less_model", "sample_coverage", "sbc_distance"} <= set(
        found["numbers"]
    )
    page = (place / "run" / "doctor.html").read_text()
    assert "Constant columns" in page


def test_tables_that_do_not_fit_are_refused_in_a_sentence(place, capsys):
    frame = pd.read_csv(place / "people.csv")
    frame.drop(columns="sex").to_csv(place / "lacking.csv", index=False)
    frame.assign(sex="X").to_csv(place / "strange.csv", index=False)
    frame.head(5).to_csv(place / "short.csv", index=False)
    for name, said in (("lacking", "'sex'"), ("strange", "'X'"), ("short", "at least 20 rows")):
        capsys.readouterr()
        assert main(["doctor", str(place / "run"), str(place / f"{name}.csv")]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error
