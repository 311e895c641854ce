"""Counts of cells: sparse rows are those of the dense matrix, sizes and batches are conditions, results go back."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy import sparse

import cells
import reparam as rp
from refusals import refused as refuses
from reparam.data import read
from reparam.data.h5ad import read_cells, write_results
from reparam.data.sparse import SparseRows
from reparam.run import open_run
from test_cli import refused, run

QUICK = {"latent_dim": 2, "hidden": (16,), "epochs": 15, "lr": 1e-2, "k": 20, "validation": 0.0}


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
@pytest.mark.parametrize("layer", [None, "raw"])
def test_every_layout_of_a_file_gives_its_counts(tmp_path, kind, dtype, layer):
    x = np.random.default_rng(0).poisson(0.4, (37, 23)).astype(dtype)
    x[5] = 0
    found = read_cells(cells.write(tmp_path / "c.h5ad", x, kind=kind, layer=layer), layer)
    assert torch.equal(found.x[:], torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_array_equal(found.x.totals(), x.sum(1))
    assert found.genes[:2] == ["g0", "g1"]


def test_sparse_rows_are_the_rows_of_the_dense_matrix():
    """However they are chosen: slices, numbers, masks, one after the other, and some columns of them."""
    rng = np.random.default_rng(1)
    dense = rng.poisson(0.3, (50, 17)).astype(np.float32)
    rows, full = SparseRows.of(sparse.csr_matrix(dense)), torch.from_numpy(dense)
    order = rng.permutation(50)
    for at in (slice(None), slice(7, 31, 3), order[:20], torch.from_numpy(order), dense[:, 0] > 0, slice(4, 4)):
        assert torch.equal(rows[at], full[at])
        assert torch.equal(rows.take(at)[:], full[at])
    assert torch.equal(rows[3], full[3])
    columns = rng.permutation(17)[:6]
    chosen = rows.select(columns).take(order[:9])
    assert torch.equal(chosen[:], full[order[:9]][:, columns])
    assert torch.equal(chosen.select(np.array([5, 0]))[:], full[order[:9]][:, columns[[5, 0]]])
    np.testing.assert_array_equal(chosen.totals(), chosen[:].sum(1))
    assert torch.equal(torch.cat(list(rows.split(8))), full)


def test_numbers_that_float32_does_not_hold_stay_in_float64():
    x = np.array([[2.0**25 + 1, 0.0]])
    assert SparseRows.of(x)[:].dtype == torch.float64
    assert float(SparseRows.of(x)[:][0, 0]) == 2.0**25 + 1


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    x, batch, _, _ = cells.simulated()
    return x, batch


@pytest.fixture(scope="module")
def model(data) -> rp.CountVAE:
    return rp.CountVAE(batch="batch", **QUICK).fit(data[0], obs={"batch": data[1]})


def test_a_sparse_matrix_trains_and_scores_to_the_bits_of_a_dense_one(data, model):
    x, batch = data
    for other in (sparse.csr_matrix(x), sparse.csc_matrix(x)):
        again = rp.CountVAE(batch="batch", **QUICK).fit(other, obs={"batch": batch})
        np.testing.assert_array_equal(
            again.score_samples(other, obs={"batch": batch}), model.score_samples(x, obs={"batch": batch})
        )
    some = model.score_samples(x[[5, 77]], obs={"batch": batch[[5, 77]]})
    np.testing.assert_allclose(some, model.score_samples(x, obs={"batch": batch})[[5, 77]], rtol=1e-5)


def test_a_size_factor_is_a_factor_of_every_rate_and_of_nothing_else(model):
    """The likelihood at size s is that of s times the means with the same dispersion; the encoder never sees s."""
    vae, z = model.vae_, torch.randn(4, 2)
    one_hot = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    usual, large = (vae.likelihood(z, one_hot, torch.full((4, 1), s)) for s in (1.0, 3.5))
    torch.testing.assert_close(large.mean, 3.5 * usual.mean)
    theta = usual.mean.square() / (usual.variance - usual.mean)
    torch.testing.assert_close(large.variance, large.mean + large.mean.square() / theta, rtol=1e-3, atol=1e-3)
    x = torch.poisson(usual.mean)
    torch.testing.assert_close(
        vae.encode(x, one_hot, torch.ones(4, 1)), vae.encode(x, one_hot, torch.full((4, 1), 9.0)), rtol=0, atol=0
    )


def test_the_total_of_a_cell_over_its_median_is_its_size_unless_a_column_is(data):
    x, _ = data
    found = rp.CountVAE(**QUICK, random_state=1).fit(x)._data(x, None)
    total = x.sum(1)
    np.testing.assert_allclose(found.contexts[-1][:, 0], total / np.median(total), rtol=1e-6)
    named = rp.CountVAE(size_factor="depth", **QUICK).fit(x, obs={"depth": 2 * total + 1})
    given = named._data(x[:5], {"depth": np.arange(1, 6)})
    np.testing.assert_allclose(given.contexts[-1][:, 0], np.arange(1, 6) / np.median(2 * total + 1), rtol=1e-6)
    assert not rp.CountVAE(size_factor="none", **QUICK).fit(x)._data(x, None).contexts


def test_with_a_batch_given_what_the_batch_adds_is_gone(data, model):
    """Of the same cells, b has twice the share of a in the first six genes, beside the others; and cells of both
    batches look alike once all are seen as a's."""
    x, batch = data
    a, b = (model.normalize(x, given={"batch": name}, obs={"batch": batch}).mean(0) for name in "ab")
    assert 1.6 < float((b / a)[:6].mean() / (b / a)[6:].mean()) < 2.5
    alike = model.normalize(x, given={"batch": "a"}, obs={"batch": batch})
    gap = alike[batch == "b"].mean(0) / alike[batch == "a"].mean(0)
    assert 0.85 < float(gap[:6].mean() / gap[6:].mean()) < 1.18


def test_a_negative_binomial_beats_a_poisson_on_overdispersed_counts(data, model):
    x, batch = data
    poisson = rp.CountVAE(batch="batch", likelihood="poisson", **QUICK).fit(x, obs={"batch": batch})
    new, new_batch, _, _ = cells.simulated(200, seed=0)
    assert model.score(new, obs={"batch": new_batch}) > poisson.score(new, obs={"batch": new_batch}) + 0.5


def unpickled(stored: bytes):
    return pickle.loads(stored)  # noqa: S301


def test_estimators_come_back_from_a_pickle_and_from_a_folder_to_the_bit(data, model, tmp_path):
    x, batch = data
    model.save(tmp_path / "run")
    scores = model.score_samples(x, obs={"batch": batch})
    stored = pickle.dumps(model)
    assert b"torch.nn" not in stored  # no module of torch, which unpickling would run
    for again in (unpickled(stored), rp.CountVAE.load(tmp_path / "run")):
        again.set_params(k=20)
        np.testing.assert_array_equal(again.score_samples(x, obs={"batch": batch}), scores)


def test_a_table_comes_back_from_a_pickle_to_the_bit():
    import pandas as pd

    frame = pd.DataFrame({"a": np.linspace(0, 1, 60) ** 2, "b": ["x", "y", None] * 20})
    model = rp.TabularVAE(epochs=2, latent_dim=2, hidden=(8,)).fit(frame)
    again = unpickled(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))
    pd.testing.assert_frame_equal(again.impute(frame), model.impute(frame))
    assert again.get_params() == model.get_params()


_PROGRAM = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from scipy import sparse
torch.set_num_threads(1)
import reparam as rp

def counts(cells):
    places = (np.random.default_rng(0).integers(0, 20_000, 30 * cells), np.arange(cells + 1) * 30)
    return sparse.csr_matrix((np.ones(30 * cells, np.float32), *places), (cells, 20_000))

model = rp.CountVAE(latent_dim=2, hidden=(4,), epochs=1, batch_size=32, validation=0.0).fit(counts(96))
peaks = []
for cells in (2000, 5000):
    model.transform(counts(cells))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_counts_are_never_dense_as_a_whole():
    """3000 cells of 20,000 genes more are 240 MB dense and 1 MB as they are: the most memory ever held stays nearly
    the same, since rows become dense so many at a time."""
    src = str(Path(__file__).parents[1] / "src")
    done = subprocess.run([sys.executable, "-c", _PROGRAM, src], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 80  # megabytes


@pytest.fixture(scope="module")
def file(data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    return cells.write(path, data[0], {"batch": data[1], "depth": data[0].sum(1)})


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["--batch", "batch", "--latent-dim", 2, "--hidden", "16", "--epochs", 8, "--lr", "0.01"]
    assert run("train", file, "--out", folder, *words) == 0
    return folder


def test_the_command_writes_codes_and_expression_into_a_copy_of_the_file(file, trained, data, tmp_path):
    out = tmp_path / "out.h5ad"
    assert run("encode", trained, file, "--out", out) == 0
    assert run("reconstruct", trained, out, "--out", out, "--given", "batch=a") == 0
    model = rp.CountVAE.load(trained)
    with h5py.File(out) as found, h5py.File(file) as before:
        np.testing.assert_allclose(found["obsm/X_reparam"][:], model.transform(file), atol=1e-5)
        np.testing.assert_allclose(found["layers/reparam"][:], model.normalize(file, given={"batch": "a"}), rtol=1e-4)
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(found["X"][part][:], before["X"][part][:])
        assert "obsm" not in before
    assert torch.equal(read(out, contexts=["batch"]).x[:], torch.from_numpy(data[0]))


def test_the_commands_of_other_runs_serve_counts_too(file, trained, tmp_path, capsys):
    assert isinstance(open_run(trained).vae.likelihood, rp.likelihoods.NegativeBinomial)
    assert run("score", trained, file, "--k", 20, "--out", tmp_path / "s.npy") == 0
    model = rp.CountVAE.load(trained)
    expected = model.log_likelihood(file, 20).per_datum
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), expected, rtol=1e-5)
    assert run("sample", trained, "-n", 5, "--given", "batch=b", "--out", tmp_path / "new.csv") == 0
    drawn = np.loadtxt(tmp_path / "new.csv", delimiter=",", skiprows=1)
    assert drawn.shape == (5, 12)
    assert (drawn == np.rint(drawn)).all()
    assert run("evaluate", trained, file, "--k", 10) == 0
    assert run("doctor", trained, file, "--gap-rows", 4, "--rows", 60) == 0


def test_a_run_of_counts_goes_on(file, tmp_path):
    words = ["--latent-dim", 2, "--hidden", "8", "--epochs", 2]
    assert run("train", file, "--out", tmp_path / "run", *words) == 0
    assert run("resume", tmp_path / "run", "--epochs", 3) == 0
    assert len(open_run(tmp_path / "run").history) == 3


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda x: x - 3, [], "counts are 0, 1, 2"),
        (lambda x: x + 0.5, [], "counts are 0, 1, 2"),
        (lambda x: np.vstack([x, 0 * x[:1]])[: len(x) + 1], [], "has no counts"),
        (lambda x: x, ["--batch", "donor"], "no column 'donor'"),
        (lambda x: x, ["--layer", "raw"], "no layer 'raw'"),
        (lambda x: x, ["--likelihood", "gaussian"], "likelihood of counts"),
        (lambda x: x, ["--size-factor", "dept"], "did you mean 'depth'"),
    ],
    ids=["negative", "halves", "empty cell", "batch", "layer", "likelihood", "size"],
)
def test_what_cannot_be_used_is_refused_in_one_line(change, words, said, tmp_path, capsys):
    x = change(np.random.default_rng(0).poisson(2.0, (30, 4)).astype(np.float32) + 1)
    path = cells.write(tmp_path / "c.h5ad", x, {"depth": np.ones(len(x))})
    assert said in refused(capsys, "train", path, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_files_that_are_damaged_or_of_other_cells_are_refused(file, trained, data, tmp_path, capsys):
    whole = file.read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(whole[: len(whole) // 3])
    assert "truncated, damaged" in refused(capsys, "evaluate", trained, tmp_path / "cut.h5ad")
    (tmp_path / "text.h5ad").write_text("no file of HDF5")
    assert "truncated, damaged" in refused(capsys, "train", tmp_path / "text.h5ad", "--out", tmp_path / "run")
    other = cells.write(tmp_path / "other.h5ad", data[0][:9], {"batch": ["c"] * 9})
    assert "never saw" in refused(capsys, "evaluate", trained, other)
    hole = cells.write(tmp_path / "hole.h5ad", data[0][:9], {"batch": ["a"] * 8 + [""]})
    assert "row 8 is missing" in refused(capsys, "evaluate", trained, hole)
    few = cells.write(tmp_path / "few.h5ad", data[0][:9, :5], {"batch": ["a"] * 9})
    assert "no column 'g5'" in refused(capsys, "evaluate", trained, few)
    with h5py.File(tmp_path / "wild.h5ad", "w") as made, h5py.File(file) as source:
        for name in source:
            source.copy(name, made)
        made["X/indices"][0] = 99
    assert "beyond their shape" in refused(capsys, "evaluate", trained, tmp_path / "wild.h5ad")
    assert ".h5ad" in refused(capsys, "train", "digits", "--out", tmp_path / "run", "--batch", "x")


def test_what_is_written_is_written_whole_or_not_at_all(file, tmp_path):
    def fails(start: int, stop: int) -> np.ndarray:
        raise FloatingPointError("in the middle")

    with pytest.raises(FloatingPointError):
        write_results(file, tmp_path / "o.h5ad", layers={"reparam": (12, fails)})
    assert list(tmp_path.iterdir()) == []


def test_calls_that_make_no_sense_are_refused(data, model):
    x, batch = data
    refuses(lambda: rp.CountVAE().transform(x), "not fitted")
    refuses(lambda: rp.CountVAE(batch="donor").fit(x), "no columns of obs", "'donor'")
    refuses(lambda: model.normalize(x, given={"donor": "a"}, obs={"batch": batch}), "no context 'donor'")
    refuses(lambda: model.sample(0, given={"batch": "a"}), "at least 1")
    refuses(lambda: model.annotate(x), "AnnData object in memory")
    refuses(lambda: rp.CountVAE(k=0).fit(x), "k must be a whole number")
    refuses(lambda: model.transform(x, obs={"batch": batch[:3]}), "3 values for 240 cells")
