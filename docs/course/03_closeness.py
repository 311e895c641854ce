# %% [markdown]
# # 3. Closeness
#
# A distribution $q$ that is easy to handle shall stand in for another, $p$, that is not. How far is one from the other?
# Variational inference measures it by the Kullback-Leibler divergence,
#
# $$\mathrm{KL}(q \,\|\, p) = \int q(z) \log \frac{q(z)}{p(z)}\, dz ,$$
#
# which is never negative, zero only for $q = p$, and **not symmetric**. What that means is best seen where $q$ cannot
# be equal to $p$.

# %%
import math

import matplotlib.pyplot as plt
import torch
from common import PALETTE, size
from torch.distributions import Categorical, MixtureSameFamily, Normal

import reparam as rp

torch.manual_seed(0)

# %% [markdown]
# ## A Gaussian for two modes
#
# Let $p$ be a mixture of two Gaussians, and $q$ one Gaussian. In one dimension both divergences are integrals on a
# line: no sampling, no error to speak of.

# %%
weights, means, scales = (torch.tensor(t, dtype=torch.float64) for t in ([0.6, 0.4], [-2.0, 2.0], [0.5, 0.7]))
p = MixtureSameFamily(Categorical(weights), Normal(means, scales))
z = torch.linspace(-15, 15, size(30001, 3001), dtype=torch.float64)


def kl(a, b):
    """KL(a || b) of two densities on the line, in nats."""
    log_a, log_b = a.log_prob(z), b.log_prob(z)
    return torch.trapezoid(log_a.exp() * (log_a - log_b), z)


def fit(divergence, start):
    """The Gaussian of least divergence that descent finds from a mean and a standard deviation."""
    mean = torch.tensor(start[0], dtype=torch.float64, requires_grad=True)
    log_scale = torch.tensor(math.log(start[1]), dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([mean, log_scale], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss():
        descent.zero_grad()
        value = divergence(Normal(mean, log_scale.exp()))
        value.backward()
        return value

    descent.step(loss)
    return Normal(mean.detach(), log_scale.detach().exp())


covering = fit(lambda q: kl(p, q), (0.5, 1.0))
seeking = [fit(lambda q: kl(q, p), (start, 1.0)) for start in (-1.5, 1.5)]
for name, q in (
    ("KL(p || q)", covering),
    ("KL(q || p) from the left", seeking[0]),
    ("KL(q || p) from the right", seeking[1]),
):
    print(f"least {name:25s} mean {float(q.mean):6.3f}, standard deviation {float(q.stddev):.3f}, "
          f"KL(p || q) {float(kl(p, q)):6.3f}, KL(q || p) {float(kl(q, p)):.3f} nats")  # fmt: skip

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.2, 2.9), sharey=True)
panels = (("Least KL(p ‖ q): covers the mass", [covering]), ("Least KL(q ‖ p): seeks a mode", seeking))
for axis, (title, fits) in zip(axes, panels, strict=True):
    axis.fill_between(z, p.log_prob(z).exp(), color=PALETTE[0], alpha=0.25, lw=0, label="p")
    for q, colour, line in zip(fits, PALETTE[1:], ("-", "--"), strict=False):
        axis.plot(z, q.log_prob(z).exp(), line, color=colour, label=f"q, KL(q ‖ p) = {float(kl(q, p)):.2f} nats")
    axis.set(xlim=(-6, 6), xlabel="z", title=title, ylim=(0, 0.9))
    axis.legend(loc="upper right")
axes[0].set_ylabel("density")
plt.show()

# %% [markdown]
# **$\mathrm{KL}(p \| q)$** averages over $p$: wherever $p$ puts mass, $q$ must put some, or pay $\log(p/q)$ without
# bound. The best Gaussian covers both modes and the empty space between them. It is the one with the mean and variance
# of $p$ (set the derivatives of $-\mathbb{E}_p \log q$ to zero), and this is maximum likelihood: to fit a model to
# samples of $p$ is to lessen $\mathrm{KL}(p\|q)$.
#
# **$\mathrm{KL}(q \| p)$** averages over $q$: wherever $q$ puts mass, $p$ must have some. Better to sit on one mode and
# miss the other. Which one depends on where one starts: two local minima. If the modes are well apart and $q$ takes one
# of them over entirely, the price is $-\log$ of its weight: $-\log 0.6 = 0.51$ or $-\log 0.4 = 0.92$ nats.

# %%
mean, variance = p.mean, p.variance
assert abs(float(covering.mean - mean)) < 1e-4
assert abs(float(covering.variance - variance)) < 1e-3
assert abs(float(kl(seeking[0], p)) + math.log(0.6)) < 0.01
assert abs(float(kl(seeking[1], p)) + math.log(0.4)) < 0.03

# %% [markdown]
# Variational inference takes the second one, and for one reason: $p$ will be a posterior $p(z|x)$ that we can neither
# sample nor normalise. An average over $q$ is something we can take. And the missing normaliser drops out, as the next
# lines show.

# %% [markdown]
# ## log p(x) = ELBO + KL
#
# For every $q(z|x)$,
#
# $$\log p(x)
#   = \underbrace{\mathbb{E}_{q(z|x)}\big[\log p(x|z)\big] - \mathrm{KL}\big(q(z|x) \,\|\, p(z)\big)}_{\text{ELBO}}
#   \;+\; \mathrm{KL}\big(q(z|x) \,\|\, p(z|x)\big)$$
#
# (Kingma & Welling 2014, section 2.2; Blei et al. 2017, section 2.2). To see it, write $p(z|x) = p(x|z)\,p(z)/p(x)$
# into the last term, and $\log p(x)$ comes out of the average, being the same for every $z$. The left side does not
# know $q$. So to raise the ELBO in $q$ **is** to lower the divergence from the posterior, which we could not even write
# down; and as a divergence is not negative, the ELBO is a lower bound of $\log p(x)$.
#
# An identity is worth a check on a real model: one latent dimension, a random neural network as decoder, and an encoder
# that has never been trained.

# %%
decoder, encoder = rp.networks.mlp(1, 3, (20,), "tanh"), rp.networks.mlp(3, 2, (20,), "tanh")
with torch.no_grad():
    decoder.last.weight.mul_(3)  # a decoder that bends more than fresh weights do
vae = rp.VAE(
    rp.priors.StandardNormal(1), rp.likelihoods.Gaussian(decoder, scale=0.5), rp.posteriors.DiagonalGaussian(encoder)
).double()
x = vae.sample(5)
log_p_x = rp.evaluate.log_likelihood(vae, x, method="exact").per_datum

nodes = torch.linspace(-12, 12, size(24001, 6001), dtype=torch.float64)
with torch.no_grad():
    draw = vae.at(nodes.reshape(-1, 1, 1).expand(-1, len(x), 1), x)  # every node as a code of every datum
    q = draw.log_qz.exp()
    reconstruction = torch.trapezoid(q * draw.log_px, nodes, dim=0)
    kl_prior = torch.trapezoid(q * (draw.log_qz - draw.log_pz), nodes, dim=0)
    log_posterior = draw.log_px + draw.log_pz - log_p_x
    kl_posterior = torch.trapezoid(q * (draw.log_qz - log_posterior), nodes, dim=0)
elbo = reconstruction - kl_prior
print("log p(x)     ELBO      KL(q || p(z|x))   log p(x) - ELBO - KL")
for row in zip(log_p_x, elbo, kl_posterior, log_p_x - elbo - kl_posterior, strict=True):
    print("{:9.5f} {:9.5f} {:12.5f} {:20.1e}".format(*(float(t) for t in row)))
assert torch.trapezoid(log_posterior.exp(), nodes, dim=0).sub(1).abs().max() < 1e-6
assert (log_p_x - elbo - kl_posterior).abs().max() < 1e-6
assert (kl_posterior >= 0).all()

# %% [markdown]
# Nothing was sampled, and the two sides agree to the last digits. The same ELBO by sampling is one call, and comes with
# its error:

# %%
k = size(100000, 1000)
sampled = rp.evaluate.elbo(vae, x, k=k)
print(f"rp.evaluate.elbo with {k} samples for each datum: {sampled.value:.4f}; by quadrature {float(elbo.mean()):.4f}")
with torch.no_grad():
    log_px = vae(x, k=1000).log_px
error = float(log_px.var(0).sum().sqrt()) / len(x) / math.sqrt(k)
assert abs(sampled.value - float(elbo.mean())) < 4.5 * error

# %% [markdown]
# ## The bound, as q moves
#
# Move the mean of $q$ along the line, for one datum, with a standard deviation of 0.4. What the ELBO loses, the
# divergence gains.

# %%
at = torch.linspace(-2.5, 2.5, 201, dtype=torch.float64)
q = Normal(at, 0.4)
log_q = q.log_prob(nodes.unsqueeze(1))
joint, posterior = (t[:, :1] for t in (draw.log_px + draw.log_pz, log_posterior))
bound = torch.trapezoid(log_q.exp() * (joint - log_q), nodes, dim=0)
gap = torch.trapezoid(log_q.exp() * (log_q - posterior), nodes, dim=0)
assert (bound + gap - log_p_x[0]).abs().max() < 1e-6

figure, axis = plt.subplots(figsize=(6.2, 3.4))
low = float(log_p_x[0]) - 12
axis.fill_between(at, low, bound, color=PALETTE[3], alpha=0.5, lw=0, label="ELBO, from below")
axis.fill_between(at, bound, bound + gap, color=PALETTE[1], alpha=0.45, lw=0, label="KL(q ‖ p(z|x))")
axis.axhline(float(log_p_x[0]), color=PALETTE[0], label="log p(x)")
axis.set(xlabel="mean of q", ylabel="nats", ylim=(low, float(log_p_x[0]) + 1.5), xlim=(-2.5, 2.5))
axis.set_title("Two parts of one number")
axis.legend(loc="upper right", ncols=3)
plt.show()

# %% [markdown]
# ## To try
#
# - Move the two modes of $p$ together: `means = [-0.8, 0.8]`. When does the mode-seeking $q$ begin to cover both?
# - Give the encoder of the check any other weights. The identity cannot be broken, only the shares change.
# - Which divergence would you rather have between a model and the data, and which between $q$ and a posterior?
