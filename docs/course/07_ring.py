# %% [markdown]
# # 7. Why N(0, I) is enough
#
# The prior of most variational autoencoders is as dull as can be: $N(0, I)$. Data are not: they lie on curves and
# sheets, in clumps and rings. Nothing is lost by the dull prior, for the decoder may bend it: push a normal cloud of
# $D$ dimensions through a function with enough freedom, and it takes whatever shape one likes (Doersch 2016, section
# 2).

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from common import PALETTE, QUICK, size
from scipy.special import i0e

import reparam as rp

torch.manual_seed(0)

# %% [markdown]
# ## A ring from a cloud
#
# $$g(z) = \frac{z}{10} + \frac{z}{\lVert z \rVert}$$
#
# sends each point to the unit circle, along its own direction, and a little further the further out it was (Doersch
# 2016, figure 2).

# %%
z = torch.randn(size(2000, 200), 2)


def g(z):
    """The ring."""
    return z / 10 + z / z.norm(dim=-1, keepdim=True)


figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.8))
angle = torch.atan2(z[:, 1], z[:, 0])
for axis, points, title in zip(axes, (z, g(z)), ("z from N(0, I)", "g(z)"), strict=True):
    axis.scatter(*points.T, c=angle, cmap="twilight_shifted", s=9, lw=0.3, ec="#909090")
    axis.set(title=title, xlabel="first coordinate")
    axis.set_box_aspect(1)
axes[0].set(ylabel="second coordinate", xlim=(-4, 4), ylim=(-4, 4))
axes[1].set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6))
plt.show()

# %% [markdown]
# (Colours are angles, to see which point went where.) With noise of standard deviation $\sigma = 0.05$ on both
# coordinates this is a latent-variable model, $p(x|z) = N(x; g(z), \sigma^2 I)$, and its density can be computed as
# exactly as we like.
#
# ## The exact density
#
# Everything is the same in all directions, so $p(x)$ depends on $\rho = \lVert x \rVert$ alone. Let
# $r = \lVert z \rVert$, with density $r e^{-r^2/2}$, and $R = 1 + r/10$. The angle between $x$ and $g(z)$ is uniform,
# and $\lVert x - g(z) \rVert^2 = \rho^2 + R^2 - 2 \rho R \cos\theta$, so that the integral over angles gives a Bessel
# function:
#
# $$p(x) = \int_0^\infty r e^{-r^2/2}\; \frac{1}{2\pi\sigma^2} \exp\Big(\!-\frac{\rho^2 + R^2}{2\sigma^2}\Big)\, I_0\Big(\frac{\rho R}{\sigma^2}\Big)\, dr .$$
#
# One integral on a line is left. Another one gives the mean of $\log p(x)$ under $p$ itself, which is the best that any
# model of these data can reach on average (it is minus the entropy; that no other density does better is
# $\mathrm{KL} \ge 0$ once more).

# %%
sigma = 0.05


def gauss_legendre(n, low, high):
    """Nodes and weights of an integral from low to high."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2


def exact_log_p(rho):
    """log p(x) in nats of points (N,) at a distance rho from the centre."""
    r, weights = gauss_legendre(300, 0, 10)
    ring, rho = 1 + r / 10, np.asarray(rho)[:, None]
    log_f = np.log(r) - r**2 / 2 - (rho - ring) ** 2 / (2 * sigma**2)  # i0e(t) is I0(t) exp(-t)
    log_f += np.log(i0e(rho * ring / sigma**2)) - np.log(2 * np.pi * sigma**2)
    highest = log_f.max(1, keepdims=True)
    return (highest + np.log((weights * np.exp(log_f - highest)).sum(1, keepdims=True)))[:, 0]


rho, weights = gauss_legendre(1000, 0, 2.5)
density = np.exp(exact_log_p(rho))
mass = float((2 * np.pi * rho * density * weights).sum())
best = float((2 * np.pi * rho * density * np.log(density) * weights).sum())
print(f"the density integrates to {mass:.9f}; mean of log p(x): {best:.4f} nats")
assert abs(mass - 1) < 1e-8
assert abs(best + 0.8677) < 5e-5

# %% [markdown]
# The number $-0.8677$ is what we are after. A second road to it, through the library: the model as three parts, its
# density by quadrature in the plane of $z$ for a few points.


# %%
class Ring(torch.nn.Module):
    """g, as a decoder."""

    def forward(self, z):
        """Shapes: z (..., 2) to (..., 2)."""
        return g(z)


def any_posterior():
    """An encoder, for models whose encoder plays no part."""
    return rp.posteriors.DiagonalGaussian(rp.networks.mlp(2, 4, ()))


true = rp.VAE(rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(Ring(), scale=sigma), any_posterior()).double()
few = true.sample(size(5, 1))
by_library = rp.evaluate.log_likelihood(true, few, method="exact").per_datum
difference = float((by_library - torch.from_numpy(exact_log_p(few.norm(dim=1)))).abs().max())
print(f"largest difference over {len(few)} points: {difference:.1e} nats")
assert difference < 2e-6

# %% [markdown]
# ## Learn it from samples
#
# Now forget $g$. Given are points of the ring; a network with two hidden layers shall find a function that makes such
# points from $N(0, I)$. The scale is learned too. As $q$ we take a full Gaussian: all codes of one direction explain
# nearly the same point, and that ridge lies at every angle. The objective is the importance-weighted bound with 10
# samples, which forgives a $q$ that is not quite the posterior (page 5 says why that matters).

# %%
train, test = true.sample(size(20_000, 500)).float(), true.sample(size(4000, 100)).float()
torch.manual_seed(0)
decoder, encoder = rp.networks.mlp(2, 2, (64, 64), "tanh"), rp.networks.mlp(2, 5, (64, 64), "tanh")
p_x = rp.likelihoods.Gaussian(decoder, scale="shared", init_scale=0.3)
vae = rp.VAE(rp.priors.StandardNormal(2), p_x, rp.posteriors.FullGaussian(encoder))
rate = rp.schedules.Cosine(3e-3, 1e-5, over=1.0)
history = rp.fit(vae, train, objective=rp.objectives.IWAE(10), epochs=size(60, 1), batch_size=256, lr=rate, seed=0)
print(
    f"the bound in training, nats: {history['train_objective'][0]:.3f} at first, {history['train_objective'][-1]:.3f} at the end"
)

# %%
truth = exact_log_p(test.norm(dim=1).double())
ours = rp.evaluate.log_likelihood(vae, test, k=size(2000, 100))
short = torch.from_numpy(truth) - ours.per_datum
stderr = float(short.std()) / len(test) ** 0.5
scale = vae.likelihood(torch.zeros(1, 2)).stddev.detach()[0, 0]
print(f"these {len(test)} test points: exact {truth.mean():.4f} nats, the VAE {ours.value:.4f}")
print(f"short of the exact density by {float(short.mean()):.4f} ± {stderr:.4f} nats; learned scale {float(scale):.3f}")
if not QUICK:
    assert float(short.mean()) < 0.05
    assert abs(ours.value - best) < 0.05
    assert float(short.mean()) > -4 * stderr  # nothing is better than the truth

# %% [markdown]
# Within 0.05 nats of the best that is possible, from $N(0, I)$ and samples. (What is missing is a KL from the true
# density to the model's, and the estimate of log p(x) lies low besides. The learned scale is larger than the true 0.05:
# part of the ring's thickness, which $g$ makes from the length of $z$, is explained as noise.) What did the network find?

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.8, 3.6))
side = torch.linspace(-1.6, 1.6, size(81, 21))
with torch.no_grad():
    z = torch.randn(3000, 2)
    samples, moved = vae.sample(3000), vae.decode(z)
panels = ((test[:3000], "data"), (samples, "samples of the VAE"))
for axis, (points, title) in zip(axes, panels, strict=False):
    axis.scatter(*points.T, s=2, lw=0, color=PALETTE[0])
    axis.set(title=title, xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), xlabel="x₁")
axes[0].set_ylabel("x₂")
angle = torch.atan2(moved[:, 1], moved[:, 0])
axes[2].scatter(*z.T, c=angle, cmap="twilight_shifted", s=9, lw=0.3, ec="#909090")
axes[2].set(title="z, coloured by where it goes", xlim=(-4, 4), ylim=(-4, 4), xlabel="z₁", ylabel="z₂")
for axis in axes:
    axis.set_box_aspect(1)
plt.show()

# %% [markdown]
# A few samples lie inside the ring, where there are no data. They must: a network is a continuous function, and a path
# of codes through the origin, from one side of the cloud to the other, has to cross the hole somewhere. The true $g$
# jumps there. The network makes the crossing as steep as it can.
#
# The right panel is the function, painted into the latent space: colour is the angle on the ring to which a code is
# sent. Compare it with the first picture of this page. The network was told nothing of angles, and is free to use any
# turned, mirrored or bent version of $g$; all of them give the same $p(x)$, and $p(x)$ is all that the data can teach.
# So latent coordinates have no meaning of their own.
#
# The density along a radius, exact and learned:

# %%
radius = torch.linspace(0.7, 1.7, size(201, 21))
line = torch.stack([radius, torch.zeros_like(radius)], 1)
learned = rp.evaluate.log_likelihood(vae, line, k=size(5000, 100)).per_datum.exp()
figure, axis = plt.subplots(figsize=(5.6, 2.9))
axis.plot(radius, np.exp(exact_log_p(radius.double())), label="exact")
axis.plot(radius, learned, "--", color=PALETTE[1], label="learned, along x₂ = 0")
axis.set(xlabel="x₁", ylabel="density p(x)", title="The ring, cut across")
axis.legend()
plt.show()

# %% [markdown]
# ## To try
#
# - Make `q` diagonal, `rp.posteriors.DiagonalGaussian(rp.networks.mlp(2, 4, (64, 64), "tanh"))`, and the objective the
#   ELBO. How much is lost, and what does the right panel become?
# - One latent dimension, `StandardNormal(1)`: a line must be bent into a ring. Where is it cut?
# - Two rings that do not touch: what does the decoder do with the codes between?
