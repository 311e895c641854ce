# %% [markdown]
# # 11. Before the autoencoder: variational inference in a mixture of Gaussians
#
# Variational inference is older than neural networks, and best understood where every step can be written down. The
# review of Blei, Kucukelbir and McAuliffe (2017) does it for a Bayesian mixture of Gaussians. Here their algorithm
# runs, is held against the exact answer, is made fast for large data, and at last becomes what this course is about: an
# encoder.

# %%
import itertools
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import PALETTE, QUICK, size
from scipy.special import logsumexp, softmax
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import BayesianGaussianMixture

import reparam as rp

rng = np.random.default_rng(0)

# %% [markdown]
# ## The model
#
# $K$ means are drawn once, a class for every datum, and the datum around the mean of its class (Blei et al. 2017,
# section 2; here in $D$ dimensions):
#
# $$\mu_k \sim N(0, \tau^2 I), \qquad c_i \sim \mathrm{Categorical}(\tfrac1K), \qquad x_i \mid c_i, \mu \sim N(\mu_{c_i}, I) .$$

# %%
TAU = 5.0


def simulate(n, means):
    """n data around these means (K, D), and their classes."""
    classes = rng.integers(len(means), size=n)
    return means[classes] + rng.normal(size=(n, means.shape[1])), classes


# %% [markdown]
# ## The exact evidence of a small case
#
# $p(x) = \int \sum_c p(x, c, \mu)\, d\mu$: given the classes, the integral over $\mu$ is that of a Gaussian and has a
# closed form, but there are $K^n$ ways to assign classes. For nine data and three classes that is 19,683 and can be
# done; for a hundred data it is a number of 48 digits.


# %%
def log_evidence(x, k):
    """log p(x) in nats, by a sum over all assignments of classes."""
    n, dim = x.shape
    assignments = np.eye(k)[np.array(list(itertools.product(range(k), repeat=n)))]  # (k^n, n, k)
    count, total = assignments.sum(1), np.einsum("ank,nd->akd", assignments, x)
    # of the data of one class: N(0, I + tau² 11') in each dimension
    shrink = TAU**2 / (1 + count * TAU**2)
    log_class = -dim / 2 * np.log1p(count * TAU**2) + (shrink * np.square(total).sum(2)) / 2
    log_all = log_class.sum(1) - np.square(x).sum() / 2 - n * dim / 2 * math.log(2 * math.pi) - n * math.log(k)
    return logsumexp(log_all)


# %% [markdown]
# One does not trust such a formula before one has seen the number by another road. With two classes in one dimension,
# $\mu$ has two coordinates and the integral over them can be done on a grid.

# %%
tiny = simulate(5, np.array([[-2.0], [1.0]]))[0]
line = np.linspace(-40, 40, size(2001, 801))
log_prior = -(line**2) / (2 * TAU**2) - math.log(TAU * math.sqrt(2 * math.pi))
log_each = -((tiny[:, 0, None] - line) ** 2) / 2 - math.log(math.sqrt(2 * math.pi))  # (n, grid)
log_joint = log_prior[:, None] + log_prior + sum(np.logaddexp(row[:, None], row) - math.log(2) for row in log_each)
by_grid = logsumexp(log_joint) + 2 * math.log(line[1] - line[0])
by_sum = log_evidence(tiny, 2)
print(f"log p(x) by the sum over classes {by_sum:.9f}, by the integral over means {by_grid:.9f} nats")
assert abs(by_sum - by_grid) < 1e-8

# %% [markdown]
# ## Coordinate ascent
#
# The approximation lets everything be independent (the mean-field family, section 2.3):
# $q(\mu, c) = \prod_k N(\mu_k; m_k, s_k^2 I) \prod_i \mathrm{Categorical}(c_i; \varphi_i)$. With all other factors
# held, the best factor is known in closed form (section 3),
#
# $$\varphi_{ik} \propto \exp\Big(m_k^\top x_i - \tfrac12 (\lVert m_k \rVert^2 + D s_k^2)\Big), \qquad
#   s_k^2 = \frac{1}{1/\tau^2 + \sum_i \varphi_{ik}}, \qquad m_k = s_k^2 \sum_i \varphi_{ik} x_i ,$$
#
# and one goes round. Every step raises the ELBO or leaves it, so it cannot go wrong, only end in a local
# optimum.


# %%
def responsibilities(x, m, s2):
    """The best q(c) given q(mu): (N, K)."""
    return softmax(x @ m.T - (np.square(m).sum(1) + x.shape[1] * s2) / 2, axis=1)


def means_given(phi, x, scale=1.0):
    """The best q(mu) given q(c), each datum counted ``scale`` times: m (K, D) and s² (K,)."""
    s2 = 1 / (1 / TAU**2 + scale * phi.sum(0))
    return s2[:, None] * scale * (phi.T @ x), s2


def bound(x, phi, m, s2):
    """The ELBO in nats, all of it: for each datum E log p(x|c, mu) + E log p(c) - E log q(c), less KL(q(mu) || p(mu))."""
    k, dim = m.shape
    square = np.square(x[:, None] - m).sum(2) + dim * s2
    each = phi * (-square / 2 - dim / 2 * math.log(2 * math.pi) - math.log(k) - np.log(np.maximum(phi, 1e-300)))
    kl = 0.5 * (dim * s2 / TAU**2 + np.square(m).sum(1) / TAU**2 - dim - dim * np.log(s2 / TAU**2)).sum()
    return each.sum() - kl


def coordinate_ascent(x, k, sweeps, seed):
    """q(mu) after so many sweeps from k data as means, and the bound after each sweep."""
    m = x[np.random.default_rng(seed).choice(len(x), k, replace=False)]
    s2, bounds = np.ones(k), []
    for _ in range(sweeps):
        phi = responsibilities(x, m, s2)
        m, s2 = means_given(phi, x)
        bounds.append(bound(x, phi, m, s2))
    return m, s2, bounds


corners = np.array([[-2.4, -1.2], [2.4, -1.2], [0.0, 3.0]])
small = simulate(size(9, 7), corners)[0]
exact = log_evidence(small, 3)
runs = [coordinate_ascent(small, 3, 30, seed) for seed in range(8)]
for _, _, bounds in runs:
    assert all(b - a > -1e-9 for a, b in itertools.pairwise(bounds))
    assert bounds[-1] <= exact
best = max(runs, key=lambda run: run[2][-1])[2][-1]
print(
    f"log p(x) {exact:.4f}, the best of 8 runs {best:.4f}, the gap {exact - best:.4f}; log 3! = {math.log(6):.4f} nats"
)

# %%
figure, axis = plt.subplots(figsize=(6.2, 3.2))
for i, (_, _, bounds) in enumerate(runs):
    axis.plot(range(1, 31), bounds, color=PALETTE[0], alpha=0.5, lw=1.2, label="ELBO of a run" if i == 0 else None)
axis.axhline(exact, color=PALETTE[1], label="log p(x), exact")
axis.axhline(exact - math.log(6), color=PALETTE[1], ls=":", label="log p(x) - log 3!")
axis.set(xlabel="sweep", ylabel="nats", title="The bound, sweep by sweep", xscale="log")
axis.legend(loc="lower right")
plt.show()

# %% [markdown]
# Each run climbs, never falls, and stays below the exact line. Here, with three clusters well apart, all eight end at the
# same height; that need not be so, and with more data below it is not. And even the best stays below by about
# $\log 3! = 1.79$ nats, for a reason worth knowing: the classes have no names. To each
# explanation of the data there are $3!$ others with names exchanged, the posterior has six equal modes, and $q$ sits in
# one of them (page 3: mode-seeking). Where the modes are well apart, that is nearly all that it loses.

# %%
assert exact - best >= math.log(6) - 0.02
assert exact - best < math.log(6) + 0.5

# %% [markdown]
# ## Large data: stochastic variational inference
#
# A sweep looks at all data before it moves once. Stochastic variational inference (Hoffman et al. 2013; Blei et al.
# 2017, section 4.3) looks at a few, imagines that all data are like these, and goes a part of the way there. In the
# natural parameters of $q(\mu_k)$, $\lambda_k = (m_k/s_k^2, 1/s_k^2)$, that is a step of natural gradient:
#
# $$\lambda \leftarrow (1 - \rho_t)\, \lambda + \rho_t\, \hat\lambda, \qquad \rho_t = (t + \text{delay})^{-0.7},$$
#
# with $\hat\lambda$ the coordinate update as if the batch were the whole data, each datum counted $N/B$ times. The
# rates sum to infinity and their squares do not (Robbins and Monro), so it converges.

# %%
k, dim, n = 8, 2, size(200_000, 2_000)
truth = rng.normal(size=(k, dim)) * TAU
large, classes = simulate(n, truth)
fresh, fresh_classes = simulate(size(20_000, 500), truth)
m_start, _ = kmeans_plusplus(large[:1000], k, random_state=0)  # data far from each other, the same for all


def log_predictive(x, m, s2):
    """The mean of log p(x new | data) under q(mu), nats per datum: a mixture of N(m_k, (1 + s_k²) I)."""
    square = np.square(x[:, None] - m).sum(2)
    return float(
        logsumexp(-square / (2 * (1 + s2)) - dim / 2 * np.log(2 * math.pi * (1 + s2)), axis=1).mean() - math.log(k)
    )


def coordinate(sweeps, m):
    """Coordinate ascent from means m on all of the large data, with the seconds and the q(mu) after each sweep."""
    s2, trace, started = np.ones(k), [], time.perf_counter()
    for _ in range(sweeps):
        m, s2 = means_given(responsibilities(large, m, s2), large)
        trace.append((n * (len(trace) + 1), time.perf_counter() - started, m, s2))
    return trace


def stochastic(steps, batch=200):
    """Stochastic variational inference, with the seconds and the q(mu) after each step."""
    m, s2, trace, started = m_start, np.ones(k), [], time.perf_counter()
    for t in range(steps):
        x = large[rng.integers(n, size=batch)]
        to_m, to_s2 = means_given(responsibilities(x, m, s2), x, scale=n / batch)
        rho = (t + 1.0) ** -0.7
        natural = (1 - rho) * m / s2[:, None] + rho * to_m / to_s2[:, None]
        precision = (1 - rho) / s2 + rho / to_s2
        m, s2 = natural / precision[:, None], 1 / precision
        trace.append((batch * (t + 1), time.perf_counter() - started, m, s2))
    return trace


traces = {"coordinate ascent": coordinate(size(40, 5), m_start), "stochastic": stochastic(size(2000, 40))}

# %% [markdown]
# ## Amortised: an encoder for the same model
#
# Both algorithms find $\varphi_i$ for every datum anew. Amortised inference lets a network answer,
# $\varphi_i = \mathrm{encoder}(x_i)$, and trains it together with $q(\mu)$ by the gradient of the same bound. That is a
# variational autoencoder: code $c$, decoder $\mu$. The encoder need not be deep: the best $\varphi$ is the softmax of a
# **linear** function of $x$ (look at the formula of $\varphi$ above), so with a linear encoder nothing is lost by amortising.
#
# The code is discrete and has few values, so the average over $q(c|x)$ is a sum, without any sampling.


# %%
def amortised(steps, batch=200):
    """q(mu) and an encoder by Adam on the bound of batches, with the seconds after each step."""
    torch.manual_seed(0)
    encoder = torch.nn.Linear(dim, k, dtype=torch.float64)
    m = torch.tensor(m_start, requires_grad=True)
    log_s2 = torch.full((k,), -math.log(n / k), dtype=torch.float64, requires_grad=True)
    with torch.no_grad():  # it begins where the others do
        encoder.weight.copy_(m)
        encoder.bias.copy_(-m.square().sum(1) / 2)
    adam = torch.optim.Adam([*encoder.parameters(), m, log_s2], lr=0.05)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    x_all, trace, started = torch.from_numpy(large), [], time.perf_counter()
    for t in range(steps):
        x = x_all[torch.from_numpy(rng.integers(n, size=batch))]
        log_phi, s2 = encoder(x).log_softmax(1), log_s2.exp()
        square = (x.unsqueeze(1) - m).square().sum(2) + dim * s2
        each = (log_phi.exp() * (-square / 2 - math.log(k) - log_phi)).sum(1) - dim / 2 * math.log(2 * math.pi)
        kl = 0.5 * (dim * s2 / TAU**2 + m.square().sum(1) / TAU**2 - dim - dim * (log_s2 - 2 * math.log(TAU))).sum()
        loss = kl / n - each.mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
        trace.append(
            (batch * (t + 1), time.perf_counter() - started, m.detach().numpy().copy(), log_s2.detach().exp().numpy())
        )
    return trace, encoder


traces["amortised"], encoder = amortised(size(2000, 40))

# %%
started = time.perf_counter()
sklearn = BayesianGaussianMixture(
    n_components=k,
    covariance_type="spherical",
    weight_concentration_prior_type="dirichlet_distribution",
    max_iter=100,
    tol=size(1e-3, 1e3),
    random_state=0,
).fit(large)
seconds = time.perf_counter() - started

best_possible = log_predictive(fresh, truth, np.zeros(k))
print(f"{'':26s} data seen   seconds   log p(new x)   short of the true means   classes (Rand)")
for name, trace in traces.items():
    seen, took, m, s2 = trace[-1]
    fit = log_predictive(fresh, m, s2)
    rand = adjusted_rand_score(fresh_classes, responsibilities(fresh, m, s2).argmax(1))
    print(f"{name:26s} {seen:9d} {took:9.2f} {fit:14.4f} {best_possible - fit:25.4f} {rand:16.3f}")
fit, rand = sklearn.score(fresh), adjusted_rand_score(fresh_classes, sklearn.predict(fresh))
print(
    f"{'scikit-learn':26s} {n * sklearn.n_iter_:9d} {seconds:9.2f} {fit:14.4f} {best_possible - fit:25.4f} {rand:16.3f}"
)

# %% [markdown]
# The first three have the same model, the same start and the same goal. (scikit-learn's `BayesianGaussianMixture` is
# coordinate ascent too, for a richer model that also learns weights and variances, started by k-means.) What differs is
# how much must be seen before anything is learned:

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.5))
for (name, trace), line in zip(traces.items(), ("o-", "-", "--"), strict=True):
    kept = sorted({round(i) for i in np.geomspace(1, len(trace), 60)})
    short = [best_possible - log_predictive(fresh, *trace[i - 1][2:]) for i in kept]
    axes[0].plot([trace[i - 1][0] for i in kept], np.maximum(short, 1e-5), line, ms=3, label=name)
axes[0].set(xscale="log", yscale="log", xlabel="data seen", ylabel="nats short of the true means")
axes[0].set_title("log p(new x), by how much was seen")
axes[0].legend()
axes[1].scatter(*fresh[:3000].T, s=1.5, lw=0, color="#b0b0b0")
axes[1].scatter(*truth.T, marker="o", s=70, facecolors="none", edgecolors=PALETTE[1], label="true means")
for (name, trace), marker in zip(traces.items(), "+x1", strict=True):
    axes[1].scatter(*trace[-1][2].T, marker=marker, s=45, label=name)
axes[1].set(xlabel="x₁", ylabel="x₂", title="The means found")
axes[1].legend(fontsize=7)
plt.show()

# %% [markdown]
# All three end at the same place, and a tenth of a nat short of the true means. The right panel shows why: two means share
# one cluster, and one mean has to serve two. From this start the ascent leads here, to a local optimum, which no step size
# and no encoder mends. What helps is another start. Here are ten, of which the first is the one above. Nobody knows the true
# means in earnest, and nobody needs to: the bound, which training can see, tells the best.

# %%
starts = [kmeans_plusplus(large[:1000], k, random_state=seed)[0] for seed in range(size(10, 2))]
ends = [coordinate(size(40, 5), m)[-1][2:] for m in starts]
bounds = [bound(large, responsibilities(large, m, s2), m, s2) / n for m, s2 in ends]
short = [best_possible - log_predictive(fresh, m, s2) for m, s2 in ends]
print("start   ELBO per datum   new x: short of the true means, nats")
for i, (value, nats) in enumerate(zip(bounds, short, strict=True)):
    print(f"{i:5d} {value:16.4f} {nats:14.4f}{'   the best bound' if value == max(bounds) else ''}")
if not QUICK:
    assert short[int(np.argmax(bounds))] < 0.01
    assert short[0] > 0.05

# %% [markdown]
# (scikit-learn takes its one start from k-means.)

# %% [markdown]
# Did the encoder learn what the formula of $\varphi$ says? For its own $q(\mu)$ the best responsibilities are known:

# %%
_, _, m, s2 = traces["amortised"][-1]
with torch.no_grad():
    phi = encoder(torch.from_numpy(fresh)).softmax(1).numpy()
loss = (bound(fresh, responsibilities(fresh, m, s2), m, s2) - bound(fresh, phi, m, s2)) / len(fresh)
print(f"lost by amortising: {loss:.5f} nats per datum")
assert loss >= -1e-9
if not QUICK:
    assert loss < 0.01

# %% [markdown]
# ## The same as three parts
#
# Who is content with one value for the means, in place of a distribution over them, writes the model in reparam as
# ever: a categorical prior, a likelihood whose network is a table of means, a categorical posterior that lists its
# values. Everything in `rp.evaluate` then reads it; `method="exact"` sums over the classes.

# %%
torch.manual_seed(0)
table = torch.nn.Linear(k, dim, bias=False)
with torch.no_grad():
    table.weight.copy_(torch.tensor(m_start.T))
q = rp.posteriors.Categorical(rp.networks.mlp(dim, k, (32,)), groups=1, classes=k, gradient="enumerate")
vae = rp.VAE(rp.priors.Categorical(1, k), rp.likelihoods.Gaussian(table, scale=1.0), q)
some = torch.tensor(large[: size(20_000, 500)], dtype=torch.float32)
rp.fit(vae, some, epochs=size(20, 1), lr=rp.schedules.Cosine(0.01, 1e-4, over=1.0), seed=0)
new = torch.tensor(fresh, dtype=torch.float32)
elbo, log_p = rp.evaluate.elbo(vae, new), rp.evaluate.log_likelihood(vae, new, method="exact")
print(f"ELBO {elbo.value:.4f}, log p(x) {log_p.value:.4f}, with the true means {best_possible:.4f} nats per datum")
by_hand = log_predictive(fresh, table.weight.detach().double().numpy().T, np.zeros(k))
assert abs(log_p.value - by_hand) < 1e-5
assert elbo.value <= log_p.value + 1e-6

# %% [markdown]
# ## To try
#
# - Move the corners of the small case together: `corners * 0.3`. The gap is no longer $\log 3!$. Larger or smaller, and
#   why?
# - `rho = 1` in the stochastic algorithm: what does it become, and why does it not settle?
# - Take 50 data instead of 200,000. Which of the three would you use?
