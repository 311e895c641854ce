# %% [markdown]
# # 8. Generating
#
# A trained variational autoencoder is four things to play with: the prior, from which new data come; the posterior of a
# datum, from which come data like it; the ways between two data; and, with two latent dimensions, a map of everything.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import PALETTE, QUICK, digits, mnist, size, tiles

import reparam as rp

torch.manual_seed(0)
found = mnist()
if found is None:  # scikit-learn's digits, 8 x 8
    images, labels = digits()
    train, test = images[: size(1500, 200)], images[size(1500, 1700) :]
    test_labels, epochs, hidden = labels[len(images) - len(test) :], size(200, 1), size((256,), (16,))
else:  # MNIST, 28 x 28: where REPARAM_DATA names the folder that has it
    train, test = (torch.tensor(x >= 128, dtype=torch.float32) for x in (found[0], found[2][:1000]))
    test_labels, epochs, hidden = found[3][:1000], 5, (400,)
shape = tuple(train.shape[1:])


def fitted(latent_dim):
    """A VAE of the digits."""
    torch.manual_seed(0)
    model = rp.recipes.vae(shape, latent_dim, likelihood="bernoulli", hidden=hidden, mean=train.mean(0))
    rp.fit(model, train, epochs=epochs, lr=2e-3, seed=0)
    return model


models = {dim: fitted(dim) for dim in (2, 10)}
for dim, model in models.items():
    print(f"{dim:2d} latent dimensions: test log p(x) {rp.evaluate.log_likelihood(model, test, k=size(500, 20))}")

# %% [markdown]
# ## From the prior
#
# $z \sim p(z)$, then $x \sim p(x|z)$: `vae.sample(n)`. That is what the model says data look like. Pictures in papers
# mostly show the *mean* of $p(x|z)$, grey where the decoder is unsure (`mean=True`); an honest sample also tosses the
# coin for every pixel. Look at both before you judge a model by its pictures.

# %%
vae = models[10]
figure, axes = plt.subplots(3, 1, figsize=(8.2, 3.0))
tiles(axes[0], test[:16], columns=16, title="data")
for axis, mean, title in (
    (axes[1], True, "means of p(x|z), z from the prior"),
    (axes[2], False, "samples of p(x|z), for the same z"),
):
    torch.manual_seed(3)
    tiles(axis, vae.sample(16, mean=mean), columns=16, title=title)
plt.show()

# %% [markdown]
# ## From the posterior of a datum
#
# $z \sim q(z|x)$, then decode: data that share with $x$ what the code holds, and vary in what it does not. The width of
# $q$ says how much the code leaves open; multiply it and variety grows, until one comes to the neighbours.

# %%
chosen = [int(np.flatnonzero(test_labels == digit)[0]) for digit in (3, 6, 8)]
figure, axes = plt.subplots(1, 3, figsize=(8.2, 1.9))
with torch.no_grad():
    for axis, i in zip(axes, chosen, strict=True):
        q = vae.posterior(test[i : i + 1]).base_dist
        torch.manual_seed(0)
        eps = torch.randn(7, 1, 10)
        variants = [vae.decode(q.mean + widen * q.stddev * eps)[:, 0] for widen in (0.5, 1.0, 2.0, 3.0)]
        rows = [torch.cat([test[i : i + 1], v]) for v in variants]
        tiles(axis, torch.cat(rows), columns=8, title=f"a {test_labels[i]}, and draws around it")
        axis.set_yticks([r * (shape[0] + 1) + shape[0] / 2 for r in range(4)], ["½ σ", "1 σ", "2 σ", "3 σ"])
plt.show()

# %% [markdown]
# ## Between two data
#
# Go from one code to another, decoding on the way. The straight line is the obvious way and has a catch in many
# dimensions: draws of $N(0, I)$ have a length near $\sqrt{D}$, and the middle of a chord between two of them has a
# length near $\sqrt{D/2}$, where hardly any code of the prior lies. The great circle (`slerp`), turning from one
# direction to the other while the length goes over evenly, stays where codes are.


# %%
def slerp(a, b, share):
    """From a (D,) to b (D,) along a great circle, with lengths that go over linearly: (S, D) at shares (S, 1)."""
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    way = (((1 - share) * angle).sin() * a / a.norm() + (share * angle).sin() * b / b.norm()) / angle.sin()
    return way * ((1 - share) * a.norm() + share * b.norm())


share = torch.linspace(0, 1, 12).unsqueeze(1)
a, b = rp.evaluate.encode(vae, test[chosen[:2]], sample=True)
straight, turning = (1 - share) * a + share * b, slerp(a, b, share)
assert torch.allclose(turning[[0, -1]], torch.stack([a, b]), atol=1e-5)
between = (turning.norm(dim=1) - a.norm()) * (turning.norm(dim=1) - b.norm())
assert (between < 1e-5).all()  # no length on the way is outside those of its ends

figure, axes = plt.subplots(2, 1, figsize=(8.2, 2.5))
for axis, way, title in zip(
    axes, (straight, turning), ("straight, with the length of z below", "along a great circle"), strict=True
):
    tiles(axis, vae.decode(way), columns=12, title=title, below=[f"{float(r):.1f}" for r in way.norm(dim=1)])
plt.show()

# %% [markdown]
# How much shorter is the middle? For two independent draws in $D$ dimensions,
# $\mathbb{E}\lVert (a + b)/2 \rVert^2 = D/2$ exactly.

# %%
n = size(100_000, 5_000)
for dim in (2, 10, 100):
    ends = torch.randn(2, n, dim)
    squared = ends.mean(0).square().sum(1)
    stderr = float(squared.std()) / n**0.5
    below = float((ends.mean(0).norm(dim=1) < ends[0].norm(dim=1).quantile(0.01)).double().mean())
    print(
        f"D = {dim:3d}: E |middle|² = {float(squared.mean()):.3f} ± {stderr:.3f}; middles shorter than 99% of the prior's draws: {below:.0%}"
    )
    assert abs(float(squared.mean()) - dim / 2) < 4.5 * stderr

# %% [markdown]
# ## The map
#
# With two latent dimensions all codes fit on a page (Kingma & Welling 2014, figure 4). The grid is not even in $z$ but
# in probability: its coordinates are the quantiles of the standard normal, so that each image stands for the same share
# of the prior.

# %%
vae = models[2]
n = size(13, 6)
quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
z2, z1 = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.9))
tiles(axes[0], vae.decode(torch.stack([z1, z2], -1).reshape(-1, 2)), columns=n, title="what each place decodes to")
axes[0].set(xlabel="z₁, from its lowest quantile to its highest", ylabel="z₂")
codes = torch.special.ndtr(rp.evaluate.encode(vae, test))
for digit in range(10):
    axes[1].scatter(*codes[test_labels == digit].T, s=9, lw=0, color=PALETTE[digit], label=str(digit))
axes[1].set(
    title="where the test digits lie, on the same map",
    xlim=(0, 1),
    ylim=(0, 1),
    xlabel="quantile of z₁",
    ylabel="quantile of z₂",
)
axes[1].set_box_aspect(1)
axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, handletextpad=0.1)
plt.show()

# %% [markdown]
# `rp.plots.manifold(vae.decode, (8, 8))` draws the left half for any images, and `reparam explore RUN DATA --html FILE`
# makes it a page in which one walks with the mouse.
#
# The right half shows one more thing: if the codes of all data together were distributed as the prior, the dots would
# fill the square evenly. Do they, roughly? (Page 1 measured it.)

# %%
u = codes.double()
each = [float(abs(u[:, j].sort().values - (torch.arange(len(u)) + 0.5) / len(u)).max()) for j in range(2)]
print("largest distance of the distribution of each coordinate from the uniform one:", [f"{d:.2f}" for d in each])
if not QUICK:
    assert max(each) < 0.25

# %% [markdown]
# ## Faces
#
# The same for the Frey faces, real grey values from 0 to 1, where the folder with the data is given (`REPARAM_DATA`,
# with `frey.npz`): 1,965 frames of one face, a Gaussian likelihood with a learned scale.

# %%
folder = os.environ.get("REPARAM_DATA")
if folder and not QUICK and Path(folder, "frey.npz").exists():
    faces = torch.from_numpy(rp.data.read(Path(folder, "frey.npz")).x).float().reshape(-1, 28, 20) / 255
    torch.manual_seed(0)
    vae = rp.recipes.vae((28, 20), 2, likelihood="gaussian", scale="shared", hidden=(200,), mean=faces.mean(0))
    rp.fit(vae, faces, epochs=200, lr=1e-3, seed=0)
    n = 14
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    z2, z1 = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    figure, axis = plt.subplots(figsize=(5.6, 7.6))
    tiles(
        axis,
        vae.decode(torch.stack([z1, z2], -1).reshape(-1, 2)),
        columns=n,
        title="Frey faces on a map of two dimensions",
    )
    plt.show()

# %% [markdown]
# ## To try
#
# - Arithmetic: mean code of the 8s, minus that of the 3s, added to the code of a 5. What should come out, and does it?
# - Sample from the aggregate posterior in place of the prior: the code of a random training digit, plus its noise. Are
#   the samples better? Whose fault is the difference?
# - Walk in the ten-dimensional model along one coordinate from -3 to 3, all others at zero. `rp.evaluate.active_units`
#   says how many coordinates do anything.
