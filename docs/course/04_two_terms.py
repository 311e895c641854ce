# %% [markdown]
# # 4. The two terms
#
# The evidence lower bound is a difference of two terms, and each has a will of its own:
#
# $$\text{ELBO}(x) = \underbrace{\mathbb{E}_{q(z|x)}\big[\log p(x|z)\big]}_{\text{reconstruction}}
#   - \underbrace{\mathrm{KL}\big(q(z|x) \,\|\, p(z)\big)}_{\text{what the code costs}}$$
#
# (Kingma & Welling 2014, section 2.2). The first wants to know every datum exactly, the second wants to know nothing. This
# page looks at each, and then at what happens when one of them wins.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import PALETTE, QUICK, digits, size
from matplotlib.patches import Ellipse
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

import reparam as rp

torch.manual_seed(0)

# %% [markdown]
# ## Reconstruction is a likelihood
#
# Many programs write "squared error" or "cross-entropy" where the formula has $\log p(x|z)$. Both are right, each for
# one likelihood. For a normal distribution with mean $\mu(z)$ and scale $\sigma$,
#
# $$-\log N(x; \mu, \sigma^2 I) = \frac{1}{2\sigma^2} \lVert x - \mu \rVert^2 + \frac{D}{2} \log 2\pi\sigma^2 ,$$
#
# and for pixels that are 0 or 1 with probability $\pi = \mathrm{sigmoid}(\ell)$,
#
# $$-\log \mathrm{Bernoulli}(x; \pi) = -\sum_j x_j \log \pi_j + (1 - x_j) \log (1 - \pi_j) ,$$
#
# the cross-entropy. Equal, to the last digit:

# %%
net = rp.networks.mlp(2, 64, (32,))
z = torch.randn(10, 2, dtype=torch.float64)
images, labels = digits()
binary, real = images[:10].flatten(1).double(), torch.randn(10, 64, dtype=torch.float64)

gaussian = rp.likelihoods.Gaussian(net, scale=0.3).double()
bernoulli = rp.likelihoods.Bernoulli(net)
with torch.no_grad():
    out = net(z)
    squared = (real - out).square().sum(1) / (2 * 0.3**2) + 64 / 2 * math.log(2 * math.pi * 0.3**2)
    crossed = binary_cross_entropy_with_logits(out, binary, reduction="none").sum(1)
    print(
        "largest difference, Gaussian and squared error:      ",
        float((gaussian(z).log_prob(real) + squared).abs().max()),
    )
    print(
        "largest difference, Bernoulli and cross-entropy:     ",
        float((bernoulli(z).log_prob(binary) + crossed).abs().max()),
    )
    assert torch.allclose(-gaussian(z).log_prob(real), squared, rtol=1e-12)
    assert torch.allclose(-bernoulli(z).log_prob(binary), crossed, rtol=1e-12)

# %% [markdown]
# The constant and the factor matter. `mse_loss` without a word takes the mean over all pixels and forgets the
# $\tfrac12$, and whoever adds the KL of a whole code to it has a normal likelihood with a scale that nobody chose:
# $\tfrac1D \lVert x - \mu \rVert^2$ is $\tfrac{1}{2\sigma^2} \lVert x - \mu \rVert^2$ with $\sigma^2 = D/2$. For 784
# pixels between 0 and 1 that is a standard deviation of 20. Or, said otherwise: the KL counts $D/2 = 392$ times more
# than it should for $\sigma = 1$. The code comes out empty, and no line of the program shows why.

# %%
with torch.no_grad():
    hidden = rp.likelihoods.Gaussian(net, scale=math.sqrt(64 / 2))(z).log_prob(real)
    constant = 64 / 2 * math.log(2 * math.pi * 64 / 2)
    assert torch.allclose(-hidden - constant, torch.stack([mse_loss(a, b) for a, b in zip(out, real, strict=True)]))

# %% [markdown]
# ## The KL is the price of the code
#
# For a diagonal Gaussian and a standard normal prior it is a sum over dimensions (Kingma & Welling 2014, appendix B),
#
# $$\mathrm{KL} = \tfrac12 \sum_{j} \big(\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2\big) ,$$
#
# in nats: what somebody who knows only $p(z)$ must be told on average to know a draw of $q(z|x)$. A dimension with
# $\mu = 0$ and $\sigma = 1$ for every datum costs nothing and says nothing.
#
# ## Three wills
#
# Multiply the price by $\beta$: `rp.objectives.ELBO(beta=...)`. With $\beta = 1$ it is the bound. With $\beta = 0$ the
# code is free. With a large $\beta$ only the price counts. Digits, two latent dimensions, the same network three times.

# %%
train, test = images[: size(1500, 200)], images[size(1500, 1700) :]
train_labels = labels[: len(train)]
epochs = size(200, 2)


def fitted(beta):
    """A VAE of the digits whose KL was weighted by beta in training."""
    torch.manual_seed(0)
    vae = rp.recipes.vae((8, 8), latent_dim=2, likelihood="bernoulli", hidden=(size(128, 16),), mean=train.mean(0))
    rp.fit(vae, train, objective=rp.objectives.ELBO(beta=beta), epochs=epochs, batch_size=100, lr=2e-3, seed=0)
    return vae


models = {beta: fitted(beta) for beta in (0.0, 1.0, 100.0)}

# %%
print("beta   reconstruction       KL     ELBO   (test digits, nats; the ELBO always with beta = 1)")
terms = {}
for beta, vae in models.items():
    terms[beta] = rp.evaluate.elbo_terms(vae, test, k=20)
    print(
        "{:5g} {:15.2f} {:8.2f} {:8.2f}".format(
            beta, *(float(t) for t in (terms[beta].reconstruction, terms[beta].kl, terms[beta].elbo))
        )
    )

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.5))
titles = ("only reconstruction: β = 0", "both: β = 1", "only KL: β = 100")
marks = [f"{d}" for d in range(10)]
for axis, vae, title in zip(axes, models.values(), titles, strict=True):
    with torch.no_grad():
        q = vae.posterior(train)
    mean, scale = q.mean.numpy(), q.stddev.numpy()
    for digit in range(10):
        rows = np.flatnonzero(train_labels == digit)[:40]
        axis.scatter(*mean[rows].T, s=6, color=PALETTE[digit], label=marks[digit], lw=0)
        for i in rows[:8]:
            axis.add_patch(Ellipse(mean[i], *(2 * scale[i]), fill=False, ec=PALETTE[digit], lw=0.6))
    reach = max(3.0, 1.05 * float(np.abs(mean).max()))
    axis.add_patch(plt.Circle((0, 0), 2, fill=False, ec="#404040", lw=1.2, zorder=3))
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="z₁", title=title)
    axis.set_box_aspect(1)
axes[0].set_ylabel("z₂")
figure.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=10, markerscale=2.5, handletextpad=0.1
)
plt.show()

# %% [markdown]
# Each dot is the mean of $q(z|x)$ for one digit, its colour says which digit it is, and some have their ellipse of one
# standard deviation. The dark circle is two standard deviations of the prior (look at the axes: they differ).
#
# - **Only reconstruction.** The codes flee from each other, far out of the prior's reach, and their ellipses shrink to
#   points: a conventional autoencoder. The reconstruction of the training digits is the best of all, and a code from
#   the prior decodes to whatever lies between.
# - **Both.** The codes share the region of the prior, their ellipses touch, like digits lie together.
# - **Only KL.** Every ellipse is the prior itself; the codes say nothing, and the decoder gives the mean digit. This is
#   *posterior collapse*.

# %%
assert abs(float(terms[1.0].elbo) - float(terms[1.0].reconstruction) + float(terms[1.0].kl)) < 1e-9
if not QUICK:
    assert float(terms[0.0].kl) > 2 * float(terms[1.0].kl) > 100 * float(terms[100.0].kl)
    assert float(terms[1.0].elbo) > max(float(terms[0.0].elbo), float(terms[100.0].elbo))

# %% [markdown]
# ## All the wills between
#
# Reconstruction is a distortion, KL is a rate: what is transmitted, in nats. With every $\beta$ another exchange of the
# two is bought (Alemi et al. 2018). The dotted line joins all pairs with the ELBO of $\beta = 1$.

# %%
betas = size((0.1, 0.3, 2.0, 4.0), (2.0,))
models |= {beta: fitted(beta) for beta in betas}
terms |= {beta: rp.evaluate.elbo_terms(models[beta], test, k=20) for beta in betas}
shown = sorted(b for b in terms if b > 0)
rate, distortion = (
    [float(t) for t in column]
    for column in zip(*((terms[b].kl, -float(terms[b].reconstruction)) for b in shown), strict=True)
)

figure, axis = plt.subplots(figsize=(5.6, 3.6))
axis.plot(rate, distortion, "o-", ms=4)
for beta, r, d in zip(shown, rate, distortion, strict=True):
    axis.annotate(f"β = {beta:g}", (r, d), (5, 5), textcoords="offset points", fontsize=8)
level = -float(terms[1.0].elbo)
span = np.array([0, level])
axis.plot(span, level - span, ":", color="#6b6b6b", label="distortion + rate of β = 1")
axis.set(xlabel="rate: KL, nats", ylabel="distortion: -E log p(x|z), nats", title="What a nat of code buys")
axis.set(xlim=(-0.3, 1.08 * max(rate)), ylim=(0.85 * min(distortion), 1.05 * max(distortion)))
axis.legend()
plt.show()

# %% [markdown]
# ## To try
#
# - Compute the rate and distortion of the training digits beside those of the test digits. Which $\beta$ learns the
#   training digits by heart?
# - Start with $\beta = 0$ and let it rise: `rp.objectives.ELBO(beta=rp.schedules.Linear(0.0, 1.0, over=0.5))`. Where
#   does it end?
# - With `rp.likelihoods.Gaussian(net, scale="shared")` the scale is learned. Where does $\beta$ go? (It is in
#   $\sigma$.)
