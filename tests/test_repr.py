"""The text of an object is the call that makes it: evaluated, it gives an object of the same description."""

from __future__ import annotations

import collections
import copy
import inspect

import pytest
import torch
from torch import nn

import reparam as rp
from reparam import likelihoods, networks, objectives, posteriors, priors, schedules
from reparam.objectives import penalties
from reparam.run import describe
from reparam.run.files import read_tensors, write_tensors
from rows_likelihoods import LIKELIHOODS
from rows_objectives import OBJECTIVES, PENALTIES
from rows_posteriors import DISCRETE as DISCRETE_POSTERIORS
from rows_posteriors import OTHERS as OTHER_POSTERIORS
from rows_posteriors import POSTERIORS
from rows_priors import CONDITIONAL, PRIORS
from rows_priors import DISCRETE as DISCRETE_PRIORS
from rows_priors import OTHERS as OTHER_PRIORS
from rows_quantised import POSTERIORS as QUANTISED_POSTERIORS
from rows_quantised import PRIORS as QUANTISED_PRIORS

NAMES = {
    "torch": torch,
    "collections": collections,
    **{m.__name__.rpartition(".")[2]: m for m in (likelihoods, networks, posteriors, priors)},
    **{name: getattr(m, name) for m in (objectives, penalties, schedules) for name in m.__all__},
}
PARTS = [
    row.make
    for table in (
        LIKELIHOODS,
        POSTERIORS,
        OTHER_POSTERIORS,
        PRIORS,
        OTHER_PRIORS,
        QUANTISED_POSTERIORS,
        DISCRETE_POSTERIORS,
        DISCRETE_PRIORS,
        CONDITIONAL,
        QUANTISED_PRIORS,
    )
    for row in table.values()
]


def ladder() -> nn.Module:
    """Of listed networks: the heads in its row are functions of the tests."""
    prior = priors.TopDown([priors.StandardNormal(1), posteriors.DiagonalGaussian(networks.mlp(1, 4))], (1, 2))
    return posteriors.Ladder(prior, [networks.mlp(2, 3), nn.Linear(3, 3)], [nn.Linear(3, 4), networks.mlp(3, 2)])


PARTS = [make for make in PARTS if "unlisted" not in str(describe(make()))] + [ladder]


def test_no_class_is_without_a_part_of_listed_networks():
    public = {getattr(axis, n) for axis in (likelihoods, posteriors, priors) for n in axis.__all__}
    assert {type(make()) for make in PARTS} == {cls for cls in public if not inspect.isabstract(cls)}


def again(value):
    return eval(repr(value), dict(NAMES))  # noqa: S307


@pytest.mark.parametrize("make", PARTS, ids=[repr(make()).partition("(")[0] for make in PARTS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_part_is_its_text(make, dtype):
    part = make().to(dtype)
    assert describe(again(part)) == describe(part)
    assert again(part).state_dict().keys() == part.state_dict().keys()
    assert "\n" not in repr(part)


@pytest.mark.parametrize(
    "net",
    [
        networks.mlp(3, (2, 4), (), "silu", context=2),
        networks.conv((1, 8, 8), 6, (4,), "gelu"),
        networks.conv(2, (8, 12), (4, 8), prefix=(2,)),
        networks.mlp(3, 4, (5, 5), residual=True, gated=True, norm="layer"),
        networks.conv((8, 8), 6, (4,), residual=True, gated=True, norm="group", context=3),
        networks.WithoutLast(networks.SetEncoder(3, 2, (4,))),
        networks.Rescale(networks.Log1p(networks.mlp(2, 2)), torch.tensor([1.0, 0.1]), torch.ones(2)),
        nn.Sequential(nn.Linear(2, 3, bias=False), nn.LeakyReLU(0.2), nn.LayerNorm(3)),
        nn.Sequential(collections.OrderedDict(a=nn.Conv2d(1, 2, 3), b=nn.Flatten())),
    ],
    ids=lambda net: type(net).__name__,
)
def test_a_network_is_its_text(net):
    """Torch's own layers as part of something that is written."""
    assert describe(again(posteriors.Point(net))) == describe(posteriors.Point(net))


def same(a: object, b: object) -> bool:
    """Of one class, with the same attributes all the way down."""
    if isinstance(a, nn.Module):
        return describe(a) == describe(b)
    if not isinstance(a, objectives.Objective | penalties.Penalty):
        return a == b
    return type(a) is type(b) and all(same(v, vars(b)[k]) for k, v in vars(a).items()) and len(vars(a)) == len(vars(b))


@pytest.mark.parametrize("value", [*OBJECTIVES.values(), *PENALTIES.values()], ids=repr)
def test_an_objective_or_penalty_is_its_text(value):
    assert same(again(value), value)
    assert repr(again(value)) == repr(value)


def test_small_tensors_keep_their_numbers_and_large_ones_their_shape():
    scale = torch.tensor([0.1, 1e-7, 3.0])
    text = repr(likelihoods.Gaussian(networks.mlp(1, 3), scale))
    assert torch.equal(eval(text, dict(NAMES)).scale, scale)  # noqa: S307
    assert "torch.ones((40,))" in repr(likelihoods.Gaussian(networks.mlp(1, 40), torch.full((40,), 2.0)))


def test_a_class_of_ones_own_that_keeps_no_arguments_has_the_text_of_a_module():
    class Own(rp.Conditional):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.net = nn.Linear(1, width)

        def forward(self, *given):
            raise NotImplementedError

    assert "Linear(in_features=1" in repr(Own(3))


def test_a_run_of_an_earlier_version_resumes(tmp_path):
    """Checkpoints of 0.1 kept objectives by their attributes."""
    x = (torch.rand(40, 4) < 0.5).float()
    objective = objectives.Penalized(objectives.ELBO(2, beta=schedules.Linear(0, 1)), penalties.DIP("I"), 3.0)
    vae = rp.recipes.vae(4, 2, hidden=(4,))
    before = copy.deepcopy(vae)
    rp.fit(vae, x, objective=objective, epochs=2, out=tmp_path / "run", progress=False)
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    tensors, facts = read_tensors(path)
    facts["settings"]["objective"] = (
        "Penalized{'objective': ELBO{'k': 2, 'beta': Linear(start=0, end=1, over=1.0), 'estimator': 'auto', "
        "'free_nats': 0.0, 'gradient': 'plain'}, 'criterion': DIP{'kind': 'I', 'diagonal': 10.0}, 'weight': 3.0, "
        "'k': 2, 'sign': 1}"
    )
    write_tensors(path, tensors, facts)
    rp.fit(before, x, objective=objective, epochs=2, out=tmp_path / "run", progress=False, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), vae.parameters(), strict=True))


def test_a_history_is_one_line():
    """A notebook shows what fit returns, and its epochs would fill the page."""
    vae = rp.recipes.vae(4, 2, likelihood="gaussian", hidden=(8,))
    history = rp.fit(vae, torch.randn(60, 4), epochs=3, validation=0.2, progress=False)
    value = history.best["validation_objective"]
    assert repr(history) == (
        f"History(3 epochs, best {history.best_epoch}: validation objective {value:.2f} nats, finished)"
    )
    assert repr(type(history)()) == "History(0 epochs)"
