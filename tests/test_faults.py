"""Killed, full, gone, in use, damaged, not finite: a run says so, loses nothing, and goes on to the same bits."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import killed
import reparam as rp
from reparam.cli.main import main
from reparam.errors import InputError, NonFiniteError, RunFolderError, SaveError
from reparam.run import FolderLock, read_tensors
from reparam.train.checkpoint import LAST, PREVIOUS

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    killed.train(folder)
    return folder


# ---- killed ----


@pytest.mark.parametrize(
    ("kills", "seed", "form"),
    [
        (6, 0, "eager"),
        pytest.param(40, 1, "eager", marks=pytest.mark.slow),
        pytest.param(30, 2, "compiled", marks=[pytest.mark.slow, compiler]),
    ],
)
def test_killed_at_random_moments_the_run_ends_with_the_bits_of_one_that_was_not(tmp_path, kills, seed, form):
    """Real processes and SIGKILL, checkpoints as fast as they can be written."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, count in (("run", kills), ("whole", 0)):
        words = [sys.executable, killed.__file__, tmp_path / name, count, seed, form]
        said = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment, check=True).stdout
        killed_times, torn, places = map(int, said.split())
        assert killed_times == count
        assert count < 30 or (torn >= 1 and places >= 3), "the kills were to fall into writes, and into several epochs"
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert len(lines) == killed.MANY
    assert not list((tmp_path / "run").rglob(".*.tmp"))


def test_a_checkpoint_is_written_within_an_epoch_when_it_is_due(tmp_path, monkeypatch):
    from reparam.train import loop

    real, seen = loop.RunWriter.due, []

    def due(self):
        self.wait()
        seen.append(read_tensors(tmp_path / "run" / LAST).facts["position"]["rows"] if len(seen) else 0)
        return real(self)

    monkeypatch.setattr(loop.RunWriter, "due", due)
    killed.train(tmp_path / "run")
    assert max(seen) > 0


# ---- damaged checkpoints ----


def _interrupted(folder: Path, monkeypatch, steps: int = 50) -> None:
    """A run that was stopped after so many steps, with a checkpoint of each step."""
    from reparam.train.step import Step

    real, count = Step.__call__, [0]

    def step(*a):
        count[0] += 1
        if count[0] == steps:
            raise KeyboardInterrupt
        return real(*a)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", step)
        with pytest.raises(KeyboardInterrupt):
            killed.train(folder)


def test_where_the_last_checkpoint_is_damaged_the_one_before_is_used(tmp_path, whole, monkeypatch):
    """Cut short anywhere, or with any bit flipped: 12 places by chance, each resumed to the same bits."""
    _interrupted(tmp_path / "run", monkeypatch)
    content, chance = (tmp_path / "run" / LAST).read_bytes(), random.Random(0)
    for i in range(12):
        folder = tmp_path / f"run{i}"
        shutil.copytree(tmp_path / "run", folder)
        at = chance.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        (folder / LAST).write_bytes(content[:at] if i % 2 else flipped)
        with pytest.warns(UserWarning, match=r"last.safetensors .*going on from the checkpoint before it"):
            killed.train(folder, resume=True)
        assert weights(folder) == weights(whole)


def test_a_damaged_checkpoint_never_drives_out_a_good_one(tmp_path, monkeypatch):
    _interrupted(tmp_path / "run", monkeypatch)
    good = (tmp_path / "run" / PREVIOUS).read_bytes()
    (tmp_path / "run" / LAST).write_bytes(b"")
    with pytest.warns(UserWarning, match="the checkpoint before it"):
        _resume_for_one_save(tmp_path / "run", monkeypatch)
    assert (tmp_path / "run" / PREVIOUS).read_bytes() == good
    read_tensors(tmp_path / "run" / LAST)


def _resume_for_one_save(folder: Path, monkeypatch) -> None:
    from reparam.train.writer import RunWriter

    real, saves = RunWriter.save, []

    def save(self, *a):
        if saves:
            raise KeyboardInterrupt
        saves.append(1)
        real(self, *a)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "save", save)
        with pytest.raises(KeyboardInterrupt):
            killed.train(folder, resume=True)


def test_without_any_whole_checkpoint_the_damage_is_named(tmp_path, monkeypatch):
    _interrupted(tmp_path / "run", monkeypatch)
    for name in (LAST, PREVIOUS):
        (tmp_path / "run" / name).write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match=r"no checkpoint of .* can be read, the weights may still load"):
        killed.train(tmp_path / "run", resume=True)
    rp.load(tmp_path / "run")


# ---- the folder ----


def test_two_runs_in_one_folder_are_refused(tmp_path, capsys):
    folder = tmp_path / "run"
    killed.train(folder)
    with FolderLock(folder):
        with pytest.raises(RunFolderError, match="another process is training in"):
            killed.train(folder, resume=True)
        assert main(["train", "digits", "--out", str(folder), "--epochs", "1", "--overwrite"]) == 2
    assert "another process is training" in capsys.readouterr().err
    killed.train(folder, resume=True)  # and let in again


def test_a_lock_ends_with_its_process(tmp_path):
    code = f"from reparam.run import FolderLock; from pathlib import Path; FolderLock(Path({str(tmp_path)!r})).take()"
    subprocess.run([sys.executable, "-c", f"{code}; import os; os.kill(os.getpid(), 9)"], check=False)
    with FolderLock(tmp_path):
        pass


def _full_after(saves: int, monkeypatch) -> None:
    """The disk is full from the given checkpoint on."""
    from reparam.run import files

    real, count = os.fsync, [0]

    def fsync(handle):
        count[0] += 1
        if count[0] > saves:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint_before(tmp_path, whole, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        _full_after(20, patch)
        with pytest.raises(SaveError, match=r"run .*No space left.*reparam resume"):
            killed.train(folder)
    assert not list(folder.rglob(".*.tmp"))
    read_tensors(folder / PREVIOUS if not (folder / LAST).exists() else folder / LAST)
    killed.train(folder, resume=True)
    assert weights(folder) == weights(whole)


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
from reparam.cli.main import main
sys.exit(main(["train", "digits", "--out", sys.argv[1], "--epochs", "5", "--hidden", "64"]))
"""


def test_a_file_that_may_not_grow_is_one_line_and_status_1(tmp_path):
    """A real limit of the system on the size of files, which weights exceed and the configuration does not."""
    words = [sys.executable, "-c", _LIMITED, str(tmp_path / "run")]
    ended = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert ended.returncode == 1
    assert "can no longer be written to (File too large)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tmp_path, monkeypatch):
    from reparam.run import files

    def refuse(*a):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(RunFolderError, match=r"cannot write to the folder .*Read-only file system"):
        killed.train(tmp_path / "run")


def test_a_folder_that_vanishes_is_written_anew(tmp_path, whole, monkeypatch):
    from reparam.train.writer import RunWriter

    real, saves = RunWriter.save, []

    def save(self, *a):
        saves.append(1)
        if len(saves) == 10:
            self.wait()
            shutil.rmtree(tmp_path / "run")
        real(self, *a)

    monkeypatch.setattr(RunWriter, "save", save)
    with pytest.warns(UserWarning, match="was removed while the run trained: it was written anew"):
        killed.train(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole)
    assert (tmp_path / "run" / "history.jsonl").read_text().count("\n") == killed.EPOCHS


def test_a_disk_that_vanishes_stops_the_run(tmp_path, monkeypatch):
    from reparam.train.writer import RunWriter

    real, saves = RunWriter.save, []

    def save(self, *a):
        saves.append(1)
        if len(saves) == 10:
            self.wait()
            shutil.rmtree(tmp_path / "disk")
        real(self, *a)

    monkeypatch.setattr(RunWriter, "save", save)
    with pytest.raises(SaveError, match=r"can no longer be written to .*nothing of the run was saved"):
        killed.train(tmp_path / "disk" / "run")


# ---- not finite ----


class Unlucky(nn.Module):
    """A decoder that gives NaN at the given training calls."""

    def __init__(self, *calls: int) -> None:
        super().__init__()
        self.linear, self.calls, self.count = nn.Linear(2, 6), calls, 0

    def forward(self, z):
        self.count += self.training
        return self.linear(z) + (torch.nan if self.training and self.count in self.calls else 0.0)


def _unlucky(*calls: int) -> rp.VAE:
    torch.manual_seed(0)
    vae = rp.recipes.vae(6, 2, hidden=(16,))
    vae.likelihood.net = Unlucky(*calls)
    return vae


class Halved(rp.schedules.Schedule):
    """Half the rate in the second of two epochs."""

    def __call__(self, progress: float) -> float:
        return 1e-3 if progress <= 0.5 else 5e-4


def test_a_retry_goes_back_to_the_epochs_start_at_half_the_learning_rate():
    """The second epoch is what it would have been at half the rate from its start, its noise included."""
    x, options = torch.ones(64, 6), {"batch_size": 8, "epochs": 2, "seed": 3}
    expected, vae = _unlucky(), _unlucky(11)
    rp.fit(expected, x, lr=Halved(), **options)
    with pytest.warns(UserWarning, match=r"step 11 \(epoch 2\) was not finite: .*half the learning rate"):
        history = rp.fit(vae, x, lr=1e-3, retries=1, **options)
    assert len(history.notes) == 1
    assert history["step"] == [8, 16]
    pairs = zip(vae.parameters(), expected.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("steps", [3, 10, 13])
def test_a_retry_after_a_resume_within_an_epoch_has_the_bits_of_a_run_that_was_not_stopped(tmp_path, steps):
    """Stopped before step 3 of the first epoch, before step 10 or 13 of the second; step 14 gives no number, and the
    second epoch is done again from its start, by the run that was stopped too."""
    x, options = torch.ones(64, 6), {"batch_size": 8, "epochs": 3, "seed": 3, "retries": 1, "lr": 1e-2}
    whole = _unlucky(14)
    with pytest.warns(UserWarning, match=r"step 14 \(epoch 2\) .*back to step 9"):
        expected = rp.fit(whole, x, **options)
    with pytest.MonkeyPatch.context() as patch:
        _stop_before(steps, patch)
        rp.fit(_unlucky(14), x, out=tmp_path / "run", **options)
    resumed = _unlucky(14 - steps + 1)
    with pytest.warns(UserWarning, match=r"step 14 \(epoch 2\) .*back to step 9"):
        history = rp.fit(resumed, x, out=tmp_path / "run", resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))
    assert history["train_objective"] == expected["train_objective"]


def _stop_before(step: int, patch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does: after the step before, with the run saved."""
    from reparam.train.process import StopRequest
    from reparam.train.step import Step

    real, asked = Step.__call__, []

    def counted(self, *a):
        real(self, *a)
        asked.extend([1] * (self.taken == step - 1))

    patch.setattr(Step, "__call__", counted)
    patch.setattr(StopRequest, "asked", lambda self: bool(asked))


def _outlier(row: int) -> rp.Dataset:
    """Data that pass every check: the square of one element overflows, which only its density tells."""
    x = torch.randn(400, 6)
    x[row, 2] = 1e25
    return rp.Dataset(x)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=compiler)])
@pytest.mark.parametrize("row", [0, 37, 399])
def test_the_step_the_rows_and_the_tensor_of_a_loss_that_is_not_finite_are_named(row, compiled):
    """Whatever was done after it until it was noticed: the batch is found by hand from the order of the seed."""
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0)).tolist()  # of seed 0 and epoch 0
    step, place = divmod(order.index(row), 4)
    vae = rp.VAE(
        rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(nn.Linear(2, 6)),
        rp.posteriors.DiagonalGaussian(_Blind()),
    )  # fmt: skip
    said = (
        rf"step {step + 1} \(epoch 1, rows {4 * step} to {4 * step + 3} of its order\): not finite: log_px of row "
        rf"{place} of the batch, row {row} of those trained on"
    )
    with pytest.raises(NonFiniteError, match=said):
        rp.fit(vae, _outlier(row), batch_size=4, epochs=2, compile=compiled)


class _Blind(nn.Module):
    """An encoder that does not look: what overflows is the likelihood alone."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.out.expand(len(x), 4)


def test_retries_end(tmp_path):
    """Every third call from the 11th on gives no number, so that each way through the second epoch meets one."""
    with pytest.warns(UserWarning, match="half the learning rate"), pytest.raises(NonFiniteError, match="Try lr="):
        rp.fit(_unlucky(*range(11, 200, 3)), torch.ones(64, 6), batch_size=8, epochs=5, retries=2, out=tmp_path / "run")
    assert all(bool(t.isfinite().all()) for t in rp.load(tmp_path / "run", _unlucky()).state_dict().values())


@pytest.mark.parametrize(
    "options", [{"retries": -1}, {"checkpoint_seconds": -1.0}, {"checkpoint_seconds": float("nan")}]
)
def test_options_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        rp.fit(_unlucky(), torch.ones(9, 6), **options)
