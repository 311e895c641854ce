"""Schedules: fractions of the run, whatever its epochs and batches; the final weights in every report."""

from __future__ import annotations

import math

import pytest
import torch

import reparam as rp
from reparam.errors import InputError, RunFolderError
from reparam.objectives import ELBO, Capacity, Objective, Penalized, penalties
from reparam.schedules import Constant, Cosine, Cyclical, Linear, Schedule, WarmUp, checked_weight, value
from reparam.train.checkpoint import Position
from reparam.train.step import Options, Step
from test_fit import _interrupt_after, bits, model, same

SCHEDULES: dict[str, tuple[Schedule, float]] = {
    "Constant": (Constant(3), 3.0),
    "Linear": (Linear(0, 2, over=0.25), 2.0),
    "Linear whole": (Linear(5, 1), 1.0),
    "Cosine": (Cosine(1e-3, 1e-5), 1e-5),
    "Cyclical": (Cyclical(0, 1, cycles=3, ramp=0.4), 1.0),
    "Cyclical ramp": (Cyclical(0, 1, cycles=3, ramp=1.0), 1.0),
    "WarmUp": (WarmUp(Cosine(2, 1), 0.1), 1.0),
}
each = pytest.mark.parametrize(("schedule", "target"), SCHEDULES.values(), ids=SCHEDULES)


def data(rows: int = 60) -> torch.Tensor:
    return (torch.rand(rows, 6, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def test_no_schedule_escapes_these_laws():
    public = {n for n in rp.schedules.__all__ if n != "Schedule"}
    assert public == {type(schedule).__name__ for schedule, _ in SCHEDULES.values()}


@each
def test_a_schedule_ends_at_its_target(schedule, target):
    assert value(schedule) == schedule(1.0) == pytest.approx(target, abs=1e-12)


@each
def test_a_schedule_says_what_it_is(schedule, target):
    """Its text is kept with the run, and a resumed run is compared with it."""
    namespace = {name: getattr(rp.schedules, name) for name in rp.schedules.__all__}
    assert eval(repr(schedule), namespace) == schedule  # noqa: S307


def test_values_are_their_formulas():
    line = Linear(1, 3, over=0.5)
    assert [line(t) for t in (0, 0.25, 0.5, 0.9)] == [1, 2, 3, 3]
    wave = Cosine(2, 0, over=0.5)
    assert [wave(t) for t in (0, 0.25, 0.5, 1)] == pytest.approx([2, 1, 0, 0], abs=1e-15)
    assert wave(0.125) == pytest.approx(1 + math.cos(math.pi / 4))
    saw = Cyclical(0, 1, cycles=2, ramp=0.5)
    assert [saw(t) for t in (0, 0.125, 0.25, 0.49, 0.5, 0.625, 0.75, 1)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1]
    warm = WarmUp(4.0, over=0.1)
    assert [warm(t) for t in (0, 0.05, 0.1, 1)] == [0, 2, 4, 4]


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_a_share_is_of_the_run(share):
    makers = (lambda: Linear(0, 1, share), lambda: Cosine(1, 0, share), lambda: Cyclical(0, 1, 4, share))
    for make in (*makers, lambda: WarmUp(1.0, share)):
        with pytest.raises(InputError, match="share of the run"):
            make()


@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan, Linear(0, -1), Linear(-1, 1), Cosine(math.nan)])
def test_a_weight_is_never_negative(bad):
    for make in (lambda: checked_weight("w", bad), lambda: ELBO(beta=bad), lambda: Capacity(bad)):
        with pytest.raises(InputError, match="must not be negative"):
            make()


# ---- in a run ----


class _Spy(Objective):
    """The ELBO, noting the weight that each step used."""

    def __init__(self, beta: Schedule) -> None:
        self.k, self.beta, self.seen = 1, beta, []

    def bound(self, draw):
        return draw.reconstruction - value(self.beta) * draw.kl

    def surrogate(self, draw, bound):
        self.seen.append(self.beta)
        return bound


@pytest.mark.parametrize(("epochs", "batch_size"), [(1, 7), (3, 16), (5, 60), (2, 1000)])
def test_every_run_ends_at_the_target_weight_and_steps_by_share_of_rows(epochs, batch_size):
    objective = _Spy(Linear(0, 1))
    rp.fit(model(), data(), objective=objective, epochs=epochs, batch_size=batch_size)
    ends = [min(60, start + batch_size) for start in range(0, 60, batch_size)]
    shares = [(epoch * 60 + end) / (60 * epochs) for epoch in range(epochs) for end in ends]
    assert [b for b in objective.seen if not isinstance(b, Schedule)] == pytest.approx(
        shares
    )  # the trial is at the end
    assert objective.seen[-1] == 1.0


def test_a_scheduled_objective_is_the_one_of_the_moment_and_reports_the_one_of_the_end():
    vae, x = model(), data()
    draw = vae(x)
    scheduled = ELBO(beta=Linear(0, 4))
    assert torch.equal(scheduled.bound(draw), ELBO(beta=4.0).bound(draw))
    assert torch.equal(scheduled.at(0.25).bound(draw), ELBO(beta=1.0).bound(draw))
    plain = ELBO()
    assert plain.at(0.3) is plain
    nested = Penalized(scheduled, penalties.DIP("I"), Linear(1, 3))
    now = nested.at(0.5)
    assert torch.equal(now.bound(draw), ELBO(beta=2.0).bound(draw))
    assert now.penalty(draw, 60) == 2.0 * penalties.DIP("I")(draw, 60)
    assert nested.schedules().keys() == {"beta", "weight"}
    assert isinstance(vars(scheduled)["beta"], Linear)  # unchanged


def test_training_and_validation_report_the_final_weights():
    """With a learning rate that moves nothing, the reports of a warm-up are those of its end, in every epoch."""
    histories = [
        rp.fit(model(), data(), objective=ELBO(beta=beta), epochs=3, lr=1e-30, validation=0.2, batch_size=16)
        for beta in (Linear(0, 2), 2.0)
    ]
    for key in ("train_objective", "validation_objective"):
        assert histories[0][key] == histories[1][key]


def test_gradients_are_those_of_the_weight_of_the_moment(monkeypatch):
    """A step at progress t is bit for bit the step of the objective with the number that the schedule gives there."""
    for beta in (Linear(0, 1), Cyclical(0, 2, 2)):
        weights = []
        for objective in (ELBO(beta=beta), ELBO(beta=beta(0.3))):
            vae = model()
            optimizer = torch.optim.Adam(vae.parameters(), lr=0.1, fused=True)
            step = Step(vae, objective, rp.Dataset(data()), optimizer, Options(), Position())
            torch.manual_seed(3)
            step((data(),), 0.3, 0.1)
            weights.append(bits(vae))
        assert same(*weights)


def test_a_constant_schedule_is_a_number():
    runs = []
    for beta, lr in ((2.0, 1e-2), (Constant(2), Constant(1e-2))):
        vae = model()
        rp.fit(vae, data(), objective=ELBO(beta=beta), lr=lr, epochs=2, batch_size=16)
        runs.append(bits(vae))
    assert same(*runs)


def test_a_learning_rate_of_zero_moves_nothing_and_one_that_falls_to_it_does():
    still, moved = model(), model()
    rp.fit(still, data(), lr=Constant(0), epochs=2)
    assert same(bits(still), bits(model()))
    rp.fit(moved, data(), lr=WarmUp(Cosine(1e-2), 0.2), epochs=2, batch_size=16)
    assert not same(bits(moved), bits(model()))


def test_a_learning_rate_is_never_negative():
    with pytest.raises(InputError, match="learning rate"):
        rp.fit(model(), data(), lr=Linear(1e-3, -1e-3))


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_a_scheduled_run_resumes_to_the_bits(tmp_path, monkeypatch, steps):
    options = {"epochs": 3, "batch_size": 16, "validation": 0.2, "lr": WarmUp(Cosine(1e-2, 1e-4), 0.2)}
    objective = Penalized(ELBO(beta=Linear(0, 1)), penalties.MMD(), Linear(0, 5, over=0.7))
    whole = model()
    expected = rp.fit(whole, data(), objective=objective, **options)
    with monkeypatch.context() as patch:
        _interrupt_after(steps, patch)
        with pytest.warns(UserWarning, match="not yet at its final"):
            history = rp.fit(model(), data(), objective=objective, out=tmp_path / "run", **options)
    assert history.stopped == "interrupted"
    vae = model(seed=9)
    resumed = rp.fit(vae, data(), objective=objective, out=tmp_path / "run", resume=True, **options)
    assert same(bits(vae), bits(whole))
    assert resumed["validation_objective"] == expected["validation_objective"]
    assert not resumed.notes


def test_a_scheduled_run_is_not_prolonged_and_an_other_schedule_is_refused(tmp_path):
    options = {"objective": ELBO(beta=Linear(0, 1)), "out": tmp_path / "run"}
    rp.fit(model(), data(), epochs=2, **options)
    with pytest.raises(RunFolderError, match="scheduled_epochs = 2"):
        rp.fit(model(), data(), epochs=4, resume=True, **options)
    with pytest.raises(RunFolderError, match="objective = "):
        rp.fit(model(), data(), epochs=2, resume=True, objective=ELBO(beta=Linear(0, 2)), out=tmp_path / "run")


def test_a_run_that_stops_below_its_target_says_so():
    torch.manual_seed(0)
    x = (torch.rand(40, 12) < 0.5).float()
    vae = rp.recipes.vae(12, 4, hidden=(128,))
    options = {"epochs": 2000, "batch_size": 8, "lr": 5e-3, "validation": 0.5, "patience": 4}
    with pytest.warns(UserWarning, match=r"with beta at 0\.\d+ and not yet at its final 1"):
        history = rp.fit(vae, x, objective=ELBO(beta=Linear(0, 1)), **options)
    assert history.stopped == "early"
    assert len(history.notes) == 1
    assert not rp.fit(vae, x, objective=ELBO(beta=Linear(0, 1, over=1e-4)), **options).notes
