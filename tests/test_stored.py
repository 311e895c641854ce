"""Rows that stay in their file: the rows of the file, each once an epoch, in memory that does not grow with them."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import reparam as rp
from refusals import refuses
from reparam.cli.main import main
from reparam.data import opened, read
from reparam.data.order import BlockOrder
from reparam.data.stored import StoredRows
from reparam.train import step as steps
from reparam.train.batches import ahead, batches, order_of

GREY = np.random.default_rng(0).integers(0, 256, (203, 4, 4)).astype(np.uint8)
REAL = np.random.default_rng(1).normal(size=(203, 6))
BLOCK = 320


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of 20 grey rows, so that small files have many."""
    monkeypatch.setattr("reparam.data.stored._BLOCK", BLOCK)
    monkeypatch.setattr("reparam.data.stored._RUN", 3 * BLOCK)
    monkeypatch.setattr("reparam.data.stores.GAP", 40)


def npy(folder: Path, x: np.ndarray = GREY) -> Path:
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def idx(folder: Path) -> Path:
    path = folder / "x-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", *GREY.shape) + GREY.tobytes())
    return path


def parquet(folder: Path) -> Path:
    arrow, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({f"c{i}": REAL[:, i] for i in range(6)} | {"kind": ["a"] * len(REAL)})
    writer.write_table(table, folder / "x.parquet", row_group_size=30)
    return folder / "x.parquet"


def png(x: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    pytest.importorskip("PIL.Image").fromarray(x).save(buffer, "PNG")
    return buffer.getvalue()


def images(folder: Path) -> Path:
    (folder / "images").mkdir()
    for i, x in enumerate(GREY):
        (folder / "images" / f"{i:03}.png").write_bytes(png(x))
    return folder / "images"


def shards(folder: Path, pictures: bool = True) -> Path:
    """Three shards of samples with a label each, which is not read."""
    (folder / "shards").mkdir()
    for part, rows in enumerate(np.array_split(np.arange(len(GREY)), 3)):
        with tarfile.open(folder / "shards" / f"{part}.tar", "w") as shard:
            for i in rows:
                array = io.BytesIO()
                np.save(array, GREY[i])
                content = png(GREY[i]) if pictures else array.getvalue()
                for name, data in ((f"{i:03}.cls", b"7"), (f"{i:03}.{'png' if pictures else 'npy'}", content)):
                    head = tarfile.TarInfo(name)
                    head.size = len(data)
                    shard.addfile(head, io.BytesIO(data))
    return folder / "shards"


FILES = {
    "npy": npy, "idx": idx, "parquet": parquet, "folder": images, "tar": shards,
    "tar of arrays": lambda folder: shards(folder, pictures=False),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_rows_are_those_of_the_file(kind, tmp_path):
    path = FILES[kind](tmp_path)
    data = rp.open(path, without=["kind"] if kind == "parquet" else ())
    whole = torch.from_numpy(REAL if kind == "parquet" else GREY)
    assert data.x.shape == whole.shape
    assert data.x.dtype == whole.dtype
    assert data.pixel_max == (None if kind == "parquet" else 255)
    assert data.columns == ([f"c{i}" for i in range(6)] if kind == "parquet" else None)
    for rows in (slice(None), slice(7, 160, 3), [202, 0, 5, 5, 100, -1], np.arange(203) % 5 == 0, slice(4, 4)):
        where = torch.as_tensor(rows) if isinstance(rows, np.ndarray) else rows
        assert torch.equal(data.x[rows], whole[where])
        assert torch.equal(data[rows].x[:], whole[where])
        assert torch.equal(data[rows][1:][::2].x[:], whole[where][1:][::2])
    assert torch.equal(data.x[-1], whole[-1])
    assert torch.equal(torch.cat(list(data.x.split(50))), whole)
    with pytest.raises(IndexError, match="beyond the 203"):
        data.x[[203]]


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", ">i4", "u2", "f2", ">f4", "f8"])
def test_numbers_come_as_a_dataset_in_memory_has_them(dtype, tmp_path):
    x = (GREY.reshape(203, 16) % 2).astype(dtype)
    white = 1 if dtype == "u1" else None
    stored, held = rp.open(npy(tmp_path, x), pixel_max=white), rp.Dataset(x, pixel_max=white)
    assert stored.x.dtype == held.x.dtype
    assert torch.equal(stored.x[:], held.x)


@pytest.mark.parametrize("buffer", [1, 50, 10_000])
def test_an_order_has_each_row_once_and_can_be_entered_anywhere(buffer):
    ends = np.cumsum([20] * 10 + [3])
    orders = [BlockOrder(ends, buffer, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    whole = orders[0][:]
    assert sorted(whole.tolist()) == list(range(203))
    assert torch.equal(orders[1][:], whole)
    assert not torch.equal(orders[2][:], whole)
    for start in range(0, 203, 17):
        assert torch.equal(orders[1][start : start + 60], whole[start : start + 60])
    spans = list(orders[0].spans())
    assert [a for a, _ in spans[1:]] == [b for _, b in spans[:-1]]
    assert (spans[0][0], spans[-1][1]) == (0, 203)
    if buffer > 203:  # every row may stand anywhere: 203 rows at distance 68 on average, 5 standard errors of 3.4
        assert abs(float((whole - torch.arange(203)).abs().double().mean()) - 203 / 3) < 17


def test_a_share_held_out_is_of_every_block_and_the_rest_is_trained_on(tmp_path):
    data = rp.open(npy(tmp_path, np.arange(203 * 20, dtype=np.float32).reshape(203, 20)))
    kept, held = data.apart(41, seed=3)
    numbers = [part.x[:][:, 0] / 20 for part in (kept, held)]
    assert [len(kept), len(held)] == [162, 41]
    assert sorted(torch.cat(numbers).tolist()) == list(range(203))
    assert all(bool((n.diff() > 0).all()) for n in numbers)  # in the order of the file
    per_block = np.bincount(numbers[1].long().numpy() // 4, minlength=51)  # of 80 bytes, 4 rows are a block
    assert per_block.max() <= 1
    assert not torch.equal(data.apart(41, seed=4)[1].x[:], held.x[:])
    again = kept.apart(10, seed=0)
    assert sorted(torch.cat([p.x[:] for p in again])[:, 0].tolist()) == kept.x[:][:, 0].tolist()


@pytest.mark.parametrize("size", [1, 32, 203, 1000])
def test_batches_cover_the_rows_once_from_any_batch_on(size, tmp_path):
    data = rp.open(npy(tmp_path), buffer=50 * 16 / 2**20)
    order = order_of(data, 5, 2)
    whole = [b[0] for b, _ in batches(data, size, order, 0)]
    assert torch.equal(torch.cat(whole), data.x[order[:]])
    assert [len(b) for b in whole[:-1]] == [size] * (len(whole) - 1)
    for i in range(0, len(whole), max(1, len(whole) // 5)):
        rest = [b[0] for b, _ in batches(data, size, order, i * size)]
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[i:], strict=True))


def test_what_fails_in_the_reader_reaches_the_training():
    def items():
        yield 1
        raise OSError("gone")

    read_ahead = ahead(items())
    assert next(read_ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(read_ahead)


def model() -> rp.VAE:
    torch.manual_seed(0)
    return rp.recipes.vae((4, 4), 2, hidden=(16,))


FIT = {"epochs": 3, "batch_size": 16, "seed": 4, "validation": 0.2, "compile": False}


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [3, 14, 22])
def test_a_killed_run_goes_on_at_its_row_with_the_same_bits(at, tmp_path, monkeypatch):
    """Within the first buffer, in the middle of another, in the last epoch; the checkpoint is of the step before."""
    path, buffer = npy(tmp_path), 50 * 16 / 2**20
    whole, call, done = model(), steps.Step.__call__, []
    history = rp.fit(whole, rp.open(path, binarize="dynamic", buffer=buffer), **FIT)

    def killed(self, *given):
        if len(done) == at:
            raise _KilledError
        done.append(1)
        call(self, *given)

    monkeypatch.setattr(steps.Step, "__call__", killed)
    out = {"out": tmp_path / "run", "checkpoint_seconds": 0.0}
    with pytest.raises(_KilledError):
        rp.fit(model(), rp.open(path, binarize="dynamic", buffer=buffer), **FIT, **out)
    monkeypatch.setattr(steps.Step, "__call__", call)
    with refuses("same settings"):
        rp.fit(model(), rp.open(path, binarize="dynamic", buffer=2 * buffer), **FIT, **out, resume=True)
    again = model()
    resumed = rp.fit(again, rp.open(path, binarize="dynamic", buffer=buffer), **FIT, **out, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    assert resumed["train_objective"] == history["train_objective"]


def test_one_step_of_all_rows_is_that_of_the_same_rows_in_memory(tmp_path):
    """With batches of all rows the order changes sums by rounding alone; Point posteriors draw no noise."""
    values = []
    for data in (rp.Dataset(GREY), rp.open(npy(tmp_path))):
        torch.manual_seed(0)
        vae = rp.recipes.vae((4, 4), 2, hidden=(16,), posterior="point", likelihood="continuous_bernoulli")
        objective = rp.objectives.Reconstruction()
        rp.fit(vae, data, objective=objective, epochs=4, batch_size=203, compile=False)
        values.append(torch.cat([t.flatten() for t in vae.state_dict().values()]))
    torch.testing.assert_close(*values, rtol=0, atol=1e-5)


def test_estimates_of_stored_rows_are_those_of_rows_in_memory(tmp_path):
    path, vae = npy(tmp_path), model()
    stored, held = rp.open(path, binarize="dynamic"), rp.Dataset(GREY, binarize="dynamic")
    for data in (stored, stored[:]):
        for of in (lambda d: rp.evaluate.log_likelihood(vae, d, 20).per_datum, lambda d: rp.evaluate.encode(vae, d)):
            assert torch.equal(of(data), of(held))


def test_the_command_streams_and_resumes(tmp_path, monkeypatch, capsys):
    path, run = npy(tmp_path), tmp_path / "run"
    monkeypatch.setattr("reparam.cli.train.write_report", lambda *given, **more: [])  # its pictures take seconds
    monkeypatch.setattr(opened, "memory", lambda: 10_000)  # so that the file is large
    words = ["--hidden", "16", "--latent-dim", "2", "--epochs", "1", "--batch-size", "64", "--buffer", "0.002"]
    assert main(["train", str(path), "--out", str(run), *words]) == 0
    said = capsys.readouterr().err
    assert "more than 30% of the 0.0 GB of memory: its rows are read when they are needed (--stream)" in said
    assert main(["resume", str(run), "--epochs", "2"]) == 0
    assert main(["score", str(run), str(path), "--out", str(tmp_path / "s.npy"), "--k", "10"]) == 0
    large = np.load(tmp_path / "s.npy")
    monkeypatch.setattr(opened, "memory", lambda: 10**12)
    assert main(["score", str(run), str(path), "--out", str(tmp_path / "s.npy"), "--k", "10"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), large)
    capsys.readouterr()
    assert main(["train", str(path), "--out", str(tmp_path / "b"), "--stream", "--context", "y", *words]) == 2
    assert "leave --stream out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.npz", b"PK", "rows of 'x.npz' cannot be read one by one"),
        ("x.npy", b"\x93NUMPY", "cannot be read as numpy data"),
        ("x-idx3-ubyte", gzip.compress(b"\0\0\x08\x03" + bytes(40), mtime=0), "unpack it by gunzip"),
        ("x-idx3-ubyte", b"\0\0\x08\x03" + struct.pack(">3I", 9, 2, 2) + bytes(35), "truncated: 36 bytes"),
        ("x.tar", b"no tar", "no tar file that is whole"),
        ("none.npy", None, "no such file"),
    ],
)
def test_files_that_cannot_be_opened_are_refused(name, content, words, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with refuses(words):
        rp.open(tmp_path / name)


def test_data_that_cannot_stay_are_refused(tmp_path):
    with refuses("holds its columns one after the other"):
        rp.open(npy(tmp_path, np.asfortranarray(REAL)))
    with refuses("column 'kind' holds string"):
        rp.open(parquet(tmp_path))
    with refuses("row 4, column 2 is a missing value"):
        rp.open(npy(tmp_path, np.where(np.arange(203 * 6).reshape(203, 6) == 26, np.nan, REAL)))
    with refuses("shape (5,)"):
        rp.open(npy(tmp_path, np.zeros(5)))
    stored = rp.open(npy(tmp_path)).x
    with refuses("no contexts, weights or labels"):
        rp.Dataset(stored, weights=np.ones(203))
    with refuses("positive number of megabytes"):
        rp.open(npy(tmp_path), buffer=0)
    data = rp.open(npy(tmp_path))
    os.truncate(tmp_path / "x.npy", 1000)
    with refuses("has become shorter"):
        data.x[150:]
    mixed = images(tmp_path)
    (mixed / "150.png").write_bytes(png(np.zeros((4, 4, 3), np.uint8)))
    with refuses("150.png is in colour, and 000.png is grey"):
        rp.open(mixed).x[:]


def test_a_source_in_a_file_has_the_schema_of_one_in_memory(tmp_path):
    for x in (GREY, REAL, (GREY > 99).astype(np.uint8), np.random.default_rng(0).poisson(REAL**2)):
        path = npy(tmp_path, x)
        assert rp.data.infer(rp.data.open_source(path)) == rp.data.infer(read(path))
    for given, path in ((x, npy(tmp_path, REAL)), (None, parquet(tmp_path))):
        source = rp.data.open_source(path, without=() if given is not None else ["kind"])
        schema = rp.data.infer(source)[0]
        options = rp.recipes.data_options("gaussian", schema.dataset(source))
        wanted = rp.recipes.data_options("gaussian", rp.Dataset(REAL))
        torch.testing.assert_close(options["loc"], wanted["loc"])
        torch.testing.assert_close(options["spread"], wanted["spread"])


def test_columns_are_found_by_their_names(tmp_path):
    rows = rp.open(parquet(tmp_path), without=["kind"]).x
    assert isinstance(rows, StoredRows)
    assert torch.equal(rows.select(np.array([4, 1])).select(np.array([1]))[:5], torch.from_numpy(REAL[:5, [1]]))


_PROGRAM = """
import resource, sys
import numpy as np, torch
torch.set_num_threads(1)
import reparam as rp
peaks = []
for path in sys.argv[1:]:
    vae = rp.recipes.vae(1024, 2, hidden=(8,))
    data = rp.open(path, binarize="threshold", buffer=4)
    rp.fit(vae, data, epochs=1, batch_size=4096, validation=0.1, compile=False)
    rp.evaluate.log_likelihood(vae, data[::50], 2)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(*peaks)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Files of 8, 24 and 96 MB in one process: once buffers are full its peak stays, and 72 MB more would show."""
    paths = []
    for megabytes in (8, 24, 96):
        paths.append(str(tmp_path / f"{megabytes}.npy"))
        block = np.random.default_rng(0).integers(0, 256, (1024, 1024)).astype(np.uint8)
        np.save(paths[-1], np.concatenate([block] * megabytes))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *paths], env=environment, capture_output=True, text=True, check=True
    )
    _, middle, large = map(int, done.stdout.split())
    assert large - middle < 18  # a quarter of what it would be
