"""Quantised latents: the nearest code, its gradient, codebooks that learn, bounds and priors by counting every code."""

from __future__ import annotations

import copy
import math
import tomllib

import pytest
import torch
from torch import Tensor, nn

import reparam as rp
from models import Function, within
from refusals import refused
from reparam import objectives, posteriors, priors
from reparam.distributions import Codewords, Quantized
from reparam.networks import Codebook, Lattice, MaskedCodes
from reparam.objectives import penalties
from reparam.run import describe, dump_toml, rebuild
from rows_quantised import GROUPS, OUT, POSTERIORS, PRIORS, every_code, every_index

pytestmark = pytest.mark.usefixtures("double")

each_posterior = pytest.mark.parametrize("row", POSTERIORS.values(), ids=POSTERIORS)
each_prior = pytest.mark.parametrize("row", PRIORS.values(), ids=PRIORS)
SAME = Function(lambda x: x)


def shaken(module: nn.Module) -> nn.Module:
    """With all weights moved at random, those that start at zero too."""
    with torch.no_grad():
        for w in module.parameters():
            w.add_(0.7 * torch.randn_like(w))
    return module


def model(row, over: str = "autoregressive") -> rp.VAE:
    """A model of three bits, small enough that its codes can be counted."""
    posterior = row.wrap(rp.networks.mlp(3, OUT, (5,), "tanh"))
    decoder = rp.networks.mlp(OUT, 3, (5,), "tanh")
    return shaken(rp.VAE(priors.Codes(posterior, over, (7,)), rp.likelihoods.Bernoulli(decoder), posterior))


def bits(n: int = 8) -> Tensor:
    return torch.stack([torch.arange(n) >> i & 1 for i in range(3)], -1).double()


@torch.no_grad()
def exact_log_p(vae: rp.VAE, x: Tensor) -> Tensor:
    """log Σ_k p(k) p(x|k), over every code."""
    p = vae.prior()
    z, _ = every_code(p)
    return (vae.likelihood(z).log_prob(x.unsqueeze(1)) + p.log_prob(z)).logsumexp(-1)


# ---- the code ----


@each_posterior
@torch.no_grad()
def test_the_value_is_the_nearest_code_by_trying_all(row):
    part = row.wrap(SAME)
    x = torch.randn(50, OUT)
    q, book = part(x), part.quantizer
    one = book.vectors(torch.arange(book.codes).unsqueeze(-1).expand(-1, book.groups)).unflatten(-1, (GROUPS, 2))[:, 0]
    assert len(one.unique(dim=0)) == book.codes
    for b in range(50):
        for g in range(GROUPS):
            distances = [float((q.encoded[b].reshape(GROUPS, 2)[g] - e).norm()) for e in one]
            assert int(q.index[b, g]) == min(range(book.codes), key=lambda i: distances[i])
            assert torch.equal(q.mean[b].reshape(GROUPS, 2)[g], one[q.index[b, g]])
    assert len(q.index.unique()) == book.codes  # the choice was put to the test for each code


@each_posterior
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_value_of_the_book_is_read_back_as_its_own_number(row, dtype):
    book = row.wrap(SAME).to(dtype).quantizer
    index = every_index(book)
    z = book.vectors(index)
    assert z.dtype == dtype
    assert torch.equal(book.index(z), index)
    assert bool((book.index(z + 1e-3) == -1).all())
    near = z.clone()
    near[:, 2] = torch.nextafter(near[:, 2], near.new_tensor(9.0))
    assert torch.equal(book.index(near) == -1, torch.tensor([False, True, False]).expand(len(z), -1))


@each_posterior
def test_the_jacobian_of_the_value_in_what_was_quantised_is_the_identity(row):
    part, x = row.wrap(SAME), torch.randn(OUT)
    jacobian = torch.autograd.functional.jacobian(lambda t: part(t).rsample((2,))[1], x)
    inner = 1 - x.tanh().square() if row.cls is posteriors.FiniteScalar else torch.ones(OUT)
    torch.testing.assert_close(jacobian, torch.diag(inner), atol=1e-15, rtol=0)


@each_posterior
@torch.no_grad()
def test_its_mass_is_one_on_one_code(row):
    q = row.make()(torch.randn(4, 2))
    assert torch.equal(q.log_prob(q.rsample((3,))), torch.zeros(3, 4))
    points, _ = every_code(Codewords(q.book, torch.zeros(q.book.codes), torch.ones(())))
    for b in range(4):
        assert float(q.expand((4,)).log_prob(points.unsqueeze(1)).exp()[:, b].sum()) == 1
    assert torch.equal(q.variance, torch.zeros(4, OUT))


@each_posterior
def test_a_row_is_coded_alone_as_in_any_batch(row):
    part = row.make().eval()
    x = torch.randn(40, 2)
    with torch.no_grad():
        index, loc = part(x).index, part(x).mean
        for i in (0, 7, 39):
            assert torch.equal(part(x[i : i + 1]).index[0], index[i])
            assert torch.equal(part(x[i : i + 1]).mean[0], loc[i])


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2,), (3, 2), (7, 4, 2)])
def test_a_lattice_has_its_levels_and_reaches_every_code(levels):
    book = Lattice(levels)
    sweep = torch.linspace(-6, 6, 4001).unsqueeze(-1).expand(-1, len(levels)).contiguous()
    values = book.vectors(book(sweep)[1])
    for j, n in enumerate(levels):
        torch.testing.assert_close(values[:, j].unique(), torch.linspace(-1, 1, n), atol=1e-15, rtol=0)
    every = torch.arange(math.prod(levels)).unsqueeze(-1)
    z = book.vectors(every)
    assert torch.equal(book(z.clamp(-1 + 1e-12, 1 - 1e-12).atanh())[1], every)
    assert len(z.unique(dim=0)) == math.prod(levels) == book.codes
    assert float(book(torch.full((1, len(levels)), 1e9))[0].max()) == 1


# ---- codebooks that learn ----


def clusters(n: int, spread: float = 0.1) -> tuple[Tensor, Tensor]:
    """n points in each of four clusters that no step can mix, and the centres."""
    centres = torch.tensor([[9.0, 0.0], [0.0, 9.0], [-9.0, 0.0], [0.0, -9.0]])
    return (centres.unsqueeze(1) + spread * torch.randn(4, n, 2)).flatten(0, 1), centres


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_moving_means_come_to_the_means_of_a_fixed_assignment(steps):
    """After t steps: (γ^t N e + (1 - γ^t) Σ z) / (γ^t N + (1 - γ^t) n); with t, the step of k-means."""
    x, centres = clusters(5)
    book, gamma = Codebook(1, 2, 4, decay=0.9, dead=0.0), 0.9**steps
    start, usage = centres + 1.0, torch.tensor([1.0, 3.0, 8.0, 0.5])
    book.table.copy_(start), book.usage.copy_(usage)
    for _ in range(steps):
        book.absorb(*book(x))
    sums = x.reshape(4, 5, 2).sum(1)
    n = gamma * usage + (1 - gamma) * 5
    torch.testing.assert_close(book.usage, n, rtol=1e-12, atol=0)
    expected = (gamma * usage.unsqueeze(-1) * start + (1 - gamma) * sums) / n.unsqueeze(-1)
    torch.testing.assert_close(book.table, expected, rtol=1e-11, atol=1e-12)
    if steps == 300:
        torch.testing.assert_close(book.table, sums / 5, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [0.9, None])
def test_the_first_batch_starts_every_code_and_says_so(decay):
    book = Codebook(2, 2, 8, decay)
    assert not book.usage.any()  # saved state of a fresh codebook
    x = torch.randn(10, 4) + 50.0  # far from any random start, which would give one code in use
    assert len(book(x)[1].unique()) == 1
    book.absorb(*book(x))
    rows = x.reshape(-1, 2)
    assert all(bool((rows == e).all(-1).any()) for e in book.table)
    assert len(book.table.unique(dim=0)) == 8
    assert len(book(x)[1].unique()) == 8
    assert torch.equal(book.usage, torch.full((8,), 20 / 8))


def test_a_batch_with_too_few_different_rows_leaves_codes_for_the_next():
    book = Codebook(1, 2, 6)
    x = torch.tensor([[30.0, 0.0], [0.0, 30.0], [30.0, 0.0]])
    book.absorb(*book(x))
    assert int((book.usage > 0).sum()) == 2
    book.absorb(*book(x))  # nothing new to start from
    assert int((book.usage > 0).sum()) == 2
    book.absorb(*book(x + torch.arange(3.0).unsqueeze(-1)))
    assert int((book.usage > 0).sum()) == 5  # three rows from which all codes are some way off


@pytest.mark.parametrize("decay", [0.9, None])
@torch.no_grad()
def test_a_dead_code_is_revived_when_the_rule_says_and_used_from_then_on(decay):
    """Unused at usage u, it is dead after the first t with u γ^t < dead times the mean; then it is one of the rows."""
    x, centres = clusters(6)
    x = x[6:]  # three clusters of four
    book = Codebook(1, 2, 4, decay, dead=0.05)
    with torch.no_grad():
        book.table.copy_(centres + torch.tensor([90.0, 0.0])), book.usage.fill_(4.5)
        book.table[1:] = centres[1:]
    gamma, usage = 0.99 if decay is None else decay, torch.full((4,), 4.5)
    expected = 0
    while usage[0] >= 0.05 * usage.mean():
        usage, expected = gamma * usage + (1 - gamma) * torch.tensor([0.0, 6.0, 6.0, 6.0]), expected + 1
    for step in range(1, expected + 1):
        assert 0 not in book(x)[1]
        book.absorb(*book(x))
        assert (float(book.table[0, 0]) > 90) == (step < expected)
    assert bool((x == book.table[0]).all(-1).any())
    assert 0 in book(x)[1]
    assert float(book.usage[0]) == pytest.approx(18 / 4)


def test_a_new_start_follows_the_seed():
    x, tables = torch.randn(100, 2), []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        book = Codebook(1, 2, 4)
        torch.manual_seed(seed)
        book.absorb(*book(x))
        tables.append(book.table.clone())
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_only_training_steps_change_a_codebook():
    vae, x = model(POSTERIORS["VectorQuantized"]), bits()
    before = copy.deepcopy(vae.state_dict())
    draw = vae.train()(x)
    vae.eval().absorb(draw)
    rp.evaluate.elbo(vae, x)
    assert all(torch.equal(v, before[n]) for n, v in vae.state_dict().items())
    vae.train().absorb(draw)
    assert not torch.equal(vae.posterior.quantizer.table, before["posterior.quantizer.table"])


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_quantised_posterior_has_one_bound_for_all_k(name):
    """All samples are one code: the importance-weighted bound of any k is the ELBO, log p(x, z) at that code."""
    vae, x = model(POSTERIORS[name]).eval(), bits()
    elbo = objectives.ELBO().bound(vae(x))
    for k in (2, 7):
        torch.testing.assert_close(objectives.IWAE(k).bound(vae(x, k=k)), elbo, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        rp.evaluate.log_likelihood(vae, x, k=50).per_datum, elbo.double(), rtol=1e-5, atol=1e-5, check_dtype=False
    )


def test_with_an_encoder_that_stands_still_a_fit_is_k_means():
    """Lloyd's algorithm ends where each code is the mean of its points: 0.5^100 < 1e-30 is left of the start."""
    x, _ = clusters(64)
    posterior = posteriors.VectorQuantized(SAME, 1, 2, 4, decay=0.5, dead=0.0)
    vae = rp.VAE(priors.Codes(posterior, "independent"), rp.likelihoods.Gaussian(nn.Linear(2, 2), 0.5), posterior)
    rp.fit(vae, x, epochs=100, batch_size=256, progress=False)
    q = posterior(x)
    for i in q.index.unique().tolist():
        mean = x[q.index[:, 0] == i].mean(0)
        torch.testing.assert_close(posterior.quantizer.table[i], mean, rtol=0, atol=1e-9)
    shares = q.index.flatten().bincount(minlength=4) / 256
    torch.testing.assert_close(posterior.usage, shares, rtol=0, atol=1e-9)
    assert float(q.code_perplexity) == pytest.approx(float(torch.special.entr(shares).sum().exp()), rel=1e-6)


def test_perplexity_counts_equal_shares():
    book = Codebook(2, 1, 8)
    for used in (1, 3, 8):
        index = torch.arange(used).repeat_interleave(4).reshape(-1, 2)
        assert float(Quantized(torch.zeros(len(index), 2), index, book).code_perplexity) == pytest.approx(used)


# ---- the prior ----


@each_prior
def test_a_prior_sums_to_one_over_all_codes_and_gives_nothing_to_others(row):
    with torch.no_grad():
        d = shaken(row.make())()
        points, _ = every_code(d)
        assert float(d.log_prob(points).exp().sum()) == pytest.approx(1, abs=1e-12)
        assert bool((d.log_prob(points + 0.01) == -torch.inf).all())
        assert d.batch_shape == ()
        assert d.event_shape == (OUT,)


@each_prior
def test_samples_are_codes_and_come_as_often_as_their_probability_says(row):
    """20000 samples, by generator and by given noise; 5 se for each of up to 216 codes: failure rate 1e-4."""
    with torch.no_grad():
        d = shaken(row.make())()
        points, _ = every_code(d)
        expected = d.log_prob(points).exp()
        base = torch.tensor([d.book.codes**g for g in reversed(range(GROUPS))])
        for z in (d.sample((20000,)), d.image(torch.randn(20000, OUT))):
            index = d.book.index(z)
            assert int(index.min()) >= 0
            hits = nn.functional.one_hot((index * base).sum(-1), len(points)).double()
            likely = expected > 5e-4
            within(hits[:, likely], expected[likely], se=5)
            assert float(hits[:, ~likely].mean(0).sum()) < 5e-4 * len(points)


@pytest.mark.parametrize("hidden", [(), (3,), (40, 9)], ids=str)
def test_scores_of_a_group_depend_on_those_before_it_and_on_no_other(hidden):
    net = shaken(MaskedCodes(6, 5, hidden))
    index = torch.randint(5, (40, 6))
    scores = net(index)
    assert scores.shape == (40, 6, 5)
    for g in range(6):
        moved = index.clone()
        moved[:, g] = (moved[:, g] + 1) % 5
        changed = (net(moved) != scores).any(-1)
        assert not changed[:, : g + 1].any()
        assert bool(changed[:, g + 1 :].any(0).any()) == (g < 5 and (hidden != (3,) or g < 4))


def test_the_learned_priors_start_uniform_and_the_uniform_one_has_its_kl():
    for row in PRIORS.values():
        part = row.make()
        q, p = part.posterior(torch.randn(5, 2)), part()
        exact = torch.full((5,), GROUPS * math.log(q.book.codes))
        torch.testing.assert_close(torch.distributions.kl_divergence(q, p), exact, rtol=1e-14, atol=0)
        torch.testing.assert_close(-p.log_prob(q.mean), exact, rtol=1e-14, atol=0)


def test_a_prior_of_another_codebook_gives_no_probability():
    one, two = (row.make() for row in (POSTERIORS["VectorQuantized"], POSTERIORS["VectorQuantized"]))
    q, p = one(torch.randn(3, 2)), priors.Codes(two)()
    assert bool((torch.distributions.kl_divergence(q, p) == torch.inf).all())


# ---- bounds ----


@each_posterior
@pytest.mark.parametrize("over", ["uniform", "independent", "autoregressive"])
def test_bounds_lie_below_log_p_of_x_by_counting_all_codes(row, over):
    """ELBO = log p(x|e) + log p(k), each term of the sum that p(x) is; IWAE equals it, as all samples are equal."""
    vae, x = model(row, over), bits()
    exact = exact_log_p(vae, x)
    assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-12)  # over all x: the enumeration is complete
    value = rp.evaluate.elbo(vae, x).per_datum
    q = vae.posterior(x)
    direct = vae.likelihood(q.mean).log_prob(x) + vae.prior().log_mass(q.index)
    torch.testing.assert_close(value, direct.detach(), rtol=0, atol=1e-12)
    assert bool((value < exact).all())
    torch.testing.assert_close(rp.evaluate.log_likelihood(vae, x, k=7).per_datum, value, rtol=0, atol=1e-12)
    for objective in (objectives.ELBO(2), objectives.ELBO(2, gradient="stl"), objectives.IWAE(3, "dreg")):
        draw = vae(x, k=objective.k)
        bound = objective.bound(draw)
        torch.testing.assert_close(bound.detach(), value, rtol=0, atol=1e-12)
        objective.surrogate(draw, bound).sum().backward()


@each_posterior
@pytest.mark.parametrize("method", ["prior", "mixture"])
def test_weights_are_unbiased_where_the_proposal_reaches_every_code(row, method):
    """E of the mean weight is p(x): 200 estimates of 50 samples, 5 se, failure rate 5e-6 for 8 rows."""
    vae, x = model(row), bits()
    estimates = [rp.evaluate.log_likelihood(vae, x, k=50, method=method, seed=s).per_datum for s in range(200)]
    within(torch.stack(estimates).exp(), exact_log_p(vae, x).exp(), se=5)


def test_a_row_is_scored_alone_as_among_others():
    vae, x = model(POSTERIORS["VectorQuantized"]), bits()
    for method in ("importance", "prior", "mixture"):
        whole = rp.evaluate.log_likelihood(vae, x, k=6, method=method).per_datum
        part = rp.evaluate.log_likelihood(vae, x[[5, 2]], k=6, method=method, chunk=4).per_datum
        torch.testing.assert_close(part, whole[[5, 2]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [penalties.Commitment, penalties.CodebookDistance])
def test_the_distance_from_the_codes_steers_one_side_and_no_bound(make):
    posterior = posteriors.VectorQuantized(nn.Linear(3, 4), 2, 2, 5, decay=None)
    vae = rp.VAE(priors.Codes(posterior), rp.likelihoods.Bernoulli(nn.Linear(4, 3)), posterior)
    draw = vae(bits(), k=2)
    value = make()(draw, 8)
    gap = draw.q.encoded - draw.q.vectors
    assert float(value.detach()) == pytest.approx(float((gap**2).sum(-1).mean().detach()))
    sides = [posterior.net.weight, posterior.quantizer.table]
    towards = torch.autograd.grad(value, sides, allow_unused=True, retain_graph=True)
    both = torch.autograd.grad((gap**2).sum(-1).mean(), sides)
    learns = 0 if make is penalties.Commitment else 1
    torch.testing.assert_close(towards[learns], both[learns])
    assert towards[1 - learns] is None
    objective = objectives.Penalized(objectives.ELBO(), make(), 3.0)
    assert torch.equal(objective.bound(draw), objectives.ELBO().bound(draw))
    (slope,) = torch.autograd.grad(objectives.ELBO().bound(draw).sum(), sides[1:], allow_unused=True)
    assert slope is None  # the bound teaches encoder and decoder; the codebook learns by its distance alone


def test_a_codebook_learned_by_gradient_trains():
    torch.manual_seed(1)
    posterior = posteriors.VectorQuantized(rp.networks.mlp(3, 4, (16,)), 2, 2, 6, decay=None)
    vae = rp.VAE(priors.Codes(posterior), rp.likelihoods.Bernoulli(rp.networks.mlp(4, 3, (16,))), posterior)
    objective = objectives.Penalized(objectives.ELBO(), penalties.Commitment(), 0.25)
    objective = objectives.Penalized(objective, penalties.CodebookDistance())
    x = bits().repeat(16, 1).float()
    history = rp.fit(vae.float(), x, objective=objective, epochs=60, batch_size=32, lr=1e-2, progress=False)
    assert history["train_reconstruction"][-1] > -1.5 * math.log(2)  # half of 3 log 2 = 2.08 nats
    assert history["train_kl"][-1] == pytest.approx(2 * math.log(6), abs=1e-5)


# ---- fitting the prior alone ----


def patterns(n: int = 300) -> Tensor:
    """Three bits of very unequal shares."""
    return bits()[torch.multinomial(torch.tensor([8.0, 4, 1, 1, 1, 1, 3, 6]), n, replacement=True)]


def other_weights(vae: rp.VAE) -> dict[str, Tensor]:
    own = {f"prior.{n}" for n, _ in vae.prior.named_parameters()}
    return {n: v.clone() for n, v in vae.state_dict().items() if n not in own}


PRIORS_TO_FIT = {
    "Codes": lambda: model(POSTERIORS["VectorQuantized"]),
    "Mixture": lambda: gaussian(lambda q: priors.Mixture(2, 3)),
    "VampPrior": lambda: gaussian(lambda q: priors.VampPrior(q, 4, (3,))),
    "Flow": lambda: gaussian(lambda q: priors.Flow(2, 1, (4,))),
}


def gaussian(make) -> rp.VAE:
    q = posteriors.DiagonalGaussian(nn.Sequential(rp.networks.mlp(3, 4, (4,)), nn.Dropout(0.5)))
    return shaken(rp.VAE(make(q), rp.likelihoods.Bernoulli(nn.Linear(2, 3)), q))


@pytest.mark.parametrize("make", PRIORS_TO_FIT.values(), ids=PRIORS_TO_FIT)
def test_fitting_a_prior_raises_the_bound_and_keeps_every_other_bit(make):
    vae, x = make().float(), patterns().float()
    before, frozen = rp.evaluate.elbo(vae, x, k=20), other_weights(vae)
    open_ = [w.requires_grad for w in vae.parameters()]
    history = rp.fit_prior(vae, x, epochs=20, lr=1e-2, batch_size=50, progress=False)
    after = rp.evaluate.elbo(vae, x, k=20)
    assert float(after) > float(before) + 0.05
    assert len(history) == 20
    now = vae.state_dict()
    assert frozen
    assert all(torch.equal(v, now[n]) for n, v in frozen.items())
    assert [w.requires_grad for w in vae.parameters()] == open_


def test_a_fitted_independent_prior_is_the_shares_of_the_codes():
    """At the empirical shares the gradient vanishes, no other shares do better, and the fit comes there."""
    vae, x = model(POSTERIORS["FiniteScalar"], "independent"), patterns()
    index = vae.posterior(x).index
    shares = nn.functional.one_hot(index, vae.posterior.quantizer.codes).double().mean(0)
    best = -float(torch.special.entr(shares).sum())
    rp.fit_prior(vae, x, epochs=1500, lr=1e-1, batch_size=300, progress=False)
    fitted = vae.prior.logits.softmax(-1)
    value = vae.prior().log_mass(index).mean()
    assert best - 2e-3 < float(value.detach()) <= best + 1e-12
    torch.testing.assert_close(fitted.detach(), shares, rtol=0, atol=1e-3)
    with torch.no_grad():
        vae.prior.logits.copy_((shares + 1e-300).log())
    value = vae.prior().log_mass(index).mean()
    assert float(value.detach()) == pytest.approx(best, abs=1e-12)
    (slope,) = torch.autograd.grad(value, [vae.prior.logits])
    assert float(slope.abs().max()) < 1e-12


def test_an_autoregressive_prior_learns_what_an_independent_one_cannot():
    """Two groups that always agree: log 2 nats, against 2 log 2."""
    posterior = posteriors.FiniteScalar(SAME, (2,), 2)
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).repeat(50, 1)
    values = {}
    for over in ("independent", "autoregressive"):
        decoder = rp.likelihoods.Gaussian(Function(lambda z: z), 1.0)
        vae = rp.VAE(priors.Codes(posterior, over, (8,)), decoder, posterior)
        rp.fit_prior(vae, x, epochs=200, lr=3e-2, progress=False)
        values[over] = float(vae.prior().log_prob(x).mean().detach())
    assert values["independent"] == pytest.approx(-2 * math.log(2), abs=1e-3)
    assert values["autoregressive"] == pytest.approx(-math.log(2), abs=1e-2)


def test_a_prior_without_weights_of_its_own_is_not_fitted():
    posterior = POSTERIORS["FiniteScalar"].make()
    decoder = rp.likelihoods.Bernoulli(nn.Linear(OUT, 3))
    for prior in (priors.StandardNormal(OUT), priors.Codes(posterior)):
        refused(lambda p=prior: rp.fit_prior(rp.VAE(p, decoder, posterior), bits()), "no parameters of its own")


# ---- files ----


@each_prior
def test_a_model_of_codes_is_saved_once_and_comes_back_with_the_same_bits(row, tmp_path):
    prior = row.make()
    vae = shaken(rp.VAE(prior, rp.likelihoods.Gaussian(nn.Linear(OUT, 2)), prior.posterior))
    x = torch.randn(6, 2)
    vae.train().absorb(vae(x))
    assert not [n for n in vae.state_dict() if n.startswith("prior.posterior")]
    again = rebuild(tomllib.loads(dump_toml(describe(vae))))
    again.load_state_dict(vae.state_dict())
    rp.save(vae, tmp_path)
    for other in (again, rp.load(tmp_path)):
        assert other.prior.posterior is other.posterior
        assert describe(other) == describe(vae)
        expected, got = vae(x), other(x)
        for name in ("z", "log_px", "log_pz"):
            assert torch.equal(getattr(got, name), getattr(expected, name)), name


@pytest.mark.parametrize("decay", [0.9, None])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(decay, tmp_path):
    def fresh() -> rp.VAE:
        torch.manual_seed(3)
        q = posteriors.VectorQuantized(rp.networks.mlp(3, 4, (6,)), 2, 2, 40, decay, dead=0.2)  # too many: restarts
        return rp.VAE(priors.Codes(q, "independent"), rp.likelihoods.Bernoulli(rp.networks.mlp(4, 3)), q).float()

    options = {"objective": objectives.Penalized(objectives.ELBO(), penalties.Commitment(), 0.25), "batch_size": 32}
    x, whole, part = patterns().float() + 0.0, fresh(), fresh()
    rp.fit(whole, x, epochs=6, progress=False, **options)
    rp.fit(fresh(), x, epochs=3, progress=False, out=tmp_path, **options)
    rp.fit(part, x, epochs=6, progress=False, out=tmp_path, resume=True, **options)
    for other in (part, rp.load(tmp_path)):
        assert all(torch.equal(v, whole.state_dict()[n]) for n, v in other.state_dict().items())


# ---- what is refused ----


def test_what_makes_no_sense_is_refused_by_name():
    row = POSTERIORS["VectorQuantized"]
    vector, decoder, x = row.wrap(nn.Linear(3, OUT)), rp.likelihoods.Bernoulli(nn.Linear(OUT, 3)), bits()
    normal, p = posteriors.DiagonalGaussian(nn.Linear(3, 2 * OUT)), priors.StandardNormal(OUT)
    for made in (lambda: rp.VAE(p, decoder, vector), lambda: rp.VAE(priors.Codes(vector), decoder, normal)):
        refused(lambda m=made: m()(x), "the posterior gives", "the prior expects", "VectorQuantized with Codes")
    refused(lambda: priors.Codes(normal), "DiagonalGaussian has none")
    refused(lambda: priors.Codes(vector, "unifrom"), "did you mean 'uniform'")
    refused(priors.VampPrior(vector, 3, (3,)), "all mass on one point")
    refused(lambda: POSTERIORS["FiniteScalar"].wrap(nn.Linear(3, 5))(x), "3 groups of 2 numbers are 6; there are 5")
    vae = rp.VAE(priors.Codes(vector), decoder, vector)
    refused(lambda: objectives.CUBO(4).bound(vae(x, k=4)), "one code")
    for method in ("ais", "exact"):
        refused(lambda m=method: rp.evaluate.log_likelihood(vae, x, method=m))
    gauss = rp.VAE(p, decoder, normal)
    refused(lambda: penalties.Commitment()(gauss(x), 8), "quantised posterior")
    for wrong in ((0, 2, 4), (1, 2, 0), (1, True, 4)):
        refused(lambda w=wrong: posteriors.VectorQuantized(SAME, *w), "whole numbers")
    for wrong in ({"decay": 1.0}, {"decay": -0.1}, {"dead": 1.0}):
        refused(lambda w=wrong: posteriors.VectorQuantized(SAME, 1, 2, 4, **w), "below 1")
    refused(lambda: posteriors.FiniteScalar(SAME, (3, 1)), "at least 2 levels")


# ---- recipes ----


@pytest.mark.parametrize("name", ["vq_vae", "fsq_vae"])
def test_with_convolutions_the_groups_are_positions_of_the_feature_map(name):
    """A change in the last corner leaves the codes of all positions whose window does not reach there."""
    model, _ = rp.recipes.RECIPES[name]((16, 16), 32, network="conv", channels=(4, 8))
    assert model.posterior.quantizer.groups == 16
    x = torch.rand(5, 16, 16).round()
    y = x.clone()
    y[:, 15, 15] = 1 - y[:, 15, 15]
    one, two = (model.posterior(t).encoded.reshape(5, 4, 4, 2) for t in (x, y))
    changed = (one != two).any(-1).any(0)
    assert bool(changed[3, 3])
    assert not changed[:2].any()
    assert not changed[:, :2].any()
    z = torch.randn(16, 2).flatten()
    other = z.clone()
    other[-2:] += 1.0
    images = model.likelihood(torch.stack([z, other])).mean.detach()
    assert torch.equal(images[0, :8, :8], images[1, :8, :8])
    assert not torch.equal(images[0, 12:, 12:], images[1, 12:, 12:])
    assert model.sample(3).shape == (3, 16, 16)
    refused(lambda: rp.recipes.RECIPES[name]((16, 16), 10, network="conv", channels=(4, 8)), "multiple of 16")
    refused(lambda: rp.recipes.RECIPES[name]((16, 16), 11), "no multiple of the 2 numbers of a group")
