# %% [markdown]
# # 6. The reparameterization trick
#
# To raise the ELBO we need the gradient of an average in the parameters of the distribution that is averaged over,
#
# $$\nabla_\phi\, \mathbb{E}_{q_\phi(z)}[f(z)] .$$
#
# One cannot just draw $z$ and differentiate $f(z)$: the draw hides how $z$ depends on $\phi$. This page compares the
# two ways out, by their bias (none has any) and by their variance (there the difference lies).

# %%
import math

import matplotlib.pyplot as plt
import torch
from common import digits, size

import reparam as rp

torch.manual_seed(0)

# %% [markdown]
# ## Two estimators
#
# **Score function** (also REINFORCE). As $\nabla q = q \nabla \log q$,
#
# $$\nabla_\phi\, \mathbb{E}_q[f(z)] = \mathbb{E}_q\big[f(z)\, \nabla_\phi \log q_\phi(z)\big]$$
#
# (the naive estimator of Kingma & Welling 2014, section 2.2; Blei et al. 2017, section 5). It needs nothing of $f$ but
# its values.
#
# **Reparameterization.** Write the draw as a function of the parameters and of noise that does not know them,
# $z = g_\phi(\epsilon)$, for a Gaussian $z = \mu + \sigma\epsilon$ with $\epsilon \sim N(0, 1)$. Then the average is
# over the noise, and the gradient goes inside:
#
# $$\nabla_\phi\, \mathbb{E}_q[f(z)] = \mathbb{E}_\epsilon\big[\nabla_\phi f(g_\phi(\epsilon))\big]$$
#
# (Kingma & Welling 2014, section 2.4). It needs the derivative of $f$, and knows in which direction to go from every
# single draw.
#
# Let $f(z) = z^2$. Everything is known: $\mathbb{E} f = \mu^2 + \sigma^2$, so the gradient in $\mu$ is $2\mu$, and the
# variances of one draw follow from the moments of a Gaussian,
#
# $$\mathrm{Var}[\text{reparameterized}] = 4\sigma^2, \qquad
#   \mathrm{Var}[\text{score}] = \frac{\mu^4}{\sigma^2} + 14\mu^2 + 15\sigma^2 .$$

# %%
mu, sigma, n = 1.0, 0.5, size(1_000_000, 20_000)
eps = torch.randn(n, dtype=torch.float64)
z = mu + sigma * eps
draws = {
    "reparameterized": 2 * z,  # d z²/dμ = 2 z dz/dμ
    "score": z**2 * (z - mu) / sigma**2,  # z² d log q/dμ
}
variance = {"reparameterized": 4 * sigma**2, "score": mu**4 / sigma**2 + 14 * mu**2 + 15 * sigma**2}
print("true gradient", 2 * mu)
for name, g in draws.items():
    stderr = float(g.std()) / math.sqrt(n)
    fourth = float(((g - g.mean()) ** 2 - g.var()).std()) / math.sqrt(n)
    print(
        f"{name:15s}: mean {float(g.mean()):.4f} ± {stderr:.4f}, variance {float(g.var()):.3f} ± {fourth:.3f}, by the formula {variance[name]:.3f}"
    )
    assert abs(float(g.mean()) - 2 * mu) < 4.5 * stderr
    assert abs(float(g.var()) - variance[name]) < 6 * fourth

# %% [markdown]
# No bias in either; the variance differs by a factor of 22 here. The score's variance even *grows* when $q$ gets narrow
# ($\mu^4/\sigma^2$), and adding a constant to $f$ changes it, though the gradient stays the same. The latter can be
# used: subtract from $f$ a baseline that does not depend on the draw, such as the mean of $f$ at the other draws. That
# helps, and does not close the gap.

# %%
figure, axis = plt.subplots(figsize=(6.4, 3.0))
f, k = z.reshape(-1, 10) ** 2, 10
others = (f.sum(1, keepdim=True) - f) / (k - 1)
draws["score, less the mean of nine others"] = ((f - others) * (z.reshape(-1, 10) - mu) / sigma**2).flatten()
assert abs(float(draws["score, less the mean of nine others"].mean()) - 2 * mu) < 4.5 * 4 / math.sqrt(n)
for name, g in draws.items():
    axis.hist(
        g,
        torch.linspace(-3, 14, 86).tolist(),
        density=True,
        histtype="step",
        lw=1.4,
        label=f"{name}: variance {float(g.var()):.2f}",
    )
axis.axvline(2 * mu, color="#6b6b6b", lw=1, ls=":")
axis.set(
    xlabel="gradient in μ from one draw of z",
    ylabel="density",
    title="One mean, three spreads (dotted: the true gradient)",
    xlim=(-3, 14),
    ylim=(0, 0.95),
)
axis.legend()
plt.show()

# %% [markdown]
# ## In more dimensions
#
# Let $f(z) = \sum_j z_j^2$. For the gradient in $\mu_1$ the other dimensions are irrelevant. Reparameterization knows
# this: $\partial f/\partial z_1$ does not contain them. The score multiplies the derivative of $\log q$ in one
# dimension by **all** of $f$, so that every further dimension adds noise.

# %%
dims = [1, 2, 5, 10, 20, 50, 100]
spread = {"reparameterized": [], "score": []}
for dim in dims:
    z = mu + sigma * torch.randn(size(20_000, 2000), dim, dtype=torch.float64)
    spread["reparameterized"].append(float((2 * z[:, 0]).var()))
    spread["score"].append(float((z.square().sum(1) * (z[:, 0] - mu) / sigma**2).var()))
figure, axis = plt.subplots(figsize=(5.6, 3.0))
for (name, values), marker in zip(spread.items(), "os", strict=True):
    axis.plot(dims, values, marker=marker, ms=4, label=name)
axis.set(
    xscale="log",
    yscale="log",
    xlabel="dimensions of z",
    ylabel="variance of the gradient in μ₁",
    title="Noise from dimensions that do not matter",
)
axis.legend()
plt.show()
assert spread["score"][-1] > 100 * spread["score"][0]

# %% [markdown]
# ## In a variational autoencoder
#
# The same with the ELBO of a digit as $f$, its gradient in all the weights of an encoder. `vae(x)` draws by
# reparameterization. For the score we take the draws as given (`detach`) and multiply
# $\log w = \log p(x, z) - \log q(z|x)$ by the derivative of $\log q$.

# %%
images, _ = digits()
torch.manual_seed(0)
vae = rp.recipes.vae((8, 8), latent_dim=10, likelihood="bernoulli", hidden=(64,), mean=images.mean(0))
rp.fit(vae, images, epochs=size(20, 1), seed=0)
x = images[:1]
weights = list(vae.posterior.parameters())


def gradient(value):
    """The gradient of a number in the encoder's weights, as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, weights)])


def reparameterized():
    """From one draw, through it."""
    return gradient(vae(x).log_w.sum())


def score():
    """From one draw, at it."""
    q = vae.posterior(x)
    draw = vae.at(q.sample((1,)), x, q=q)
    return gradient((draw.log_w.detach() * draw.log_qz).sum())


n = size(2000, 50)
found = {f.__name__: torch.stack([f() for _ in range(n)]) for f in (reparameterized, score)}
total = {name: float(g.var(0).sum()) for name, g in found.items()}
difference = found["reparameterized"].mean(0) - found["score"].mean(0)
expected = sum(total.values()) / n  # of the square of the difference of two means with one expectation
print("variance of the gradient, summed over weights:", {name: f"{t:.4g}" for name, t in total.items()})
print(f"ratio {total['score'] / total['reparameterized']:.0f}")
print(f"squared difference of the means {float(difference.square().sum()):.4g}, expected without bias {expected:.4g}")
assert total["score"] > 10 * total["reparameterized"]
assert 0.1 < float(difference.square().sum()) / expected < 3

# %% [markdown]
# So many times more samples would the score need for a gradient of the same accuracy. This is why variational
# autoencoders train with **one** draw for each datum. (For discrete codes, which have no derivative, reparam takes the
# score with baselines, or a relaxation: `rp.posteriors.Categorical(net, gradient="score")`.)
#
# ## Other families
#
# Kingma & Welling (2014, section 2.4) name three ways to write a draw as a function of parameters and noise.
#
# 1. **Inverse CDF**: $z = F^{-1}(u)$ with $u$ uniform. Exponential, Cauchy, logistic, Rayleigh, Pareto, Weibull,
#    Gumbel.
# 2. **Location and scale**: $z = \mu + \sigma\epsilon$ with $\epsilon$ from the standard member. Laplace, Student's t,
#    logistic, uniform, Gaussian.
# 3. **Composition**: functions of several such. Log-normal $e^{\mu + \sigma\epsilon}$, gamma with whole shape (a sum of
#    exponentials), Dirichlet (gammas over their sum), beta, chi-squared, F.
#
# For each: does the function give the right distribution? The largest distance between the CDF and the share of draws
# below, times $\sqrt n$, stays below 2.23 for 9,999 in 10,000 sets of draws (Kolmogorov). And does its derivative give
# the right gradient of $\mathbb{E} f$, with which variance beside the score's? Where no formula is short, torch's
# `rsample` differentiates the CDF implicitly, which serves gamma of any shape, and by composition beta and Dirichlet.

# %%
from scipy import stats


def uniform(*shape):
    """Uniform noise inside (0, 1)."""
    return torch.rand(*shape, dtype=torch.float64).clamp(1e-15, 1 - 1e-15)


def exponential(*shape):
    """Standard exponential noise, by its inverse CDF."""
    return -torch.log1p(-uniform(*shape))


def gaussian(*shape):
    """Standard normal noise."""
    return torch.randn(*shape, dtype=torch.float64)


def laplace(n):
    """Standard Laplace noise: an exponential with a sign."""
    return exponential(n) * (uniform(n) - 0.5).sign()


def student(n):
    """Standard Student's t with 5 degrees of freedom: a Gaussian over the root of a mean of squares."""
    return gaussian(n) / gaussian(n, 5).square().mean(1).sqrt()


# name: (z given the parameter a, the same distribution, f, the derivative of E f(z) in a)
families = {
    "inverse CDF": {
        "exponential of rate a": (
            lambda a: exponential(len(a)) / a,
            lambda a: stats.expon(scale=1 / a),
            lambda z: z,
            lambda a: -1 / a**2,
        ),
        "Weibull of scale a, shape 2": (
            lambda a: a * exponential(len(a)).sqrt(),
            lambda a: stats.weibull_min(2, scale=a),
            lambda z: z**2,
            lambda a: 2 * a,
        ),
        "logistic around a": (
            lambda a: a + uniform(len(a)).logit(),
            stats.logistic,
            lambda z: z**2,
            lambda a: 2 * a,
        ),
        "Gumbel around a": (
            lambda a: a - exponential(len(a)).log(),
            stats.gumbel_r,
            lambda z: z,
            lambda a: 1.0,
        ),
    },
    "location and scale": {
        "Laplace of scale a": (
            lambda a: 1 + a * laplace(len(a)),
            lambda a: stats.laplace(1, a),
            lambda z: z**2,
            lambda a: 4 * a,
        ),
        "Student's t of scale a": (
            lambda a: a * student(len(a)),
            lambda a: stats.t(5, scale=a),
            lambda z: z.abs(),
            lambda a: stats.t(5).expect(abs),
        ),
        "uniform from 0 to a": (
            lambda a: a * uniform(len(a)),
            lambda a: stats.uniform(0, a),
            lambda z: z**2,
            lambda a: 2 * a / 3,
        ),
    },
    "composition": {
        "log-normal, e^(a + ε/2)": (
            lambda a: (a + gaussian(len(a)) / 2).exp(),
            lambda a: stats.lognorm(0.5, scale=math.exp(a)),
            lambda z: z.log() ** 2,
            lambda a: 2 * a,
        ),
        "gamma of shape 3, rate a": (
            lambda a: exponential(len(a), 3).sum(1) / a,
            lambda a: stats.gamma(3, scale=1 / a),
            lambda z: z,
            lambda a: -3 / a**2,
        ),
        "gamma of shape a": (
            lambda a: torch.distributions.Gamma(a, 1.0).rsample(),
            stats.gamma,
            lambda z: z.log(),
            lambda a: float(torch.special.polygamma(1, torch.tensor(a, dtype=torch.float64))),
        ),
    },
}

a, n, h = 1.7, size(200_000, 5_000), 1e-5
print(f"{'':29s}  CDF   true    by path           by score          variances: path, score")
for how, members in families.items():
    print(how)
    for name, (draw, law, f, true) in members.items():
        parameter = torch.full((n,), a, dtype=torch.float64, requires_grad=True)
        z = draw(parameter)
        distance = math.sqrt(n) * stats.kstest(z.detach().numpy(), law(a).cdf).statistic
        (path,) = torch.autograd.grad(f(z).sum(), parameter)
        z = z.detach()
        density = [torch.from_numpy(law(a + step).logpdf(z.numpy())) for step in (h, -h)]
        slope = (density[0] - density[1]) / (2 * h)
        score = f(z) * torch.where(slope.isfinite(), slope, 0.0)  # the few draws within h of the edge of the uniform
        means = [float(g.mean()) for g in (path, score)]
        errors = [float(g.std()) / math.sqrt(n) for g in (path, score)]
        print(
            f"  {name:27s} {distance:5.2f} {true(a):6.3f} {means[0]:8.3f} ± {errors[0]:.3f} {means[1]:9.3f} ± {errors[1]:.3f} {float(path.var()):12.3f} {float(score.var()):8.3f}"
        )
        assert distance < 2.23
        assert abs(means[0] - true(a)) < 4.5 * errors[0] + 1e-9
        if name != "uniform from 0 to a":
            assert abs(means[1] - true(a)) < 4.5 * errors[1]
            assert score.var() > path.var()

# %% [markdown]
# Every path is right and has the smaller variance. One score is **wrong**: that of the uniform distribution, whose
# support ends at $a$. The exchange of derivative and integral, on which the score rests, is not allowed where the
# parameter moves the edge of the support; the path does not mind.
#
# In reparam a posterior of another family is a name: `posterior="laplace"`, `"gamma"`, `"dirichlet"`,
# `"logistic_normal"`, `"vmf"`, `"flow"` for `rp.recipes.vae`, or the classes of `rp.posteriors`. The objective is the
# same for all of them: it asks the distribution for a draw with a gradient, as every page of this course does.

# %%
for posterior in size(("laplace", "gamma", "dirichlet"), ("laplace",)):
    torch.manual_seed(0)
    other = rp.recipes.vae((8, 8), latent_dim=5, posterior=posterior, hidden=(64,), mean=images.mean(0))
    rp.fit(other, images[:1500], epochs=size(30, 1), seed=0)
    print(f"{posterior:10s}", rp.evaluate.elbo(other, images[1500:], k=10))

# %% [markdown]
# ## To try
#
# - Let $q$ get narrow on the second figure: `sigma = 0.05`. Which estimator minds?
# - The gradient in $\sigma$ instead of $\mu$: derive both variances for $f(z) = z^2$.
# - Write the Cauchy distribution by its inverse CDF. Why is there no row for it? (Think of $\mathbb{E} z$.)
