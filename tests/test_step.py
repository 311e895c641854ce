"""The step: eager and compiled are one mathematics, no step waits for its loss, and options do what they say."""

from __future__ import annotations

import copy
import functools
import shutil

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

import reparam as rp
from reparam.distributions import vector
from reparam.engine import Uncompilable, compile_graph, has_bfloat16, products, resolve
from reparam.errors import InputError, NonFiniteError
from reparam.numerics import scale_from_log, soft_clip
from reparam.train.checkpoint import Position
from reparam.train.optimisers import OPTIMIZERS, clip_by_norm, common_norm
from reparam.train.step import Options, Step, pays
from test_fit import _Explodes, _interrupt_after, bits, grey, model, same

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
__all__ = ["grey"]


# ---- vectors of independent elements ----


def _pair(shape: tuple[int, ...], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_a_bernoulli_vector_has_the_density_and_gradients_of_independent_elements(lead):
    logits = 30 * _pair((*lead, 4, 2), 0)[0]  # up to probabilities that differ from 1 by less than rounding
    x = (torch.rand(3, 4, 2) < 0.5).double()
    plain = Independent(Bernoulli(logits=logits), 2)
    fused = vector(Bernoulli(logits=logits), 2)
    torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x), rtol=1e-12, atol=1e-12)

    def of(logits, x):
        return vector(Bernoulli(logits=logits, validate_args=False), 2).log_prob(x)

    given = (logits / 10).requires_grad_(), x.requires_grad_()
    assert torch.autograd.gradcheck(of, given)
    assert torch.autograd.gradgradcheck(of, given)


def test_kl_and_draws_of_normal_vectors_are_those_of_independent_elements():
    (m, a), (s, b) = _pair((3, 4), 1), [t.exp() for t in _pair((3, 4), 2)]
    a, b = a[0], b[0]  # one prior for all rows
    for make, tolerance in ((Independent, 0.0), (vector, 1e-12)):
        kl = kl_divergence(make(Normal(m, s), 1), make(Normal(a, b), 1))
        torch.testing.assert_close(
            kl, kl_divergence(Normal(m, s), Normal(a, b)).sum(-1), rtol=tolerance, atol=tolerance
        )
    torch.manual_seed(5)
    draws = vector(Normal(m, s), 1).rsample((7,))
    torch.manual_seed(5)
    torch.testing.assert_close(draws, Independent(Normal(m, s), 1).rsample((7,)), rtol=1e-14, atol=1e-14)

    def of(m, s, a, b):
        return kl_divergence(vector(Normal(m, s), 1), vector(Normal(a, b), 1))

    given = tuple(t.clone().requires_grad_() for t in (m, s, a, b))
    assert torch.autograd.gradcheck(of, given)
    assert torch.autograd.gradgradcheck(of, given)


def test_scales_have_the_value_and_both_derivatives_of_their_definition():
    x = torch.tensor([-60.0, -14.0, -13.0, -1.0, 0.0, 2.0, 13.7, 15.0, 40.0], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(scale_from_log(x), soft_clip(x, 13.815510557964274, 2.302585092994046).exp())
    inner = x[2:7].detach().requires_grad_()
    assert torch.autograd.gradcheck(scale_from_log, (inner,), rtol=1e-4)
    assert torch.autograd.gradgradcheck(scale_from_log, (x[3:6].detach().requires_grad_(),), rtol=1e-4)


# ---- compiled and eager ----

SCHEDULED = rp.objectives.ELBO(beta=rp.schedules.Linear(0, 1, 0.5))
FORMS = {
    "ELBO": {},
    "all options": {
        "objective": SCHEDULED, "lr": rp.schedules.Cosine(1e-2), "clip": 1.0, "ema": 0.9, "optimizer": "adamw",
    },
    "IWAE dreg": {"objective": rp.objectives.IWAE(3, "dreg")},
}  # fmt: skip


@compiler
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "all options" else pytest.mark.thorough) for n in FORMS]
)
def test_compiled_and_eager_steps_have_one_loss_to_rounding(grey, name):
    """15 steps with dynamic binarisation and ragged last batches; float32 carries 6e-8 of each number."""
    runs = []
    for compiled in (False, True):
        vae = model()
        history = rp.fit(vae, grey, epochs=3, batch_size=40, compile=compiled, **FORMS[name])
        runs.append((history["train_objective"], bits(vae), history["grad_norm"]))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=2e-6)
    assert runs[0][2] == pytest.approx(runs[1][2], rel=1e-4)
    for a, b in zip(runs[0][1], runs[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert not same(runs[0][1], bits(model()))


@compiler
@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_compiled_run_resumed_within_an_epoch_has_the_bits_of_a_whole_one(grey, tmp_path, monkeypatch, steps):
    options = {"epochs": 2, "batch_size": 40, "seed": 5, "compile": True, "ema": 0.9}
    whole = model()
    expected = rp.fit(whole, grey, **options)
    with monkeypatch.context() as patch:
        _interrupt_after(steps, patch)
        rp.fit(model(), grey, out=tmp_path / "run", **options)
    vae = model(seed=99)
    resumed = rp.fit(vae, grey, out=tmp_path / "run", resume=True, **{**options, "compile": "auto"})  # keeps the form
    assert same(bits(vae), bits(whole))
    assert resumed["train_objective"] == expected["train_objective"]


@compiler
def test_a_compiled_step_stops_at_the_first_loss_that_is_not_finite():
    """A huge learning rate breaks the weights; the run says so, and gives those of the epoch's start back."""
    vae = rp.recipes.vae(6, 2, hidden=(16,), likelihood="gaussian")
    start = bits(vae)
    with pytest.raises(NonFiniteError, match=r"step \d+ \(epoch 1"):
        rp.fit(vae, torch.randn(64, 6), batch_size=8, lr=1e30, compile=True)
    assert same(bits(vae), start)


@compiler
@pytest.mark.thorough
def test_a_module_that_changes_is_compiled_again(grey):
    """What a graph holds as a constant is looked at between epochs: here the slope of an activation."""

    def run(compiled: bool) -> list[torch.Tensor]:
        vae = model()
        vae.posterior.net = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.01), nn.Linear(8, 4))
        torch.manual_seed(0)
        for p in vae.posterior.parameters():
            nn.init.normal_(p)

        def change(record):
            vae.posterior.net[1].negative_slope = 0.9

        rp.fit(vae, grey, epochs=2, batch_size=40, compile=compiled, on_epoch=change)
        return bits(vae)

    for a, b in zip(run(False), run(True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_compiled_is_said(grey, monkeypatch):
    vae = model()
    vae.likelihood.net = _Explodes(calls=1000)
    monkeypatch.setattr("reparam.train.form.pays", lambda *a: (True, "because"))
    history = rp.fit(vae, grey, epochs=1)
    assert history.notes == [
        "the step is not compiled: _Explodes is no class of reparam or torch; compile=True, if it keeps no state"
    ]
    with pytest.raises(InputError, match="compile=True: only Adam and AdamW"):
        rp.fit(model(), grey, epochs=1, compile=True, optimizer="sgd")
    monkeypatch.setattr("reparam.engine.graph.shutil.which", lambda name: None)
    history = rp.fit(model(), grey, epochs=1, batch_size=40)
    assert history.notes == ["the step is not compiled: there is no C++ compiler (g++)"]


def test_values_that_decide_the_way_cannot_be_compiled():
    def forks(x):
        return [x + 1 if bool((x > 0).all()) else x]

    if shutil.which("g++"):
        with pytest.raises(Uncompilable):
            compile_graph(forks, [torch.ones(3)])


def test_only_long_runs_pay_for_a_compiler(grey):
    vae = model()
    optimizer = torch.optim.Adam(vae.parameters(), fused=True)
    step = Step(vae, rp.objectives.ELBO(), grey, optimizer, Options(), Position())
    assert not pays(step, 128, 1000)[0]
    assert pays(step, 128, 1_000_000)[0]


# ---- options ----


def test_accumulated_batches_are_one_larger_batch():
    """With z a point nothing is random, and three batches of 20 have the gradient of one of 60 to rounding."""
    runs = []
    x = (torch.rand(120, 6) < 0.5).float()
    for options in ({"batch_size": 60}, {"batch_size": 20, "accumulate": 3}):
        vae = model("point")
        history = rp.fit(vae, x, objective=rp.objectives.Reconstruction(), epochs=4, **options)
        runs.append((bits(vae), history["train_objective"], history["step"]))
    assert runs[0][2] == runs[1][2] == [2, 4, 6, 8]
    assert runs[0][1] == pytest.approx(runs[1][1], rel=1e-6)
    for a, b in zip(runs[0][0], runs[1][0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_common_norm_and_keeps_the_direction():
    grads = [torch.randn(3, 4), torch.randn(5)]
    clipped = clip_by_norm(grads, common_norm(grads), 0.5)
    flat, cut = (torch.cat([g.flatten() for g in each]) for each in (grads, clipped))
    assert float(cut.norm()) == pytest.approx(0.5, rel=1e-5)
    assert float(torch.dot(flat, cut) / flat.norm() / cut.norm()) == pytest.approx(1, abs=1e-6)
    assert same(clip_by_norm(grads, common_norm(grads), 100.0), grads)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_history_has_the_norm_of_the_gradient_before_clipping(accumulate):
    """Of one step on all rows, whose loss has no noise; and the root of the mean square of two, weighted by rows."""
    x = torch.rand(30, 4)
    vae = rp.recipes.autoencoder(4, 2, likelihood="gaussian", hidden=(5,))
    loss = -rp.objectives.Reconstruction().bound(vae(x)).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(vae.parameters()))]).norm()
    options = {"objective": rp.objectives.Reconstruction(), "epochs": 1, "progress": False, "clip": 1e-9, "lr": 1e-12}
    whole = rp.fit(copy.deepcopy(vae), x, batch_size=30 // accumulate, accumulate=accumulate, **options)
    assert whole["grad_norm"] == pytest.approx([float(expected)], rel=1e-5)
    squares = []
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    for rows in order.split(20):
        loss = -rp.objectives.Reconstruction().bound(vae(x[rows])).mean()
        grads = torch.autograd.grad(loss, list(vae.parameters()))
        squares.append(len(rows) * sum(float(g.square().sum()) for g in grads))
    parts = rp.fit(copy.deepcopy(vae), x, batch_size=20, seed=0, **options)
    assert parts["grad_norm"] == pytest.approx([(sum(squares) / 30) ** 0.5], rel=1e-4)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, functools.partial(torch.optim.SGD, momentum=0.9)])
def test_every_optimizer_trains_and_resumes_to_the_bit(grey, tmp_path, monkeypatch, optimizer):
    options = {"epochs": 2, "batch_size": 40, "optimizer": optimizer, "ema": 0.8, "clip": 5.0}
    whole = model()
    rp.fit(whole, grey, **options)
    assert not same(bits(whole), bits(model()))
    with monkeypatch.context() as patch:
        _interrupt_after(8, patch)
        rp.fit(model(), grey, out=tmp_path / "run", **options)
    vae = model(seed=9)
    rp.fit(vae, grey, out=tmp_path / "run", resume=True, **options)
    assert same(bits(vae), bits(whole))


def test_the_average_of_weights_is_what_is_kept(grey):
    """One epoch of three steps: the average by hand, from the weights after each."""
    seen: list[list[torch.Tensor]] = []
    vae = model()
    plain, real = model(), Step.__call__

    def spy(step, *a):
        real(step, *a)
        seen.append([p.detach().clone() for p in step.vae.parameters()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", spy)
        rp.fit(plain, grey, epochs=1, batch_size=80)
    rp.fit(vae, grey, epochs=1, batch_size=80, ema=0.5)
    expected = copy.deepcopy(seen[0])
    for t, weights in enumerate(seen, start=1):
        rate = 1 - min(0.5, (1 + t) / (10 + t))
        expected = [e + rate * (w - e) for e, w in zip(expected, weights, strict=True)]
    for a, b in zip(vae.parameters(), expected, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clip": 0.0}, "clip"),
        ({"accumulate": 0}, "accumulate"),
        ({"ema": 1.0}, "ema"),
        ({"optimizer": "adm"}, "did you mean"),
        ({"precision": "float23"}, "did you mean"),
        ({"compile": "yes"}, "compile is 'auto', True or False"),
    ],
)
def test_options_that_make_no_step_are_refused(grey, options, said):
    with pytest.raises(InputError, match=said):
        rp.fit(model(), grey, epochs=1, **options)


def test_a_callback_can_end_training(grey):
    history = rp.fit(model(), grey, epochs=5, on_epoch=lambda record: record["epoch"] == 2)
    assert (history.stopped, len(history)) == ("early", 2)


# ---- precision ----


def test_float64_trains_in_float64(grey):
    vae = model()
    rp.fit(vae, grey, epochs=1, precision="float64")
    assert {p.dtype for p in vae.parameters()} == {torch.float64}


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no products of bfloat16")
def test_bfloat16_rounds_the_operands_of_products_and_nothing_else():
    """A product of K terms, each rounded to 8 digits twice and once as a whole: within 3/256 of the sum of sizes."""
    layer, x = nn.Linear(64, 32), torch.randn(8, 64)
    exact = layer(x)
    with products("bfloat16"):
        rounded = layer(x)
        assert torch.sigmoid(x).dtype == rounded.dtype == torch.float32
    sizes = x.abs() @ layer.weight.abs().T + layer.bias.abs()
    assert bool(((rounded - exact).abs() <= 3 / 256 * sizes).all())
    assert not torch.equal(rounded, exact)


def test_bfloat16_is_refused_where_it_would_be_slow(monkeypatch):
    monkeypatch.setattr("reparam.engine.precision.has_bfloat16", lambda device: False)
    with pytest.raises(InputError, match=r"bfloat16.*hardware"):
        resolve("bfloat16", torch.empty(0))
    assert resolve("auto", torch.empty(0), "bfloat16") == "float32"
    assert resolve("auto", torch.empty(0, dtype=torch.float64), "bfloat16") == "float64"


# ---- evaluation ----


@compiler
def test_compiled_weights_are_the_plain_ones_for_every_row_and_chunk():
    """1503 samples of 7 rows: calls of the graph that are full, short of samples, and short of rows."""
    vae, x = model(), (torch.rand(7, 6) < 0.5).float()
    plain = rp.evaluate.log_likelihood(vae, x, 1503, compile=False)
    for chunk in (None, 5000):
        fast = rp.evaluate.log_likelihood(vae, x, 1503, compile=True, chunk=chunk)
        torch.testing.assert_close(fast.per_datum, plain.per_datum, rtol=0, atol=1e-5)
