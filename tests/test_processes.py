"""Several processes train as one does."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import reparam as rp
from refusals import refuses
from reparam.train import device_of
from reparam.train.batches import batches, order_of
from reparam.train.crew import Crew, Share
from reparam.train.noise import RowNoise

EQUAL = ("mlp", "iwae", "conv", "flow", "bernoulli", "stored", "options", "denoising", "stopped")
OTHERS = ("lost", "refused")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All cases, by one process and by two."""
    folder = tmp_path_factory.mktemp("together")
    program = str(Path(__file__).with_name("together.py"))
    command = [sys.executable, program, str(folder), *EQUAL, *OTHERS]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def results(name):
        return [dict(np.load(folder / f"{name}-{which}.npz")) for which in ("1", "2-0", "2-1")]

    return results


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_do_what_one_does(trained, name):
    """In float64, to rounding: batches of 8 rows and a last one of a single row, noise and means included."""
    alone, *both = trained(name)
    for key, value in alone.items():
        wanted = value if key in both[0] else None
        if wanted is None:
            continue
        np.testing.assert_allclose(both[0][key], value, rtol=1e-9, atol=1e-11, err_msg=key)
        if key.startswith("weights."):
            np.testing.assert_array_equal(both[0][key], both[1][key])  # and to the bit what the other has
    assert any(key.startswith("weights.") for key in alone)


def test_a_signal_to_one_stops_both_at_the_same_step(trained):
    _, first, second = trained("stopped")
    assert str(first["said"]) == str(second["said"])
    assert str(first["said"]).startswith("interrupted [1, ")


def test_a_loss_that_is_not_finite_is_named_by_both(trained):
    """The row is of the second process's share in the epoch's order, or of the first's: both say which."""
    alone, first, second = (str(r["said"]) for r in trained("lost"))
    assert "row 30 of those trained on" in alone
    assert first == second == alone


def test_what_reads_a_batch_as_a_whole_is_refused(trained):
    alone, first, second = trained("refused")
    assert any(key.startswith("weights.") for key in alone)
    assert "beside the model" in str(first["said"])
    assert str(first["said"]) == str(second["said"])


def test_draws_that_depend_on_values_leave_the_generators_alike():
    """How many numbers a gamma takes depends on its values: each process draws for itself, and none falls behind."""
    drawn, after = [], []
    for rank in (0, 1):
        torch.manual_seed(0)
        with RowNoise(Share(8, 4 * rank, 4, 4), 1, rank):
            drawn.append(torch.distributions.Gamma(torch.full((4,), 0.1 + rank), 1.0).rsample())
        after.append(torch.rand(()))
    assert torch.equal(*after)
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("begun", [0, 24])
def test_processes_cover_each_batch_once(size, begun, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(57, dtype=np.float32)[:, None])
    for data in (rp.open(tmp_path / "x.npy", buffer=8 * 4 / 2**20), rp.Dataset(np.arange(57.0)[:, None])):
        order = order_of(data, 1, 0)
        shares = [list(batches(data, 8, order, begun, Crew(rank, size))) for rank in range(size)]
        wanted = [order[at : at + 8].tolist() for at in range(begun, 57, 8)]
        found = [[int(v) for (x,), s in parts for v in x[: s.counted, 0]] for parts in zip(*shares, strict=True)]
        assert found == wanted
        assert all(s.total == len(w) for parts in shares for (_, s), w in zip(parts, wanted, strict=True))


@pytest.mark.parametrize("accumulate", [1, 2, 3, 8])
def test_parts_of_a_share_are_those_of_the_batch(accumulate):
    bounds = [8 * i // accumulate for i in range(accumulate + 1)]
    for size in (1, 2, 3):
        rows = []
        for rank in range(size):
            share = Crew(rank, size).share(8)
            mine = list(range(8))[share.first : share.first + share.rows]
            for begin, end in itertools.pairwise(bounds):
                at, part = share.part(begin, end)
                rows += mine[at][: part.counted]
                assert part.total == end - begin
                assert not part.counted or mine[at][0] == begin + part.first
        assert sorted(rows) == list(range(8))


@pytest.mark.parametrize(
    "draw",
    [
        lambda n: torch.randn(3, n, 2),
        lambda n: torch.rand((3, n, 2), dtype=torch.float64),
        lambda n: torch.randn_like(torch.zeros(n, 2)),
        lambda n: torch.empty(3 * n, 2).normal_().unflatten(0, (3, n)).movedim(1, 0),
        lambda n: torch.zeros(n, 4).exponential_(),
        lambda n: torch.distributions.Normal(torch.zeros(n, 2), 1.0).rsample((3,)),
        lambda n: torch.distributions.Gumbel(torch.zeros(n, 2), 1.0).rsample((3,)),
    ],
)
def test_noise_of_a_share_is_that_of_the_batch(draw):
    """And the generators stand alike afterwards, whatever the share."""
    torch.manual_seed(0)
    whole, after = draw(7), torch.rand(())
    dim = list(whole.shape).index(7)
    for first, rows in ((0, 7), (0, 4), (4, 3), (6, 1)):
        torch.manual_seed(0)
        with RowNoise(Share(7, first, rows, rows), 3, 0):
            mine = draw(rows)
        assert torch.equal(mine, whole.narrow(dim, first, rows))
        assert torch.equal(torch.rand(()), after)


def test_noise_of_no_row_is_that_of_one_process():
    torch.manual_seed(0)
    whole = torch.randn(5, 2)
    torch.manual_seed(0)
    with RowNoise(Share(7, 3, 4, 4), 3, 0):
        assert torch.equal(torch.randn(5, 2), whole)


def test_devices_by_name():
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with refuses("mps has no float64"):
        device_of("mps")
    with refuses("did you mean 'cuda'"):
        device_of("cudda")
    if not torch.cuda.is_available():
        with refuses("no device 'cuda' here"):
            device_of("cuda")


@pytest.mark.slow
def test_a_lost_process_is_replaced_and_the_run_comes_to_the_same_end(tmp_path):
    """kill -9 of one of two; torchrun starts both anew and they go on from the last checkpoint: the same weights."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 2, (3000, 20)).astype(bool))
    ends = []
    for run in ("whole", "killed"):
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2",
            "--master-addr", "127.0.0.1", "--master-port", "29617", "-m", "reparam", "train", str(tmp_path / "x.npy"),
            "--out", str(tmp_path / run), "--epochs", "40", "--checkpoint-seconds", "0", "--device", "cpu",
        ]  # fmt: skip
        process = subprocess.Popen(command, env={**ENVIRONMENT, "GLOO_SOCKET_IFNAME": "lo"}, stderr=subprocess.PIPE)
        history = tmp_path / run / "history.jsonl"
        while run == "killed" and not (history.exists() and len(history.read_text().splitlines()) > 5):
            assert process.poll() is None
            time.sleep(0.05)
        if run == "killed":
            os.kill(max(_workers(process.pid)), signal.SIGKILL)
        said = process.communicate()[1].decode()
        assert process.returncode == 0, said
        assert ("all go on from the last checkpoint" in said) == (run == "killed")
        ends.append(rp.load(tmp_path / run).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(e.values() for e in ends), strict=True))


def _workers(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True)
    return [int(pid) for pid in listed.stdout.split()]
