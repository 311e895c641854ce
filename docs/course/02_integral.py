# %% [markdown]
# # 2. The integral that cannot be done
#
# A latent-variable model makes a datum in two steps: it draws a code $z$ from a prior $p(z)$, and then a datum from
# $p(x|z)$. How likely it finds a datum $x$ is what all codes together say about it,
#
# $$p(x) = \int p(x|z)\, p(z)\, dz .$$
#
# This number is what we want to make large for our data, and what we want to report at the end. This page is about why
# it is hard to get, and how a second distribution $q(z|x)$ makes it easy.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import PALETTE, size

import reparam as rp

torch.manual_seed(0)

# %% [markdown]
# ## One dimension: just do it
#
# Take a code of one dimension that becomes a place on an arc, $g(z) = (\sin z, \cos z)$, with noise of standard
# deviation $\sigma = 0.1$ on both coordinates. In reparam a model is three parts: prior, likelihood and posterior. The
# likelihood takes any module as its network. The posterior comes later; until then any will do.


# %%
class Arc(torch.nn.Module):
    """g(z) = (sin z, cos z)."""

    def forward(self, z):
        """Shapes: z (..., 1) to (..., 2)."""
        return torch.cat([z.sin(), z.cos()], -1)


arc = rp.VAE(
    rp.priors.StandardNormal(1),
    rp.likelihoods.Gaussian(Arc(), scale=0.1),
    rp.posteriors.DiagonalGaussian(torch.nn.Linear(2, 2)),
).double()
x = torch.tensor([[math.sin(1.3), math.cos(1.3)]], dtype=torch.float64) * 1.05

# %% [markdown]
# With one dimension we can lay a fine grid over all codes that matter and add up the integrand: quadrature.
# `Draw.log_px` and `Draw.log_pz` are $\log p(x|z)$ and $\log p(z)$ at the codes we ask for.

# %%
grid = torch.linspace(-6, 6, 20001, dtype=torch.float64)
draw = arc.at(grid.reshape(-1, 1, 1), x)
integrand = (draw.log_px + draw.log_pz)[:, 0].exp().detach()
exact = math.log(float(torch.trapezoid(integrand, grid)))
library = float(rp.evaluate.log_likelihood(arc, x, method="exact"))
print(f"log p(x) by the grid: {exact:.9f} nats; by rp.evaluate.log_likelihood(method='exact'): {library:.9f}")
assert abs(exact - library) < 1e-6

# %%
figure, axis = plt.subplots(figsize=(6.2, 2.8))
axis.plot(grid, integrand / integrand.max(), color=PALETTE[1], label="p(x|z) p(z), scaled to 1")
axis.plot(grid, draw.log_pz[:, 0].exp(), color=PALETTE[0], label="p(z)")
axis.set(xlim=(-4, 4), xlabel="z", ylabel="density", title="Few codes explain this datum")
axis.legend()
plt.show()

# %% [markdown]
# Nearly all of the integral comes from a narrow stretch of codes near $z = 1.3$: those that explain this datum.
# Elsewhere the integrand is as good as zero. Keep this picture in mind.

# %% [markdown]
# ## Monte Carlo: ask the prior
#
# A grid of $n$ points for each dimension needs $n^D$ of them: $100^{20} = 10^{40}$ for 20 dimensions. The standard way
# out is to draw codes from the prior and average,
#
# $$\hat p_K(x) = \frac1K \sum_{i=1}^K p(x|z_i), \qquad z_i \sim p(z),$$
#
# which is right on average, whatever $K$ and the dimension. Its relative error is $\sqrt{v/K}$ with
# $v = \mathrm{Var}[p(x|z)] / p(x)^2$. With our grid both can be computed, and compared with what happens.

# %%
second = torch.trapezoid((2 * draw.log_px + draw.log_pz)[:, 0].exp(), grid)
v = float(second.detach()) * math.exp(-2 * exact) - 1
counts, repeats = [10, 100, 1000, 10000], size(1000, 50)
errors = []
for k in counts:
    z = torch.randn(k, repeats, 1, dtype=torch.float64)
    with torch.no_grad():
        log_p = arc.at(z, x.expand(repeats, -1)).log_px.logsumexp(0) - math.log(k)
    errors.append(float(((log_p - exact).exp() - 1).square().mean().sqrt()))
    print(f"K = {k:6d}: relative error {errors[-1]:.4f}, by the formula {math.sqrt(v / k):.4f}")
assert all(0.5 < e / math.sqrt(v / k) < 2 for e, k in zip(errors, counts, strict=True))

# %% [markdown]
# Ten times more samples, $\sqrt{10}$ times less error. In one dimension that is bearable. Now more of them.

# %% [markdown]
# ## Many dimensions
#
# We need a model whose $p(x)$ is known in every dimension: $x_j = z_j + \sigma\epsilon_j$ for each of $D$ coordinates.
# Then $p(x) = N(x; 0, (1 + \sigma^2) I)$, and as the coordinates are independent,
#
# $$1 + v = \prod_{j=1}^D \frac{\int p(x_j|z_j)^2\, p(z_j)\, dz_j}{p(x_j)^2}
#         = \prod_{j=1}^D \frac{\frac{1}{2 \sigma \sqrt\pi}\, N(x_j; 0, 1 + \sigma^2/2)}{N(x_j; 0, 1 + \sigma^2)^2} .$$
#
# A product of $D$ numbers above one: it grows **exponentially** with the dimension. For a typical datum
# ($x_j^2 = 1 + \sigma^2$):

# %%
sigma = 0.5


def normal(x, variance):
    """The density N(x; 0, variance)."""
    return np.exp(-(x**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


typical = math.sqrt(1 + sigma**2)
growth = normal(typical, 1 + sigma**2 / 2) / (2 * sigma * math.sqrt(math.pi)) / normal(typical, 1 + sigma**2) ** 2
print(f"1 + v grows by {growth:.3f} with each dimension")
for dim in (1, 2, 5, 10, 20, 50):
    print(f"D = {dim:2d}: samples for a relative error of 0.1: {(growth**dim - 1) / 0.1**2:10.3g}")

# %% [markdown]
# For 20 dimensions, a usual size, billions of decodings of one image; for 50, as many as there are atoms in a gram of
# carbon. The reason is the picture above: the prior sends nearly all its codes to places that do not explain $x$, and
# with each dimension a smaller share arrives.

# %% [markdown]
# ## Importance sampling: ask somebody who has seen the datum
#
# Draw codes from a distribution $q(z|x)$ that knows $x$, and correct for it by weights:
#
# $$p(x) = \int \frac{p(x|z)\, p(z)}{q(z|x)}\, q(z|x)\, dz \approx \frac1K \sum_{i=1}^K w_i, \qquad
#   w_i = \frac{p(x|z_i)\, p(z_i)}{q(z_i|x)}, \quad z_i \sim q(z|x).$$
#
# The best $q$ is the true posterior: then $w = p(x|z)\, p(z) / p(z|x) = p(x)$ for every $z$, and one sample is enough.
# In our model it is known, $p(z_j|x_j) = N\big(\tfrac{x_j}{1 + \sigma^2}, \tfrac{\sigma^2}{1 + \sigma^2}\big)$. An
# encoder in reparam is a network that gives means and log-variances, so this one is a page of linear algebra, or three
# lines:


# %%
def linear_model(dim, widen=1.0):
    """x = z + sigma noise in ``dim`` dimensions, with q the true posterior, its standard deviation times ``widen``."""
    decoder = torch.nn.Linear(dim, dim, dtype=torch.float64)
    encoder = torch.nn.Linear(dim, 2 * dim, dtype=torch.float64)
    with torch.no_grad():
        decoder.weight.copy_(torch.eye(dim))
        decoder.bias.zero_()
        encoder.weight.copy_(torch.cat([torch.eye(dim, dtype=torch.float64) / (1 + sigma**2), torch.zeros(dim, dim)]))
        encoder.bias.zero_()
        encoder.bias[dim:] = math.log(sigma**2 / (1 + sigma**2)) + 2 * math.log(widen)
    p_x, q = rp.likelihoods.Gaussian(decoder, scale=sigma), rp.posteriors.DiagonalGaussian(encoder)
    return rp.VAE(rp.priors.StandardNormal(dim), p_x, q).double()


exact_q = linear_model(20)
x = torch.full((1, 20), typical, dtype=torch.float64)
truth = 20 * math.log(normal(typical, 1 + sigma**2))
log_w = exact_q(x, k=5).log_w.detach()
print("log w of five samples:", [f"{w:.10f}" for w in log_w[:, 0]])
print(f"log p(x):              {truth:.10f}")
assert (log_w - truth).abs().max() < 1e-9

# %% [markdown]
# A learned $q$ is never exact. Let it be too wide by 30% in every dimension, and compare what is paid: the number of
# decodings, against the error. `draw.log_w` holds $\log w$; averages of $w$ are taken as `logsumexp`, since $w$ itself
# underflows.

# %%
counts = [1, 3, 10, 30, 100, 300, 1000, 3000]
counts, repeats = counts[: size(8, 5)], size(400, 40)
dims = (2, 10, 20)
error = {}
for dim in dims:
    model, x = linear_model(dim, widen=1.3), torch.full((repeats, dim), typical, dtype=torch.float64)
    truth = dim * math.log(normal(typical, 1 + sigma**2))
    for k in counts:
        with torch.no_grad():
            by_prior = model.at(torch.randn(k, repeats, dim, dtype=torch.float64), x).log_px
            by_q = model(x, k=k).log_w
        for name, log_w in (("prior", by_prior), ("q", by_q)):
            relative = (log_w.logsumexp(0) - math.log(k) - truth).exp() - 1
            error[name, dim, k] = float(relative.square().mean().sqrt())

# %%
figure, axis = plt.subplots(figsize=(6.2, 3.8))
for colour, dim in zip(PALETTE, dims, strict=False):
    for name, line in (("prior", "--"), ("q", "-")):
        axis.plot(counts, [error[name, dim, k] for k in counts], line, color=colour, marker="o", ms=3)
    expected = [math.sqrt((growth**dim - 1) / k) for k in counts]
    axis.plot(counts, expected, ":", color=colour, lw=1)
    axis.plot([], [], color=colour, label=f"{dim} dimensions")
axis.plot([], [], "--", color="#6b6b6b", label="codes from the prior")
axis.plot([], [], ":", color="#6b6b6b", lw=1, label="the same, by the formula")
axis.plot([], [], "-", color="#6b6b6b", label="codes from q")
axis.set(
    xscale="log", yscale="log", ylim=(5e-3, 2e5), xlabel="decodings of one datum, K", ylabel="relative error of p(x)"
)
axis.set_title("What an answer costs")
axis.legend(ncols=2, loc="upper right")
plt.show()

# %% [markdown]
# Solid lines: with $q$, ten samples do in 20 dimensions what the prior does not do with thousands. The dashed lines
# (what happened) and the dotted ones (what is true) fall apart in 20 dimensions, and in 10 at few samples: the error that
# is *seen* stays far below the true one. The estimate is nearly always close to zero, an error of 1, and the rare huge weights that would
# make its mean right hardly show up in hundreds of repeats. That is the trap of Monte Carlo with poor proposals: it
# does not look uncertain, it looks calm, and wrong.

# %%
k = counts[-1]
print(f"K = {k}: relative error in 20 dimensions: prior {error['prior', 20, k]:.3f}, q {error['q', 20, k]:.3f}")
assert error["q", 20, k] < error["prior", 20, k] / 2

# %% [markdown]
# ## The logarithm errs downwards
#
# We report $\log \hat p_K$, and the logarithm of an average that is right on average is too low on average (Jensen's
# inequality): $\mathbb{E} \log \hat p_K \le \log p(x)$, by about $v/2K$ for large $K$, and less with each more sample.
# With $K = 1$ this is the **evidence lower bound**, to which the next page is given. For samples from $q$ the variance
# $v$ of the weights can be computed for our Gaussians as before: each dimension multiplies $1 + v$ by
# $\alpha^2/\sqrt{2\alpha^2 - 1}$ for a $q$ that is $\alpha$ times too wide.

# %%
alpha, dim = 1.3, 10
v_q = (alpha**2 / math.sqrt(2 * alpha**2 - 1)) ** dim - 1
n = size(20000, 500)
model, x = linear_model(dim, alpha), torch.full((n, dim), typical, dtype=torch.float64)
truth = dim * math.log(normal(typical, 1 + sigma**2))
for k in (1, 10, 100):
    with torch.no_grad():
        log_p = model(x, k=k).log_w.logsumexp(0) - math.log(k) - truth
    stderr = float(log_p.std()) / math.sqrt(n)
    print(f"K = {k:3d}: log p̂ - log p = {float(log_p.mean()):.4f} ± {stderr:.4f}   -v/2K = {-v_q / (2 * k):.4f}")
    assert float(log_p.mean()) < 4 * stderr
assert abs(float(log_p.mean()) + v_q / 200) < 4 * stderr + (v_q / 100) ** 2

# %% [markdown]
# `rp.evaluate.log_likelihood(vae, x, k=5000)` is this estimate for any model, with a standard error over data, the
# effective number of samples (`ess`), and a warning sign (`khat`) for rows whose weights are so uneven that the
# estimate cannot be trusted. `method="prior"` is plain Monte Carlo, `method="exact"` the quadrature of the beginning.

# %% [markdown]
# ## To try
#
# - Make $q$ too *narrow* (`widen=0.7`). The formula for $v$ has $\sqrt{2\alpha^2 - 1}$ in it: what happens at
#   $\alpha^2 \le 1/2$, and why is a narrow $q$ worse than a wide one?
# - Make the noise smaller, `sigma = 0.1`. How does `growth` change? A sharper decoder explains each datum by fewer
#   codes.
