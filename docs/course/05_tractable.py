# %% [markdown]
# # 5. Distributions one can compute with
#
# The bound holds for every $q(z|x)$. To work with, $q$ must be easy to draw from, easy to evaluate, and its divergence
# from the prior easy to take. Gaussians are all three. This page is about which Gaussians, how a network gives them,
# and what the simplest choice costs.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import PALETTE, QUICK, size
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

import reparam as rp

torch.manual_seed(0)

# %% [markdown]
# ## Two formulas
#
# For $q = N(\mu, \Sigma)$ in $D$ dimensions and $p = N(0, I)$,
#
# $$\mathrm{KL}(q \| p) = \tfrac12 \big(\operatorname{tr} \Sigma + \mu^\top \mu - D - \log \det \Sigma\big) ,$$
#
# and with a diagonal $\Sigma = \operatorname{diag}(\sigma^2)$ it falls apart into dimensions,
# $\tfrac12 \sum_j (\sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2)$ (Kingma & Welling 2014, appendix B). Whoever doubts a
# formula draws samples: the mean of $\log q(z) - \log p(z)$ under $q$ is the same number, with an error that can be
# stated.

# %%
dim, n = 3, size(1_000_000, 20_000)
prior = Independent(Normal(torch.zeros(dim, dtype=torch.float64), 1.0), 1)
mean = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
scale = torch.tensor([0.3, 1.0, 0.7], dtype=torch.float64)
factor = torch.tensor([[0.3, 0, 0], [0.4, 0.9, 0], [-0.5, 0.2, 0.7]], dtype=torch.float64)
covariance = factor @ factor.T
by_hand = {
    "diagonal": 0.5 * float((scale**2 + mean**2 - 1 - scale.log() * 2).sum()),
    "full": 0.5 * float(covariance.trace() + mean @ mean - dim - covariance.logdet()),
}
gaussians = {"diagonal": Independent(Normal(mean, scale), 1), "full": MultivariateNormal(mean, scale_tril=factor)}
for name, q in gaussians.items():
    z = q.sample((n,))
    ratio = q.log_prob(z) - prior.log_prob(z)
    sampled, stderr = float(ratio.mean()), float(ratio.std()) / math.sqrt(n)
    formula = float(kl_divergence(q, prior))
    print(
        f"{name:8s}: by hand {by_hand[name]:.6f}, by kl_divergence {formula:.6f}, sampled {sampled:.4f} ± {stderr:.4f} nats"
    )
    assert abs(by_hand[name] - formula) < 1e-12
    assert abs(sampled - formula) < 4.5 * stderr  # fails once in 150,000 times

# %% [markdown]
# torch has closed forms for some pairs of distributions, reparam adds those that are missing (here: full against
# diagonal). Where there is none, the ELBO falls back to samples by itself.
#
# ## Why the network gives log σ²
#
# A network's output is any real number, and a variance is positive. The output is therefore read as
# $s = \log \sigma^2$, and $\sigma = e^{s/2}$. There are good reasons beyond the sign. Look at the KL of one dimension
# as a function of $v = \sigma^2$, and of $s$:
#
# $$f(v) = \tfrac12 (v - 1 - \log v), \quad f'(v) = \tfrac12 (1 - 1/v) \qquad\qquad
#   f(s) = \tfrac12 (e^s - 1 - s), \quad f'(s) = \tfrac12 (e^s - 1) .$$
#
# Small variances are what a good encoder gives, and there $f'(v)$ explodes as $1/v$ while $f'(s)$ is never below
# $-\tfrac12$. A step of descent that is fine at $v = 1$ throws a small $v$ far beyond, or across zero, where there is
# no logarithm any more.

# %%
v = torch.tensor(0.01, dtype=torch.float64)
s = v.log()
print("  step      v by steps in v        v by steps in s")
for step in range(6):
    print(f"{step:6d} {float(v):18.4f} {float(s.exp()):22.4f}")
    v, s = v - 0.1 * (1 - 1 / v) / 2, s - 0.1 * (s.exp() - 1) / 2
assert s.exp() < 1

# %% [markdown]
# One step in $v$ overshoots from 0.01 to 4.96, five times the goal; the steps in $s$ walk. The same is true of the
# decoder's scale, so `rp.likelihoods.Gaussian(scale="predicted")` reads log-variances too. For a full covariance the
# network gives the elements of a triangular factor $L$ with $\Sigma = L L^\top$: every covariance has one, every such
# $L$ gives a covariance, and $\log\det\Sigma = 2 \sum_j \log L_{jj}$ is a sum of the network's outputs, if it gives the
# logarithms of the diagonal. `FullGaussian.pack` shows the layout:

# %%
out = rp.posteriors.FullGaussian.pack(mean, factor)
print("means, log of the diagonal, below the diagonal:", [round(float(t), 3) for t in out])
q = rp.posteriors.FullGaussian(torch.nn.Identity())(out.unsqueeze(0))
assert torch.allclose(q.covariance_matrix[0], covariance)

# %% [markdown]
# ## What a diagonal q costs
#
# A diagonal covariance says: given $x$, the coordinates of the code are independent. They are not, as soon as two of
# them can explain the same thing. Take one number $x$ that is the sum of two latent ones,
# $x = z_1 + z_2 + \sigma\epsilon$. From $x$ we learn the sum, and nothing about the difference: the posterior is a
# narrow ridge.
#
# For a linear decoder $x = Wz + \sigma\epsilon$ the posterior is $N(m, \Lambda^{-1})$ with the precision
# $\Lambda = I + W^\top W / \sigma^2$. The best diagonal Gaussian has the same mean and the diagonal of the
# **precision** (put the derivative of $\mathrm{KL}(q\|p)$ in each $\sigma_j^2$ to zero: $\sigma_j^2 = 1/\Lambda_{jj}$),
# and what is left is
#
# $$\mathrm{KL} = \tfrac12 \Big(\sum_j \log \Lambda_{jj} - \log\det \Lambda\Big) ,$$
#
# in two dimensions with correlation $\rho$: $-\tfrac12 \log(1 - \rho^2)$.

# %%
sigma = 0.5
weight = torch.ones(1, 2, dtype=torch.float64)
precision = torch.eye(2, dtype=torch.float64) + weight.T @ weight / sigma**2
posterior_covariance = precision.inverse()
rho = float(posterior_covariance[0, 1] / posterior_covariance.diagonal().prod().sqrt())
gap = 0.5 * float(precision.diagonal().log().sum() - precision.logdet())
print(
    f"correlation of the posterior {rho:.3f}; a diagonal q loses {gap:.4f} nats; -log(1 - ρ²)/2 = {-math.log(1 - rho**2) / 2:.4f}"
)
assert abs(gap + math.log(1 - rho**2) / 2) < 1e-12

# %% [markdown]
# The formula is about the best $q$. Does training find it? The decoder is fixed at the true one, both encoders are
# linear and start at zero.


# %%
def trained(posterior, outputs):
    """The true model x = z1 + z2 + sigma noise, with an encoder trained on its data."""
    decoder, encoder = (torch.nn.Linear(*shape, dtype=torch.float64) for shape in ((2, 1), (1, outputs)))
    with torch.no_grad():
        for parameter, value in ((decoder.weight, 1), (decoder.bias, 0), (encoder.weight, 0), (encoder.bias, 0)):
            parameter.fill_(value)
    decoder.requires_grad_(False)
    model = rp.VAE(
        rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(decoder, scale=sigma), posterior(encoder)
    ).double()
    x = model.sample(size(4000, 400))
    rp.fit(
        model,
        x,
        objective=rp.objectives.ELBO(k=4),
        epochs=size(60, 1),
        lr=rp.schedules.Cosine(0.05, 1e-4, over=1.0),
        seed=0,
    )
    return model


torch.manual_seed(0)
models = {"diagonal": trained(rp.posteriors.DiagonalGaussian, 4), "full": trained(rp.posteriors.FullGaussian, 5)}
x = models["full"].sample(size(2000, 200))
log_p = rp.evaluate.log_likelihood(models["full"], x, method="exact")
lost = {}
for name, model in models.items():
    with torch.no_grad():
        q = model.posterior(x)
        mean = (x / sigma**2) @ (weight @ posterior_covariance)
        lost[name] = float(kl_divergence(q, MultivariateNormal(mean, precision_matrix=precision)).mean())
    elbo = rp.evaluate.elbo(model, x, k=100)
    print(
        f"{name:8s}: log p(x) {log_p.value:.4f}, ELBO {elbo.value:.4f}; KL(q || p(z|x)) {lost[name]:.4f} nats, by the formula {gap if name == 'diagonal' else 0:.4f}"
    )
if not QUICK:
    assert abs(lost["diagonal"] - gap) < 0.01
    assert lost["full"] < 0.01

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.7))
datum = torch.tensor([[1.5]], dtype=torch.float64)
line = torch.linspace(-1.5, 3, 201, dtype=torch.float64)
places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
true = MultivariateNormal(((datum / sigma**2) @ (weight @ posterior_covariance))[0], precision_matrix=precision)
levels = [math.exp(-(r**2) / 2) for r in (2, 1)]
for axis, (name, model) in zip(axes, models.items(), strict=True):
    with torch.no_grad():
        q = model.posterior(datum)
        for density, colour, fill in ((true, PALETTE[0], True), (q, PALETTE[1], False)):
            height = (density.log_prob(places) - density.log_prob(density.mean)).exp()
            if fill:
                axis.contourf(line, line, height, [*levels, 1.01], colors=[colour], alpha=0.25)
            axis.contour(line, line, height, levels, colors=[colour], linewidths=1.4)
    axis.set(xlabel="z₁", title=f"{name} q: {lost[name]:.2f} nats lost")
    axis.set_box_aspect(1)
axes[0].set_ylabel("z₂")
handles = [plt.Line2D([], [], color=c, label=t) for c, t in ((PALETTE[0], "p(z|x) at x = 1.5"), (PALETTE[1], "q(z|x)"))]
figure.legend(handles=handles, loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# (Contours of one and two standard deviations.) The diagonal $q$ stays inside the ridge: mode-seeking, as on page 3. It
# reports **variances that are too small**, and this is the known vice of factorised approximations (Blei et al. 2017,
# section 2.3 and figure 1). The full $q$ is the posterior.
#
# ## How it grows
#
# The price is set by the correlation, and there is no upper limit.

# %%
r = np.linspace(0, 0.999, 400)
figure, axis = plt.subplots(figsize=(5.4, 2.9))
axis.plot(r, -np.log(1 - r**2) / 2)
axis.plot([abs(rho)], [gap], "o", color=PALETTE[1])
axis.annotate("this model", (abs(rho), gap), (-62, 2), textcoords="offset points", fontsize=8)
axis.set(
    xlabel="correlation of the posterior, |ρ|",
    ylabel="lost by a diagonal q, nats",
    title="The price of independence",
    ylim=(0, None),
)
plt.show()

# %% [markdown]
# In practice the decoder is learned together with $q$, and a decoder can learn to have posteriors that a diagonal $q$
# fits; much of the gap is paid in this hidden way, by a model that is less good than it could be.
# `rp.evaluate.diagnose` (on the command line `reparam doctor`) says how much of log p(x) is lost by the family of $q$
# and how much by the encoder. Between the two families lie `LowRankGaussian` and, beyond, `Flow`.

# %% [markdown]
# ## To try
#
# - Five latent numbers whose sum is seen: `weight = torch.ones(1, 5)`. What does a diagonal $q$ lose? Derive
#   $\log\det\Lambda$ first.
# - The same posterior could be had by a rotated prior: is there a decoder with the same $p(x)$ and an uncorrelated
#   posterior? (There is, and the ELBO prefers it.)
