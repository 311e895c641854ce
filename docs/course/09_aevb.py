# %% [markdown]
# # 9. Auto-encoding variational Bayes
#
# The paper that this course is about (Kingma & Welling 2014) has four figures with results, and an appendix that goes
# further than most of what came after it. This page repeats them in small: on digits of 8 x 8 pixels, with networks of
# 100 hidden units, in minutes. What can be compared is the **order** of the methods, not the numbers. Figures 2 and 3 on
# MNIST, with five latent sizes and up to 50,000 images, are among the [reproductions](../reproductions.md).
#
# Differences, besides the data: Adam in place of Adagrad, no weight decay.

# %%
import math

import matplotlib.pyplot as plt
import torch
from common import PALETTE, QUICK, digits, size, tiles

from torch.nn.functional import softplus

import reparam as rp

images, _ = digits()
train, test = images[: size(1500, 200)], images[size(1500, 1700) :]
HIDDEN, RATE, BATCH = size(100, 16), 2e-3, 100


def model(latent_dim):
    """Encoder and decoder with one layer of tanh, as in appendix C, with Bernoulli pixels."""
    torch.manual_seed(0)
    return rp.recipes.vae((8, 8), latent_dim, hidden=(HIDDEN,), activation="tanh", mean=train.mean(0))


# %% [markdown]
# ## Figure 2: the bound against the data seen
#
# The competitor of the day was the **wake-sleep** algorithm (Hinton et al. 1995). It has the same two networks, needs
# no trick, and works for discrete codes as well: awake, the decoder learns from codes that the encoder draws for real
# data; asleep, the encoder learns from data that the decoder dreams up. Its flaw is that the two do not climb the same
# hill. In reparam it is another objective, `rp.objectives.WakeSleep()`; what it reports is the bound all the same, so
# the two can be drawn on one axis.

# %%
epochs = size(100, 2)
sizes = size((2, 5, 10, 20), (2, 5))
curves = {}
models = {}
for dim in sizes:
    for name, objective in (("AEVB", rp.objectives.ELBO()), ("wake-sleep", rp.objectives.WakeSleep())):
        vae = model(dim)
        history = rp.fit(
            vae, train, objective=objective, epochs=epochs, batch_size=BATCH, lr=RATE, seed=0, validation=test
        )
        curves[name, dim] = history["train_objective"], history["validation_objective"]
        models[name, dim] = vae

figure, axes = plt.subplots(1, len(sizes), figsize=(9.6, 3.0), sharey=True)
seen = [len(train) * (i + 1) for i in range(epochs)]
for axis, dim in zip(axes, sizes, strict=True):
    for name, colour in (("AEVB", PALETTE[0]), ("wake-sleep", PALETTE[1])):
        for values, line, part in zip(curves[name, dim], ("-", "--"), ("train", "test"), strict=True):
            axis.plot(seen, values, line, color=colour, lw=1.2, label=f"{name}, {part}")
    axis.set(xscale="log", xlabel="digits seen", title=f"{dim} latent dimensions")
axes[0].set_ylabel("ELBO, nats per digit")
axes[0].set_ylim(size(-26.5, -50), None)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %%
print("test ELBO, best epoch     AEVB   wake-sleep")
for dim in sizes:
    found = [max(curves[name, dim][1]) for name in ("AEVB", "wake-sleep")]
    print(f"{dim:3d} latent dimensions {found[0]:9.2f} {found[1]:12.2f}")
    if not QUICK:
        assert found[0] > found[1]

# %% [markdown]
# AEVB is above wake-sleep at every size, as in the paper, and **superfluous dimensions do no harm**: with 20 the test
# bound is hardly below that with 10. The KL prices each dimension, and one that does not pay is shut; nothing like that
# restrains a plain autoencoder.

# %%
if not QUICK:
    assert max(curves["AEVB", 20][1]) > max(curves["AEVB", 10][1]) - 0.5

# %% [markdown]
# ## How log p(x) is measured: appendix D, and a check
#
# Figure 3 is about the marginal likelihood itself. With few latent dimensions the paper estimates it by Hamiltonian
# Monte Carlo and a harmonic mean. That estimator has a bad name, and is right only under conditions; it is in reparam
# as `method="harmonic"`, to repeat the paper. With three latent dimensions there is a judge: a grid in the cube.

# %%
vae = model(3)
rp.fit(vae, train, epochs=size(60, 1), batch_size=BATCH, lr=RATE, seed=0)


def log_p_by_grid(vae, x, n):
    """log p(x) of digits (B, 8, 8), by a grid of n³ codes between -5 and 5: (B,)."""
    line = torch.linspace(-5, 5, n)
    x, log_joint = x.flatten(1), []
    with torch.no_grad():
        for z1 in line:
            z = torch.cartesian_prod(z1.reshape(1), line, line)
            logits = vae.likelihood.net(z).flatten(1)
            log_px = logits @ x.T - softplus(logits).sum(1, keepdim=True)  # Bernoulli: x l - log(1 + e^l)
            log_joint.append((log_px + vae.prior().log_prob(z).unsqueeze(1)).logsumexp(0))
    return torch.stack(log_joint).double().logsumexp(0) + 3 * math.log(10 / (n - 1))


few = test[:6]
exact = log_p_by_grid(vae, few, size(81, 15))
finer = log_p_by_grid(vae, few, size(121, 21))
print(f"a finer grid moves the answer by {float((finer - exact).abs().max()):.1e} nats")
assert float((finer - exact).abs().max()) < size(1e-3, 0.05)

estimates = {
    "importance, K = 50,000": rp.evaluate.log_likelihood(vae, few, k=size(50_000, 1000)),
    "prior, K = 50,000": rp.evaluate.log_likelihood(vae, few, k=size(50_000, 1000), method="prior"),
}
if not QUICK:  # its chains take a while
    estimates["harmonic, K = 1,000"] = rp.evaluate.log_likelihood(vae, few, k=1000, method="harmonic")
print(f"{'3-D quadrature':24s}", *(f"{float(v):9.3f}" for v in exact))
for name, estimate in estimates.items():
    print(f"{name:24s}", *(f"{float(v):9.3f}" for v in estimate.per_datum))
worst = {name: float((estimate.per_datum - exact).abs().max()) for name, estimate in estimates.items()}
print("largest error, nats:", {name: round(e, 4) for name, e in worst.items()})
if not QUICK:
    assert worst["importance, K = 50,000"] < 0.05
    assert worst["harmonic, K = 1,000"] < 0.3

# %% [markdown]
# ## Figure 3: against Monte Carlo EM
#
# The other competitor has no encoder at all. **Monte Carlo EM** draws codes from the true posterior by Hamiltonian
# Monte Carlo, for every datum, and moves the decoder by the gradient of $\log p(x, z)$ at these codes (appendix E). It
# is without the error of an approximate $q$, and expensive: each draw costs ten gradients of the decoder, and chains
# must be run anew, or kept, for every datum. Here is all of it.


# %%
def log_joint_of(vae, x, z):
    """log p(x, z) for each pair, (B,)."""
    return vae.likelihood(z).log_prob(x) + vae.prior().log_prob(z)


def hamiltonian(vae, x, z, step, leapfrog=10):
    """One transition of Hamiltonian Monte Carlo at the posterior of each datum: new codes, and the share accepted."""

    def slope(z):
        z = z.detach().requires_grad_()
        return torch.autograd.grad(log_joint_of(vae, x, z).sum(), z)[0]

    start, momentum = z, torch.randn_like(z)
    moving = momentum + step / 2 * slope(z)
    for i in range(leapfrog):
        z = z + step * moving
        moving = moving + (step if i < leapfrog - 1 else step / 2) * slope(z)
    with torch.no_grad():
        energy = log_joint_of(vae, x, z) - log_joint_of(vae, x, start)
        accept = (energy + (momentum.square() - moving.square()).sum(1) / 2).exp().clamp_max(1)
        taken = torch.rand_like(accept) < accept
    return torch.where(taken.unsqueeze(1), z, start), float(accept.mean())


def monte_carlo_em(x, steps, look):
    """A decoder trained by Monte Carlo EM; each datum keeps its chain. ``look`` is called now and then."""
    vae = model(3)
    torch.manual_seed(0)
    adam = torch.optim.Adam(vae.likelihood.parameters(), lr=RATE)
    codes, size_of_step = torch.randn(len(x), 3), 0.1
    for step in range(1, steps + 1):
        rows = torch.randperm(len(x))[:BATCH]
        codes[rows], accepted = hamiltonian(vae, x[rows], codes[rows], size_of_step)
        size_of_step *= math.exp(0.05 * (accepted - 0.9))  # towards the acceptance rate of the paper
        loss = -log_joint_of(vae, x[rows], codes[rows]).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        look(vae, step)


# %% [markdown]
# The three algorithms, three latent dimensions, with few data and with all there are (in the paper 1,000 and 50,000).
# The marginal likelihood is that of the grid, for all of them.

# %%
steps = size(1500, 6)
whole = math.ceil(len(train) / BATCH)  # steps in an epoch of all data: at its end everything can be looked at
looks = sorted({max(1, round(steps * f / whole)) * whole for f in (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)})
judged = {"train": train[: size(100, 20)], "test": test[: size(200, 20)]}
found = {}


def watch(name, n):
    """A function that notes log p(x) of training and test digits at some of the steps."""
    found[name, n] = {part: [] for part in judged}

    def look(vae, step):
        if step in looks:
            for part, x in judged.items():
                found[name, n][part].append(float(log_p_by_grid(vae, x, size(51, 11)).mean()))

    return look


for n in size((100, 1500), (100, 200)):
    x = train[:n]
    for name, objective in (("AEVB", rp.objectives.ELBO()), ("wake-sleep", rp.objectives.WakeSleep())):
        vae, look = model(3), watch(name, n)
        per_epoch = math.ceil(n / BATCH)

        def each(record, vae=vae, look=look):
            """Look at the epochs' last steps."""
            look(vae, record["step"])

        epochs = math.ceil(steps / per_epoch)
        rp.fit(vae, x, objective=objective, epochs=epochs, batch_size=BATCH, lr=RATE, seed=0, on_epoch=each)
    monte_carlo_em(x, steps, watch("Monte Carlo EM", n))

figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.4), sharey=True)
for axis, n in zip(axes, sorted({n for _, n in found}), strict=True):
    for name, colour in zip(("AEVB", "wake-sleep", "Monte Carlo EM"), PALETTE, strict=False):
        for part, line in (("train", "-"), ("test", "--")):
            axis.plot(
                [s * BATCH for s in looks],
                found[name, n][part],
                line,
                color=colour,
                marker="o",
                ms=2.5,
                label=f"{name}, {part}",
            )
    axis.set(xscale="log", xlabel="digits seen", title=f"{n:,} digits to learn from")
axes[0].set(ylabel="log p(x), nats per digit", ylim=(size(-28, -60), None))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
plt.show()

# %% [markdown]
# For each digit seen, Monte Carlo EM learns most, in both panels: its codes come from the true posterior, and nothing
# is lost to a $q$ that is not quite right. But the axis hides the price. It takes eleven gradients of the decoder for
# every digit seen, where AEVB takes one, and it keeps a chain for each datum that must be visited often; here each
# digit is visited a hundred times. With the 50,000 images of the paper that was out of reach, and no online algorithm
# can be made of it. A new datum costs as much again, while the encoder answers at once.
#
# AEVB is ahead of wake-sleep for each digit seen. In the left panel the two faster learners come to know the hundred
# digits by heart, and their test curves turn down.

# %%
most = max(n for _, n in found)
for name in ("AEVB", "wake-sleep", "Monte Carlo EM"):
    print(
        f"{most} digits, {name:15s} log p(x): train {found[name, most]['train'][-1]:.2f}, test {found[name, most]['test'][-1]:.2f}"
    )
if not QUICK:
    assert found["AEVB", most]["test"][-1] > found["wake-sleep", most]["test"][-1]

# %% [markdown]
# ## Figures 4 and 5: pictures
#
# The map of a two-dimensional latent space, figure 4, is on page 8. Figure 5 shows samples for several latent sizes.

# %%
figure, axes = plt.subplots(len(sizes), 1, figsize=(8.2, 1.0 * len(sizes) + 0.6))
for axis, dim in zip(axes, sizes, strict=True):
    torch.manual_seed(0)
    tiles(axis, models["AEVB", dim].sample(20, mean=True), columns=20, title=f"{dim} latent dimensions")
plt.show()

# %% [markdown]
# ## Appendix F: a distribution over the weights too
#
# Why stop at $z$? The decoder's weights $\theta$ are unknown as well, and with little data they are far from certain.
# Give them a prior and a Gaussian $q(\theta)$ of their own, and draw them by the same trick:
#
# $$\log p(X) \ge \mathbb{E}_{q(\theta)}\Big[ \sum_n \text{ELBO}_\theta(x_n) \Big] - \mathrm{KL}\big(q(\theta) \,\|\, p(\theta)\big) .$$
#
# One draw of $\theta$ for each batch, one $z$ for each datum. `torch.func.functional_call` runs a model with weights
# that are given; what it returns is the same `Draw`, and `rp.objectives.ELBO().bound` reads it.

# %%
scarce = train[: size(60, 60)]
prior_scale = 0.3


def full_variational(x, steps):
    """Means and log-scales of the decoder's weights, and the encoder's weights, by the bound above."""
    vae = model(5)
    torch.manual_seed(0)
    encoder = {
        n: p.detach().clone().requires_grad_() for n, p in vae.named_parameters() if not n.startswith("likelihood")
    }
    mean = {n: p.detach().clone().requires_grad_() for n, p in vae.named_parameters() if n.startswith("likelihood")}
    log_scale = {n: torch.full_like(p, -3.0).requires_grad_() for n, p in mean.items()}
    adam = torch.optim.Adam([*encoder.values(), *mean.values(), *log_scale.values()], lr=RATE)
    objective = rp.objectives.ELBO()
    for _ in range(steps):
        weights = {n: mean[n] + log_scale[n].exp() * torch.randn_like(mean[n]) for n in mean}
        draw = torch.func.functional_call(vae, {**encoder, **weights}, (x,))
        kl = sum(
            ((m / prior_scale).square() + (2 * (s - math.log(prior_scale))).exp() - 1).sum() / 2
            - (s - math.log(prior_scale)).sum()
            for m, s in zip(mean.values(), log_scale.values(), strict=True)
        )
        loss = kl / len(x) - objective.bound(draw).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return vae, encoder, mean, log_scale


def log_predictive(vae, weights, x, k):
    """log of the mean over draws of all weights of p(x|weights), by importance sampling with k codes each: (B,)."""
    with torch.no_grad():
        each = [torch.func.functional_call(vae, w, (x,), {"k": k}).log_w.logsumexp(0) - math.log(k) for w in weights]
    return torch.stack(each).logsumexp(0) - math.log(len(each))


# %%
steps, k = size(4000, 5), size(200, 10)
point = model(5)
rp.fit(point, scarce, epochs=steps, batch_size=len(scarce), lr=RATE, seed=0)
vae, encoder, mean, log_scale = full_variational(scarce, steps)
torch.manual_seed(1)
draws = [
    {**encoder, **{n: mean[n] + log_scale[n].exp() * torch.randn_like(mean[n]) for n in mean}}
    for _ in range(size(100, 3))
]
rows = {
    "point estimate of the weights": [dict(point.named_parameters())],
    "a distribution over them": draws,
}
print(f"{len(scarce)} digits to learn from     log p(x), train    log p(x), test")
scores = {}
for name, weights in rows.items():
    scores[name] = [log_predictive(vae, weights, x, k) for x in (scarce, test)]
    print(f"{name:32s} {float(scores[name][0].mean()):9.2f} {float(scores[name][1].mean()):17.2f}")
gain = scores["a distribution over them"][1] - scores["point estimate of the weights"][1]
print(f"gain on test digits {float(gain.mean()):.2f} ± {float(gain.std()) / len(gain) ** 0.5:.2f} nats")
if not QUICK:
    assert float(gain.mean()) > 4 * float(gain.std()) / len(gain) ** 0.5

# %% [markdown]
# The point estimate knows its sixty digits by heart and is surprised by others. With a distribution over weights, what
# sixty digits cannot decide stays open, and open questions are averaged over. (The paper derives this and shows no
# experiment.)

# %% [markdown]
# ## To try
#
# - Figure 2 with `rp.objectives.ReweightedWakeSleep(5)`: wake-sleep with importance weights. Does it close the gap?
# - Start the chains of Monte Carlo EM anew at every visit. How many transitions are needed before it learns at all?
# - Let the scale of the weights' prior be learned: the bound tells when it is right.
