"""Every pair of posterior and prior: trained and estimated where it makes sense, refused elsewhere."""

from __future__ import annotations

import math
import random
import tomllib
from functools import cache
from itertools import combinations, product

import pytest
import torch

import reparam as rp
from models import LinearGaussian
from refusals import refused
from reparam import posteriors, priors
from reparam.errors import InputError
from reparam.evaluate import objective_value
from reparam.run import describe, dump_toml, rebuild
from rows import Row
from rows_likelihoods import LIKELIHOODS
from rows_objectives import OBJECTIVES
from rows_posteriors import DISCRETE as DISCRETE_POSTERIORS
from rows_posteriors import OTHERS as OTHER_POSTERIORS
from rows_posteriors import POSTERIORS
from rows_priors import DISCRETE as DISCRETE_PRIORS
from rows_priors import OTHERS as OTHER_PRIORS
from rows_priors import PRIORS
from rows_quantised import POSTERIORS as QUANTISED_POSTERIORS
from rows_quantised import PRIORS as QUANTISED_PRIORS

pytestmark = pytest.mark.usefixtures("double")


DIM = 3
NETS = {
    "DiagonalGaussian": (posteriors.DiagonalGaussian, 6, "real"),
    "FullGaussian": (posteriors.FullGaussian, 9, "real"),
    "LowRankGaussian": (lambda net: posteriors.LowRankGaussian(net, 1), 9, "real"),
    "Laplace": (posteriors.Laplace, 6, "real"),
    "Flow affine": (lambda net: posteriors.Flow(net, DIM, 2, 2, (8,)), 8, "real"),
    "Flow spline": (lambda net: posteriors.Flow(net, DIM, 2, 1, (8,), "spline"), 8, "real"),
    "Gamma": (posteriors.Gamma, 6, "positive"),
    "Dirichlet": (posteriors.Dirichlet, 3, "simplex"),
    "LogisticNormal": (posteriors.LogisticNormal, 4, "simplex"),
    "VonMisesFisher": (posteriors.VonMisesFisher, 4, "sphere"),
}
MAKERS = {
    "StandardNormal": (lambda q: priors.StandardNormal(DIM), "real"),
    "Gaussian": (lambda q: priors.Gaussian(torch.ones(DIM), torch.eye(DIM) + 0.5), "real"),
    "Mixture": (lambda q: priors.Mixture(DIM, 4), "real"),
    "Flow affine": (lambda q: priors.Flow(DIM, 2, (8,)), "real"),
    "Flow spline": (lambda q: priors.Flow(DIM, 1, (8,), "spline"), "real"),
    "Gamma": (lambda q: priors.Gamma(DIM), "positive"),
    "Dirichlet": (lambda q: priors.Dirichlet(DIM), "simplex"),
    "SphereUniform": (lambda q: priors.SphereUniform(DIM), "sphere"),
    "VampPrior": (lambda q: priors.VampPrior(q, 4, (5,)), "any"),
}
X = LinearGaussian.random(DIM, 5, seed=2).data(64).float()


def build(q: str, p: str) -> rp.VAE:
    make, outputs, _ = NETS[q]
    posterior = make(rp.networks.mlp(5, outputs, (16,)))
    return rp.VAE(
        MAKERS[p][0](posterior), rp.likelihoods.Gaussian(rp.networks.mlp(DIM, 5, (16,)), 0.7), posterior
    ).float()


SENSE = [(q, p) for q, p in product(NETS, MAKERS) if MAKERS[p][1] in ("any", NETS[q][2])]
NONSENSE = [(q, p) for q, p in product(NETS, MAKERS) if (q, p) not in SENSE]


@pytest.mark.parametrize(("q", "p"), SENSE)
def test_twenty_steps_improve_every_pair_that_makes_sense(q, p):
    vae = build(q, p)
    before = rp.evaluate.elbo(vae, X, k=20)
    history = rp.fit(vae, X, epochs=20, batch_size=64, lr=1e-2, progress=False)
    after = rp.evaluate.elbo(vae, X, k=20)
    assert len(history) == 20
    assert math.isfinite(float(after))
    assert float(after) > float(before) + 0.1


@pytest.mark.parametrize(("q", "p"), SENSE)
def test_estimates_of_every_pair_belong_to_the_row(q, p):
    """Alone, in another order, in other calls and after another round through a file: equal to rounding of float32."""
    vae = build(q, p)
    for method in ("importance", "prior"):
        whole = rp.evaluate.log_likelihood(vae, X[:5], k=6, method=method).per_datum
        assert bool(whole.isfinite().all())
        for order in ([3], [4, 2, 0, 1, 3]):
            part = rp.evaluate.log_likelihood(vae, X[order], k=6, method=method, chunk=4).per_datum
            torch.testing.assert_close(part, whole[order], rtol=1e-4, atol=1e-4)
    again = rebuild(tomllib.loads(dump_toml(describe(vae)))).float()
    again.load_state_dict(vae.state_dict())
    torch.testing.assert_close(
        rp.evaluate.log_likelihood(again, X[:5], k=6, method="prior").per_datum, whole, rtol=0, atol=0
    )
    assert vae.encode(X).shape == (64, DIM)
    assert torch.equal(vae.encode(X), vae.encode(X))
    assert vae.reconstruct(X).shape == vae.sample(64).shape == X.shape
    assert bool(vae.sample(9).isfinite().all())


@pytest.mark.parametrize(("q", "p"), NONSENSE)
def test_pairs_that_live_in_different_places_are_refused(q, p):
    refused(lambda: build(q, p), "the posterior gives", "the prior expects", kinds=(InputError,))


def test_how_many_pairs_there_are():
    assert (len(SENSE), len(NONSENSE)) == (44, 46)


# All four axes. One row of the law tables for each class, so that a new class comes in by its row.


def first_of_each_class(*tables: dict) -> dict[str, object]:
    found: dict[str, object] = {}
    for row in (row for table in tables for row in table.values()):
        found.setdefault((row.cls if isinstance(row, Row) else type(row)).__name__, row)
    return found


AXES = {
    "likelihood": first_of_each_class(LIKELIHOODS),
    "posterior": first_of_each_class(POSTERIORS, OTHER_POSTERIORS, QUANTISED_POSTERIORS, DISCRETE_POSTERIORS),
    "prior": first_of_each_class(PRIORS, OTHER_PRIORS, DISCRETE_PRIORS)
    | {name: QUANTISED_PRIORS[name] for name in ("Codes uniform of vector", "Codes uniform of scalar")},
    "objective": first_of_each_class(OBJECTIVES),
}
NAMES = tuple(AXES)
Combination = tuple[str, ...]


def model_of(likelihood: str, posterior: str, prior: str) -> rp.VAE:
    q, p = AXES["posterior"][posterior].make(), AXES["prior"][prior].make()
    if type(own := getattr(p, "posterior", None)) is type(q):  # a prior that is made of the model's own posterior
        q = own
    dim = p().event_shape[-1]
    row = AXES["likelihood"][likelihood]
    return rp.VAE(p, row.wrap(rp.networks.mlp(dim, row.outputs, (8,))), q)


def data_of(likelihood: str) -> torch.Tensor:
    """64 rows of the same family at outputs of 2 and -2, where an untrained net is near 0: there is much to gain."""
    row = AXES["likelihood"][likelihood]
    with torch.no_grad():
        outputs = 2 - 4.0 * (torch.arange(math.prod(row.shape)) % 2).reshape(row.shape)
        return row.flat(outputs)(torch.zeros(64, 2)).sample()


@cache
def with_sense() -> tuple[set[Combination], int]:
    """The triples of posterior, prior and objective that give a value, and how many were refused with a reason."""
    torch.manual_seed(0)
    x, found, refusals = data_of("Gaussian"), set(), 0
    for q, p in product(AXES["posterior"], AXES["prior"]):
        try:
            vae = model_of("Gaussian", q, p)
        except InputError:
            refusals += len(AXES["objective"])
            continue
        if vae.posterior(x).event_shape != vae.prior().event_shape:
            continue  # rows of two and of three dimensions
        for o, objective in AXES["objective"].items():
            try:
                draw = objective.draw(vae, x)
                objective.surrogate(draw, objective.bound(draw))
                objective.penalty(draw, 64)
                found.add((q, p, o))
            except InputError as error:
                text = str(error)
                if "\n" in text or len(text) > 500:
                    raise
                refusals += 1
    return found, refusals


def pairs_in(combination: Combination) -> set[tuple]:
    return set(combinations(zip(NAMES, combination, strict=True), 2))


@cache
def covering() -> tuple[Combination, ...]:
    """Full combinations that hold every pair of classes that any of them can hold: the most new pairs first."""
    draw = random.Random(0)
    every = [(one, *three) for one in AXES["likelihood"] for three in sorted(with_sense()[0])]
    draw.shuffle(every)
    missing = set().union(*map(pairs_in, every))
    chosen = []
    for least in (6, 5, 4, 3, 2, 1):
        for combination in every:
            if len(new := pairs_in(combination) & missing) >= least:
                chosen.append(combination)
                missing -= new
    return tuple(chosen + draw.sample(every, 20))


@pytest.mark.thorough
@pytest.mark.parametrize("likelihood", AXES["likelihood"])
def test_every_pair_over_the_four_axes_trains(likelihood):
    """20 steps lower the loss, at fixed noise, and everything stays finite.

    But for upper bounds, whose estimate by four samples lies below what it estimates, the more the worse the encoder
    is: it may rise while the bound falls (test_importance has its own law). And for schedules: their early steps
    improve another objective than the last one, which is compared. And for wake-sleep, whose encoder follows another
    divergence than that of the ELBO. The worst of three untrained models is trained: one may start at the best by luck.
    """
    torch.manual_seed(1)
    x = rp.Dataset(data_of(likelihood))
    for each in (c for c in covering() if c[0] == likelihood):
        objective = AXES["objective"][each[3]]
        untrained = [model_of(*each[:3]) for _ in range(3)]
        values = [objective_value(vae, x, objective, 0) for vae in untrained]
        before, vae = min(zip(values, untrained, strict=True), key=lambda pair: pair[0]["objective"])
        rp.fit(vae, x, objective=objective, epochs=10, batch_size=32, lr=3e-2, progress=False)
        after = objective_value(vae, x, objective, 0)
        assert all(map(math.isfinite, (v for n, v in after.items() if n != "kl" or each[1] != "Point"))), each
        if objective.sign == 1 and not objective.schedules() and each[3] != "WakeSleep":
            assert after["objective"] > before["objective"], each
        assert all(bool(t.isfinite().all()) for t in vae.parameters()), each


@pytest.mark.thorough
def test_every_class_is_in_a_combination_and_how_many_there_are(record_property):
    """Pairs held by any combination with sense are all held by one that was run."""
    run, (sense, refusals) = covering(), with_sense()
    for place, name in enumerate(NAMES):
        assert {combination[place] for combination in run} == set(AXES[name])
    held = set().union(*map(pairs_in, run))
    assert held == set().union(*(pairs_in((one, *three)) for one in AXES["likelihood"] for three in sense))
    record_property("combinations", len(run))
    print(f"{len(run)} combinations trained, {len(held)} pairs, {refusals} triples refused")
    assert len(run) >= 300
    assert len(held) >= 1000
    assert refusals >= 500
