"""Laws of discrete latents: every sum is over all values, so that little is left to chance."""

from __future__ import annotations

import copy
import math
import tomllib
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, OneHotCategorical, kl_divergence

import reparam as rp
from models import Constant, Function, with_parameters, within
from refusals import refused
from reparam import posteriors, priors
from reparam.distributions import Bits, Codes, OneHots, codes_of, from_standard_normal
from reparam.errors import RunFolderError
from reparam.run import describe, dump_toml, rebuild
from reparam.schedules import Constant as Level
from reparam.schedules import Linear
from rows import Row
from rows_posteriors import DISCRETE as POSTERIORS
from rows_priors import DISCRETE as PRIORS
from test_priors import chi_square

pytestmark = pytest.mark.usefixtures("double")

posterior_rows = pytest.mark.parametrize("row", POSTERIORS.values(), ids=POSTERIORS)
prior_rows = pytest.mark.parametrize("row", PRIORS.values(), ids=PRIORS)
rows = pytest.mark.parametrize(
    "row", [*POSTERIORS.values(), *PRIORS.values()], ids=[*POSTERIORS, *(f"p {n}" for n in PRIORS)]
)


def part_of(row: Row) -> nn.Module:
    """With weights of order one, learned logits included."""
    part = row.make()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.normal_()
    return part


def one(row: Row, part: nn.Module | None = None) -> Distribution:
    """A distribution of batch ()."""
    part = part_of(row) if part is None else part
    return part(torch.randn(2)) if row in POSTERIORS.values() else part()


def numbers(z: Tensor, d: Distribution) -> Tensor:
    """Which of all values each of z is, in the order of ``Codes.values``."""
    points = codes_of(d).values(0, codes_of(d).count, z)
    same = (z.unsqueeze(-2) == points).all(-1)
    assert bool((same.sum(-1) == 1).all())
    return same.long().argmax(-1)


@rows
def test_its_mass_is_one_and_its_samples_are_of_its_probabilities(row):
    with torch.no_grad():
        d = one(row)
        points, _ = row.grid(d)
        mass = d.log_prob(points).exp()
        assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
        assert float(mass.max()) < 0.999  # or there is nothing to see
        assert bool(codes_of(d).check(points).all())
        common = mass > 1e-3
        for z in (d.sample((20000,)), from_standard_normal(d, torch.randn(20000, *d.event_shape))):
            counts = numbers(z, d).bincount(minlength=len(mass)).double()
            counts = torch.cat([counts[common], counts[~common].sum().unsqueeze(0)])
            weights = torch.cat([mass[common], mass[~common].sum().unsqueeze(0)])
            chi_square(counts[weights > 0], weights[weights > 0])


@pytest.mark.parametrize(
    "row", [r for r in (*POSTERIORS.values(), *PRIORS.values()) if "Autoregressive" not in r.cls.__name__]
)
def test_its_moments_and_its_mode_are_sums_over_its_values(row):
    d = one(row)
    points, _ = row.grid(d)
    mass = d.log_prob(points).exp()
    mean = (mass.unsqueeze(-1) * points).sum(0)
    torch.testing.assert_close(d.mean, mean, atol=1e-12, rtol=0)
    torch.testing.assert_close(d.variance, (mass.unsqueeze(-1) * (points - mean) ** 2).sum(0), atol=1e-12, rtol=0)
    assert float(d.log_prob(d.mode).detach()) >= float(mass.detach().max().log()) - 1e-12


def test_codes_are_all_different_and_know_what_they_are():
    for codes in (Codes(3, 4), Codes(1, 2), Codes(6)):
        values = codes.values(0, codes.count, torch.empty(0))
        assert len({tuple(v) for v in values.tolist()}) == codes.count == len(values)
        assert torch.equal(torch.cat([codes.values(i, i + 1, torch.empty(0)) for i in range(codes.count)]), values)
        assert not bool(codes.check(values + 0.5).any())
        assert bool(codes.check(1 - values).any()) == (codes.classes in (None, 2))
    for wrong in ((0,), (2, 1), (True, 3)):
        refused(lambda wrong=wrong: Codes(*wrong), "whole number")


def test_distributions_of_torch_are_known_for_what_they_are():
    """And have the same log probabilities."""
    logits, z = torch.randn(5, 4), Codes(1, 4).values(0, 4, torch.empty(0)).unsqueeze(1)
    torch.testing.assert_close(OneHots(logits.unsqueeze(-2)).log_prob(z), OneHotCategorical(logits=logits).log_prob(z))
    bits = Codes(4).values(0, 16, torch.empty(0)).unsqueeze(1)
    theirs = Independent(TorchBernoulli(logits=logits), 1)
    torch.testing.assert_close(Bits(logits).log_prob(bits), theirs.log_prob(bits))
    assert str(codes_of(theirs)) == str(codes_of(Bits(logits)))
    assert str(codes_of(OneHotCategorical(logits=logits))) == str(codes_of(OneHots(logits.unsqueeze(-2))))


def test_kl_is_the_sum_over_all_values():
    for q, p in (
        (OneHots(torch.randn(4, 2, 3)), OneHots(torch.randn(2, 3))),
        (Bits(torch.randn(4, 5)), Bits(torch.randn(5))),
    ):
        z = q.enumerate_support()
        each = (q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z))).sum(0)
        torch.testing.assert_close(kl_divergence(q, p), each, atol=1e-12, rtol=0)
    with pytest.raises(NotImplementedError):
        kl_divergence(OneHots(torch.randn(4, 2, 3)), OneHots(torch.randn(3, 2)))


@posterior_rows
def test_its_gradient_is_that_of_finite_differences(row):
    part, given = row.make(), torch.randn(3, 2)
    z = part(given).sample()
    assert with_parameters(part, lambda call: call(given).log_prob(z))


@prior_rows
def test_the_gradient_of_a_prior_is_that_of_finite_differences(row):
    part = part_of(row)
    z = part().sample((3,))
    if list(part.parameters()):
        assert with_parameters(part, lambda call: call().log_prob(z))


@rows
def test_float32_is_close_to_float64(row):
    wide = part_of(row)
    narrow, given = copy.deepcopy(wide).float(), torch.randn(5, 2) if row in POSTERIORS.values() else None
    p, q = (wide(), narrow()) if given is None else (wide(given), narrow(given.float()))
    z = q.sample((7,))
    assert z.dtype == q.log_prob(z).dtype == torch.float32
    torch.testing.assert_close(q.log_prob(z).double(), p.log_prob(z.double()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@posterior_rows
def test_extreme_outputs_of_the_net_have_finite_values_and_gradients(row, dtype):
    for signs in product((80.0, -80.0), repeat=row.outputs):
        part = row.flat(torch.tensor(signs)).to(dtype)
        vae = rp.VAE(
            {6: priors.Categorical(2, 3), 3: priors.Bernoulli(3), 5: priors.Label(5)}[row.outputs],
            rp.likelihoods.Gaussian(nn.Linear(row.outputs, 2)),
            part,
        ).to(dtype)
        draw, objective = vae(torch.zeros(1, 2, dtype=dtype), k=3), rp.objectives.ELBO(3)
        bound = objective.bound(draw)
        (gradient,) = torch.autograd.grad(objective.surrogate(draw, bound).sum(), list(part.parameters()))
        assert bool((bound.isfinite() & draw.kl_monte_carlo.isfinite()).all())
        assert bool(gradient.isfinite().all()), signs


@pytest.mark.parametrize("lead", [(), (3,), (4, 3)], ids=str)
@posterior_rows
def test_batch_shape_is_the_leading_shape_of_what_is_given(row, lead):
    d = row.make()(torch.randn(*lead, 2))
    assert (d.batch_shape, d.event_shape) == (lead, (row.outputs,))
    assert d.sample((5,)).shape == (5, *lead, row.outputs)
    assert d.log_prob(d.sample((5,))).shape == (5, *lead)
    assert d.log_prob(d.sample()).shape == lead
    assert d.mean.shape == d.mode.shape == (*lead, row.outputs)
    assert d.expand((2, *lead)).sample().shape == (2, *lead, row.outputs)


def test_a_group_depends_on_those_before_it_and_on_no_other():
    """The Jacobian of all logits by all elements of z is strictly lower triangular in blocks, and full there."""
    for groups, classes, hidden in ((4, 3, (8,)), (4, 3, (16, 5)), (5, None, ()), (3, 2, (2,))):
        part, width = priors.Autoregressive(groups, classes, hidden), classes or 1
        jacobian = torch.autograd.functional.jacobian(part.net, torch.randn(groups * width))
        blocks = jacobian.unflatten(0, (groups, width)).unflatten(-1, (groups, width)).abs().amax((1, 3))
        assert torch.equal(blocks > 0, torch.ones(groups, groups).tril(-1).bool())


def test_an_autoregressive_prior_with_contexts_has_one_distribution_for_each_row():
    part, c = priors.Autoregressive(2, 3, (5,), context=3), torch.randn(4, 3)
    d = part(c[:, :1], c[:, 1:].reshape(4, 1, 2))
    assert (d.batch_shape, d.event_shape) == ((4,), (6,))
    points = Codes(2, 3).values(0, 9, c).unsqueeze(1)
    log_p = d.log_prob(points).detach()
    torch.testing.assert_close(log_p.logsumexp(0), torch.zeros(4), atol=1e-12, rtol=0)
    for i in range(4):
        torch.testing.assert_close(part(c[i : i + 1]).log_prob(points)[:, 0], log_p[:, i])
    assert float(log_p.std(1).min()) > 0
    z = d.sample((20000,))
    for i in range(4):
        chi_square(numbers(z[:, i], d).bincount(minlength=9).double(), log_p[:, i].exp())
    for wrong in ((), (c[:, :2],)):
        refused(lambda wrong=wrong: part(*wrong), "3 numbers")


def test_numbers_that_make_no_discrete_latents_are_refused():
    net = nn.Identity()
    for make, *words in (
        (lambda: posteriors.Categorical(net, 6, 4, "enumerate"), "1024", "4096", "gumbel", "score"),
        (lambda: posteriors.Bernoulli(net, "enumerate")(torch.zeros(1, 11)), "1024", "2048"),
        (lambda: posteriors.Categorical(net, 2, 3)(torch.zeros(1, 5)), "6 outputs", "gives 5"),
        (lambda: posteriors.Categorical(net, 2, 3, "gumble"), "gumbel"),
        (lambda: posteriors.Categorical(net, 2, 3, "score", temperature=0.5), "temperature", "gumbel"),
        (lambda: posteriors.Bernoulli(net, "enumerate", straight_through=True), "straight_through"),
        (lambda: posteriors.Bernoulli(net, temperature=0.0), "above 0"),
        (lambda: posteriors.Bernoulli(net, temperature=Linear(1.0, 0.0)), "above 0"),
        (lambda: posteriors.Bernoulli(net, temperature=math.nan), "temperature"),
        (lambda: posteriors.Categorical(net, 0, 3), "groups"), (lambda: priors.Categorical(2, 1), "classes"),
        (lambda: priors.Bernoulli(0), "dimension"), (lambda: priors.Autoregressive(0, 3), "groups"),
        (lambda: priors.Autoregressive(2, 3, (0,)), "hidden"),
    ):  # fmt: skip
        refused(make, *words)


# ---- pairs ----

PLACES = {
    "2x3": (lambda net: posteriors.Categorical(net, 2, 3), 6),
    "3x2": (lambda net: posteriors.Categorical(net, 3, 2), 6),
    "bits": (posteriors.Bernoulli, 6),
    "real": (posteriors.DiagonalGaussian, 12),
}
OVER = {
    "2x3": (
        lambda q: priors.Categorical(2, 3),
        lambda q: priors.Categorical(2, 3, True),
        lambda q: priors.Autoregressive(2, 3),
    ),
    "3x2": (lambda q: priors.Categorical(3, 2), lambda q: priors.Autoregressive(3, 2)),
    "bits": (lambda q: priors.Bernoulli(6), lambda q: priors.Autoregressive(6)),
    "real": (lambda q: priors.StandardNormal(6), lambda q: priors.Mixture(6, 2)),
}


def vae_of(posterior: nn.Module, prior: nn.Module, size: int = 6) -> rp.VAE:
    return rp.VAE(prior, rp.likelihoods.Bernoulli(rp.networks.mlp(size, 4, (8,))), posterior)


@pytest.mark.parametrize(("q", "p"), [(q, p) for q, p in product(PLACES, PLACES) if q != p])
def test_pairs_that_live_in_different_places_are_refused(q, p):
    make, outputs = PLACES[q]
    x = torch.ones(4, 4)
    for prior in OVER[p]:
        q = make(rp.networks.mlp(4, outputs, (3,)))
        p = prior(q)
        for use in (lambda vae: vae(x), lambda vae: rp.fit(vae, x, epochs=1, progress=False)):
            # when they are put together, or for bits, whose number a net decides, when they are used
            refused(
                lambda use=use, q=q, p=p: use(vae_of(q, p)),
                "the posterior gives", "the prior expects", "Categorical", "StandardNormal",
            )  # fmt: skip


@pytest.mark.parametrize("row", [r for n, r in POSTERIORS.items() if "straight" not in n])
def test_every_discrete_pair_has_the_estimates_of_its_rows_and_comes_back_from_a_file(row):
    """A VampPrior of a discrete posterior too. Alone and in other calls to rounding; rebuilt, to the bits."""
    x, size = (torch.rand(6, 4) < 0.5).double(), row.outputs
    few = (lambda q: priors.Bernoulli(3), lambda q: priors.Bernoulli(3, True), lambda q: priors.Autoregressive(3))
    label = (lambda q: priors.Label(5), lambda q: priors.Categorical(1, 5, True))
    for prior in (*{6: OVER["2x3"], 3: few, 5: label}[size], lambda q: priors.VampPrior(q, 3, (4,))):
        posterior = row.wrap(rp.networks.mlp(4, size, (5,)))
        vae = vae_of(posterior, prior(posterior), size).eval()
        for method in ("importance", "prior", "mixture", "exact"):
            whole = rp.evaluate.log_likelihood(vae, x, 30, method).per_datum
            part = rp.evaluate.log_likelihood(vae, x[[3, 1]], 30, method, chunk=7).per_datum
            torch.testing.assert_close(part, whole[[3, 1]], atol=1e-10, rtol=0)
        terms = rp.evaluate.elbo_terms(vae, x, 4)
        torch.testing.assert_close(
            rp.evaluate.elbo(vae, x[[3, 1]], 4).per_datum, terms.elbo.per_datum[[3, 1]], atol=1e-10, rtol=0
        )
        again = rebuild(tomllib.loads(dump_toml(describe(vae)))).eval()
        again.load_state_dict(vae.state_dict())
        assert describe(again) == describe(vae)
        assert torch.equal(
            rp.evaluate.log_likelihood(again, x, 30).per_datum, rp.evaluate.log_likelihood(vae, x, 30).per_datum
        )
        torch.testing.assert_close(vae.encode(x), vae.posterior(x).mean)
        assert bool(codes_of(vae.prior()).check(vae.prior().sample((9,))).all())
        assert vae.sample(9).shape == (9, 4)
        assert torch.equal(vae.reconstruct(x), vae.decode(vae.posterior(x).mode))
        refused(lambda vae=vae: rp.evaluate.log_likelihood(vae, x, 4, "ais"), "real vectors", "importance")
        refused(lambda vae=vae: rp.evaluate.bdmc(vae, 3, 2), "real vectors")


@pytest.mark.parametrize(
    "temperature", [0.7, Level(0.5), Linear(1.0, 0.5, over=0.4), rp.schedules.Cosine(1.0, 0.4, 0.5)]
)
def test_a_schedule_of_a_model_comes_back_from_a_file(temperature, tmp_path):
    vae = vae_of(posteriors.Bernoulli(rp.networks.mlp(4, 3, (3,)), temperature=temperature), priors.Bernoulli(3), 3)
    rp.save(vae, tmp_path)
    assert rp.load(tmp_path).posterior.temperature == temperature


def test_a_schedule_of_ones_own_is_named():
    class Mine(rp.schedules.Schedule):
        def __call__(self, progress: float) -> float:
            return 1.0

    spec = describe(posteriors.Bernoulli(rp.networks.mlp(4, 3, (3,)), temperature=Mine()))
    refused(lambda: rebuild(tomllib.loads(dump_toml(spec))), "Mine", "into=vae", kinds=(RunFolderError,))


# ---- estimates ----


def mixture(gradient: str = "score", groups: int = 2, classes: int = 3) -> tuple[rp.VAE, Tensor]:
    """A model with weights of order one."""
    torch.manual_seed(5)
    size = groups * classes
    vae = rp.VAE(
        priors.Autoregressive(groups, classes, (5,)),
        rp.likelihoods.Gaussian(rp.networks.mlp(size, 2, (6,), "tanh"), 0.8),
        posteriors.Categorical(rp.networks.mlp(2, size, (6,), "tanh"), groups, classes, gradient),
    )
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.normal_()
    return vae, torch.randn(5, 2)


def brute(vae: rp.VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x) and the ELBO, one value of z and one datum at a time."""
    points = Codes(vae.posterior.groups, vae.posterior.classes).values(0, codes_of(vae.prior()).count, x)
    log_p, elbo = [], []
    with torch.no_grad():
        for row in x:
            joint = torch.stack([vae.prior().log_prob(z) + vae.likelihood(z).log_prob(row) for z in points])
            log_q = torch.stack([vae.posterior(row).log_prob(z) for z in points])
            log_p.append(joint.logsumexp(0))
            elbo.append((log_q.exp() * (joint - log_q)).sum())
    return torch.stack(log_p), torch.stack(elbo)


def test_the_exact_likelihood_and_the_listed_elbo_are_brute_force():
    vae, x = mixture("enumerate")
    log_p, elbo = brute(vae, x)
    for chunk in (None, 1, 4):
        exact = rp.evaluate.log_likelihood(vae, x, method="exact", chunk=chunk)
        torch.testing.assert_close(exact.per_datum, log_p, atol=1e-10, rtol=0)
    assert exact.khat is None
    torch.testing.assert_close(rp.evaluate.elbo(vae, x).per_datum, elbo, atol=1e-10, rtol=0)
    for mode in (vae.train(), vae.eval()):
        draw = mode(x, k=3)
        for objective, truth in (
            (rp.objectives.ELBO(), elbo), (rp.objectives.ELBO(3, estimator="A"), elbo), (rp.objectives.IWAE(3), log_p),
            (rp.objectives.ReweightedWakeSleep(2), log_p), (rp.objectives.CIWAE(2, 0.25), elbo / 4 + 3 * log_p / 4),
            (rp.objectives.Renyi(0.0, 2), log_p), (rp.objectives.Renyi(1.0, 2), elbo),
        ):  # fmt: skip
            torch.testing.assert_close(objective.bound(draw).detach(), truth, atol=1e-10, rtol=0)
    mean = float(rp.objectives.CUBO(2).bound(draw).detach().mean())
    assert mean > float(log_p.mean())
    values = rp.evaluate.objective_value(vae, rp.Dataset(x), rp.objectives.IWAE(2))
    assert values["objective"] == pytest.approx(float(log_p.mean()), abs=1e-10)
    refused(lambda: rp.objectives.MIWAE(2, 2).bound(draw), "lists all values", "ELBO")


def test_an_exact_answer_for_too_many_values_is_refused():
    vae = vae_of(posteriors.Bernoulli(rp.networks.mlp(4, 21, (3,))), priors.Bernoulli(21), 21)
    refused(
        lambda: rp.evaluate.log_likelihood(vae, torch.ones(1, 4), method="exact"), "1048576", "2097152", "importance"
    )


@pytest.mark.parametrize("method", ["importance", "prior", "mixture"])
def test_importance_sampling_is_within_its_error_of_the_exact_likelihood(method):
    """Weights of 200 seeds are independent, their mean unbiased: 4 se, failure rate 6e-5 for each of 5 rows."""
    vae, x = mixture()
    log_p, _ = brute(vae, x)
    estimates = [rp.evaluate.log_likelihood(vae, x, 100, method, seed) for seed in range(200)]
    assert all(e.khat is None for e in estimates)
    within(torch.stack([(e.per_datum - log_p).exp() for e in estimates]), 1.0)


def test_the_sampled_elbo_is_within_its_error_of_the_listed_one():
    vae, x = mixture()
    _, elbo = brute(vae, x)
    within(torch.stack([rp.evaluate.elbo(vae, x, 10, seed).per_datum for seed in range(400)]), elbo)


def test_free_nats_count_by_group():
    vae = rp.VAE(
        priors.Categorical(2, 3),
        rp.likelihoods.Gaussian(nn.Linear(6, 2)),
        posteriors.Categorical(Constant(torch.tensor([9.0, 0, 0, 0.1, 0, 0])), 2, 3, "enumerate"),
    )
    draw = vae(torch.randn(4, 2))
    each = OneHots(torch.tensor([[9.0, 0, 0], [0.1, 0, 0]])).kl_each(OneHots(torch.zeros(2, 3)))
    assert float(each[1]) < 0.5 < float(each[0])
    expected = draw.reconstruction - each[0] - 0.5
    torch.testing.assert_close(rp.objectives.ELBO(free_nats=0.5).bound(draw), expected)


def test_penalties_and_path_gradients_are_refused_for_discrete_latents():
    x = (torch.rand(30, 4) < 0.5).double()
    for gradient in ("gumbel", "score", "enumerate"):
        vae = vae_of(posteriors.Categorical(rp.networks.mlp(4, 6, (3,)), 2, 3, gradient), priors.Categorical(2, 3))
        o = rp.objectives
        paths = (o.IWAE(2, "dreg"), o.ELBO(2, gradient="stl"), o.PIWAE(2, 2), o.CUBO(4))
        for objective in (o.Penalized(o.ELBO(), o.penalties.MMD()), *paths):
            refused(
                lambda vae=vae, objective=objective: rp.fit(vae, x, objective=objective, epochs=1), "reparameterized"
            )


def test_a_network_that_is_no_function_of_z_is_not_needed():
    """The likelihood may be of any kind: here a table of means."""
    table = torch.randn(9, 2)
    vae = rp.VAE(
        priors.Categorical(1, 9),
        rp.likelihoods.Gaussian(Function(lambda z: z @ table)),
        posteriors.Categorical(nn.Linear(2, 9), 1, 9),
    )
    x = torch.randn(3, 2)
    log_p = torch.distributions.Normal(table, 1.0).log_prob(x.unsqueeze(1)).sum(-1).logsumexp(1) - math.log(9)
    torch.testing.assert_close(rp.evaluate.log_likelihood(vae, x, method="exact").per_datum, log_p, atol=1e-12, rtol=0)
