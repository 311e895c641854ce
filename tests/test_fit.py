"""Training: repeatable to the bit, resumable to the bit, independent of what it should not depend on."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

import reparam as rp
from reparam.errors import InputError, NonFiniteError, RunFolderError
from reparam.run import read_tensors


def bits(vae: rp.VAE) -> list[torch.Tensor]:
    return [t.clone() for t in vae.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def model(posterior: str = "diagonal", seed: int = 0) -> rp.VAE:
    torch.manual_seed(seed)
    return rp.recipes.vae(6, 2, hidden=(16,), posterior=posterior)


@pytest.fixture
def grey() -> rp.Dataset:
    x = torch.randint(0, 256, (203, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return rp.Dataset(x, binarize="dynamic")


def test_one_seed_gives_the_same_bits_and_another_does_not(grey):
    runs = []
    for seed in (3, 3, 4):
        vae = model()
        history = rp.fit(vae, grey, epochs=3, batch_size=32, seed=seed, validation=0.2)
        runs.append((bits(vae), history["validation_objective"]))
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0])


def test_the_callers_generator_and_denormals_are_left_as_they_were(grey):
    vae = model()
    before = torch.get_rng_state()
    rp.fit(vae, grey, epochs=1, seed=9)
    assert torch.equal(torch.get_rng_state(), before)
    tiny = torch.tensor(1e-20)
    assert float(tiny * tiny) > 0


def _overfitting() -> tuple[rp.VAE, torch.Tensor]:
    """Noise, and a model large enough to learn its rows by heart."""
    torch.manual_seed(0)
    x = (torch.rand(40, 12) < 0.5).float()
    return rp.recipes.vae(12, 4, hidden=(128,)), x


def test_validation_keeps_the_weights_of_the_best_epoch():
    options = {"batch_size": 8, "lr": 5e-3, "validation": 0.5}
    vae, x = _overfitting()
    history = rp.fit(vae, x, epochs=60, **options)
    assert history.best_epoch == 1 + int(np.argmax(history["validation_objective"])) < 60
    again, x = _overfitting()
    rp.fit(again, x, epochs=history.best_epoch, **options)
    assert same(bits(vae), bits(again))


def test_patience_stops_after_so_many_epochs_without_a_better_one():
    vae, x = _overfitting()
    history = rp.fit(vae, x, epochs=500, batch_size=8, lr=5e-3, validation=0.5, patience=4)
    assert history.stopped == "early"
    assert len(history) == history.best_epoch + 4


def test_epoch_means_do_not_depend_on_the_batches(grey):
    """With a learning rate that moves nothing, every batch size reports the same means (a ragged last one included).

    Grey values are thresholded and z is a point, so that no noise is left.
    """
    x = rp.Dataset(grey.x, binarize="threshold")
    means = []
    for size in (7, 64, 203, 1000):
        history = rp.fit(
            model("point"), x, objective=rp.objectives.Reconstruction(), epochs=1, batch_size=size, lr=1e-30
        )
        means.append(history["train_objective"][0])
    assert np.ptp(means) < 1e-5 * abs(means[0])  # float32 sums of about 4


def test_fewer_rows_than_a_batch_make_one_smaller_batch():
    history = rp.fit(model(), torch.ones(5, 6), epochs=2, batch_size=128)
    assert history["step"] == [1, 2]


@pytest.mark.parametrize(
    "objective", [rp.objectives.ELBO(k=2), rp.objectives.ELBO(estimator="A"), rp.objectives.IWAE(3)]
)
@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_objectives_and_posteriors_train(objective, posterior):
    torch.manual_seed(0)
    z = torch.randn(400, 2)
    x = (torch.sigmoid(3 * z @ torch.randn(2, 6)) > torch.rand(400, 6)).float()
    history = rp.fit(model(posterior), x, objective=objective, epochs=40, batch_size=32, lr=1e-2)
    # x is a function of z but for a coin each, so it can be said in less than the 6 log 2 = 4.16 nats of fair bits
    assert history["train_objective"][-1] > -6 * np.log(2) + 0.1


def test_a_point_posterior_needs_the_reconstruction_objective(tmp_path):
    vae = model("point")
    with pytest.raises(InputError, match=r"ELBO needs a density.*Reconstruction"):
        rp.fit(vae, torch.ones(9, 6), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    history = rp.fit(vae, torch.ones(9, 6), objective=rp.objectives.Reconstruction(), epochs=2)
    assert np.isnan(history["train_kl"]).all()


# ---- resuming ----


def _interrupt_after(steps: int, monkeypatch) -> None:
    """Send this process a real SIGINT during the given step."""
    from reparam.train.step import Step

    real, count = Step.__call__, [0]

    def step(*a):
        count[0] += 1
        if count[0] == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*a)

    monkeypatch.setattr(Step, "__call__", step)


@pytest.mark.parametrize("steps", [1, 4, 6, 11, 12])  # in an epoch of 6 steps: first, within, at its end, later
def test_interrupted_and_resumed_gives_the_bits_of_a_run_that_was_not(grey, tmp_path, monkeypatch, steps):
    options = {"epochs": 3, "batch_size": 32, "seed": 5, "validation": 0.1}
    whole = model()
    expected = rp.fit(whole, grey, **options)
    with monkeypatch.context() as patch:
        _interrupt_after(steps, patch)
        history = rp.fit(model(), grey, out=tmp_path / "run", **options)
    assert history.stopped == "interrupted"
    assert rp.load(tmp_path / "run") is not None  # usable as it is
    vae = model(seed=99)  # its weights come from the checkpoint
    resumed = rp.fit(vae, grey, out=tmp_path / "run", resume=True, **options)
    assert same(bits(vae), bits(whole))
    for key in ("step", "train_objective", "train_kl", "validation_objective"):
        assert resumed[key] == expected[key]
    assert same(bits(rp.load(tmp_path / "run")), bits(whole))
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 3


def test_a_resumed_run_can_go_on_for_more_epochs(grey, tmp_path):
    options = {"batch_size": 32, "seed": 5, "out": tmp_path / "run"}
    rp.fit(model(), grey, epochs=2, **options)
    vae, whole = model(), model()
    rp.fit(vae, grey, epochs=4, resume=True, **options)
    rp.fit(whole, grey, epochs=4, batch_size=32, seed=5)
    assert same(bits(vae), bits(whole))


def test_resuming_with_other_settings_or_data_is_refused(grey, tmp_path):
    rp.fit(model(), grey, epochs=1, out=tmp_path / "run", lr=1e-3)
    with pytest.raises(RunFolderError, match=r"lr = 0.001 \(now 0.01\)"):
        rp.fit(model(), grey, epochs=2, out=tmp_path / "run", lr=1e-2, resume=True)
    other = rp.Dataset(255 - grey.x, binarize="dynamic")
    with pytest.raises(RunFolderError, match="data = "):
        rp.fit(model(), other, epochs=2, out=tmp_path / "run", resume=True)


def test_a_folder_with_a_run_is_not_overwritten(grey, tmp_path):
    rp.fit(model(), grey, epochs=1, out=tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(RunFolderError, match="not empty"):
        rp.fit(model(), grey, epochs=1, out=tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_training_in_a_thread_needs_no_signals(grey):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(rp.fit(model(), grey, epochs=1)))
    thread.start()
    thread.join()
    assert ended[0].stopped == "finished"


# ---- what goes wrong ----


class _Explodes(nn.Module):
    """A decoder whose output stops being finite after some calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.linear, self.left = nn.Linear(2, 6), calls

    def forward(self, z):
        self.left -= self.training
        return self.linear(z) + (torch.nan if self.left < 0 else 0.0)


def test_the_first_step_that_is_not_finite_stops_the_run_and_names_the_tensor(tmp_path):
    vae = model()
    vae.likelihood.net = _Explodes(calls=10)
    start = None

    def remember(record):
        nonlocal start
        start = bits(vae)

    with pytest.raises(NonFiniteError, match=r"step 11 \(epoch 2, .*log_px of row 0.*Try lr=0.0001"):
        rp.fit(vae, torch.ones(64, 6), batch_size=8, epochs=5, on_epoch=remember, out=tmp_path / "run")
    assert same(bits(vae), start)
    kept = read_tensors(tmp_path / "run" / "model.safetensors").tensors
    assert same(list(kept.values()), [dict(vae.state_dict())[k] for k in kept])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": -3}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"seed": -1}, "seed"),
        ({"patience": 0}, "patience"),
        ({"validation": 1.5}, "validation is a share"),
        ({"validation": torch.ones(3, 7)}, r"training data have shape \(6,\), validation data \(7,\)"),
    ],
)
def test_options_that_make_no_training_are_refused_before_anything_is_written(tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        rp.fit(model(), torch.ones(9, 6), out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.ones(1, 6), "at least 2 rows"),
        (torch.ones(0, 6), "no rows"),
        (torch.ones(9, 7), r"\(6,\).*\(7,\)"),
        (
            torch.full((9, 6), 0.5),
            r"Bernoulli explains values that are 0 and 1; row 0, element \(0,\) is 0.5: .*binarize",
        ),
        (torch.ones(9, 6).index_put((torch.tensor(4), torch.tensor(2)), torch.tensor(torch.nan)), "row 4, column 2"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, x, said):
    with pytest.raises(InputError, match=said):
        rp.fit(model(), x, out=tmp_path / "run", epochs=1)
    assert not (tmp_path / "run").exists()


def test_latent_sizes_that_differ_are_named():
    vae = rp.VAE(
        rp.priors.StandardNormal(3),
        rp.likelihoods.Bernoulli(rp.networks.mlp(3, 6)),
        rp.posteriors.DiagonalGaussian(rp.networks.mlp(6, 4)),
    )
    with pytest.raises(InputError, match="prior has 3 latent dimensions and the posterior 2"):
        rp.fit(vae, torch.ones(9, 6))


def test_a_constant_column_trains_with_a_warning_where_a_learned_scale_would_collapse():
    x = torch.randn(64, 3)
    x[:, 1] = 2.0
    data = rp.Dataset(x, columns=["a", "b", "c"])
    vae = rp.recipes.vae(3, 2, likelihood="gaussian", scale="elementwise")
    with pytest.warns(UserWarning, match="column 'b'.*scale collapses"):
        history = rp.fit(vae, data, epochs=2)
    assert np.isfinite(history["train_objective"]).all()


def test_an_objective_of_another_kind_is_a_type_error():
    with pytest.raises(TypeError, match="objective"):
        rp.fit(model(), torch.ones(9, 6), objective="elbo")


def test_a_second_interrupt_is_immediate(grey):
    from reparam.train.process import stop_request

    with pytest.raises(KeyboardInterrupt), stop_request() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert stop.asked()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


def test_uint8_of_0_and_1_is_no_grey_and_must_be_named():
    x = (torch.rand(50, 6) < 0.5).to(torch.uint8)
    with pytest.raises(InputError, match="pixel_max=1"):
        rp.fit(model(), x)
    rp.fit(model(), rp.Dataset(x, pixel_max=1), epochs=1)


def test_a_distribution_without_event_dimension_is_refused_by_name():
    class Prior(rp.Conditional):
        def forward(self, *c):
            return torch.distributions.Normal(torch.zeros(2), 1.0)

    vae = model()
    vae.prior = Prior()
    with pytest.raises(InputError, match="Independent"):
        rp.fit(vae, torch.ones(9, 6))


def test_a_run_under_nohup_outlives_its_terminal():
    from reparam.train.process import stop_request

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_request() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert not stop.asked()
    finally:
        signal.signal(signal.SIGHUP, before)
