# %% [markdown]
# # 10. Digits, and digits of which a part is known
#
# Doersch's tutorial (2016, section 4) shows two models. The first learns handwritten digits and makes new ones. The
# second is given one column of pixels from the middle of a digit and fills in the rest. There a lesson is to be learned
# that goes beyond digits: **where several answers are right, a regressor gives their average, and the average is
# wrong.**

# %%
import matplotlib.pyplot as plt
import torch
from common import QUICK, digits, mnist, size, tiles

import reparam as rp

torch.manual_seed(0)
found = mnist()
if found is None:  # scikit-learn's digits, 8 x 8
    images, labels = digits()
    train, test = images[: size(1500, 200)], images[size(1500, 1700) :]
    epochs, hidden, latent = size(150, 1), size((256,), (16,)), size(8, 2)
else:  # MNIST, 28 x 28: where REPARAM_DATA names the folder that has it
    train, test = (torch.tensor(x >= 128, dtype=torch.float32) for x in (found[0], found[2][:1000]))
    epochs, hidden, latent = 5, (400,), 16
shape = tuple(train.shape[1:])
print(f"{len(train)} images of {shape} pixels to learn from, {len(test)} to test")

# %% [markdown]
# ## The digits
#
# The model of the first pages, with more latent dimensions. Its samples are shown as the decoder's probabilities.

# %%
vae = rp.recipes.vae(shape, latent, likelihood="bernoulli", hidden=hidden, mean=train.mean(0))
rp.fit(vae, train, epochs=epochs, lr=1e-3, seed=0)
print("all pixels:", rp.evaluate.log_likelihood(vae, test, k=size(1000, 20)))

figure, axes = plt.subplots(2, 1, figsize=(8.2, 2.9))
torch.manual_seed(1)
tiles(axes[0], test[:32], columns=16, title="data")
tiles(axes[1], vae.sample(32, mean=True), columns=16, title="samples")
plt.show()

# %% [markdown]
# ## One column is known
#
# Now let $c$ be the centre column of an image, and $x$ the whole of it. Two models of $p(x|c)$:
#
# - The **regressor**: a network from $c$ to the probability of every pixel. Given $c$, the pixels are independent.
# - The **conditional variational autoencoder** (Sohn et al. 2015): the column goes into the encoder and the decoder,
#   beside $x$ and beside $z$,
#
# $$\log p(x|c) \ge \mathbb{E}_{q(z|x, c)}\big[\log p(x|z, c)\big] - \mathrm{KL}\big(q(z|x, c) \,\|\, p(z)\big) .$$
#
# Contexts in reparam are further arguments: `fit(..., contexts=(c,))`, `vae.sample(n, c)`,
# `evaluate.log_likelihood(..., contexts=(c,))`. `context` is how many numbers they are.

# %%
middle = shape[1] // 2


def column(x):
    """The centre column of images (N, H, W): (N, H)."""
    return x[:, :, middle]


cvae = rp.recipes.vae(shape, latent, likelihood="bernoulli", hidden=hidden, context=shape[0], mean=train.mean(0))
history = rp.fit(cvae, train, contexts=(column(train),), epochs=epochs, lr=1e-3, seed=0)
print(f"ELBO of the last epoch {history['train_objective'][-1]:.2f} nats")

# %% [markdown]
# A regressor is a model whose decoder does not look at the code. Written so, it is trained and judged by the same
# functions. Its encoder has nothing to say: with all weights at zero, $q(z|x) = N(0, I) = p(z)$, the KL is zero, and
# the bound is $\log p(x|c)$ itself.


# %%
class Regressor(torch.nn.Module):
    """From the column to the image, whatever the code."""

    def __init__(self):
        super().__init__()
        self.net = rp.networks.mlp(shape[0], shape, hidden)
        with torch.no_grad():  # it starts at the mean digit, as the other models do
            self.net.last.bias.copy_(train.mean(0).clamp(0.01, 0.99).logit().flatten())

    def forward(self, z, c):
        """Shapes: z (B, 1), c (B, H) to (B, H, W)."""
        return self.net(c)


silent = rp.networks.mlp(shape, 2, (), context=shape[0])
for parameter in silent.parameters():
    torch.nn.init.zeros_(parameter)
silent.requires_grad_(False)
regressor = rp.VAE(
    rp.priors.StandardNormal(1), rp.likelihoods.Bernoulli(Regressor()), rp.posteriors.DiagonalGaussian(silent)
)
held = size(0.1, None)  # a share held out, by which the best epoch is kept: regressors learn by heart soon
history = rp.fit(regressor, train, contexts=(column(train),), epochs=epochs, lr=1e-3, seed=0, validation=held)
print(f"best epoch {history.best_epoch} of {epochs}")

# %%
c = column(test)
log_p = {
    "regressor": rp.evaluate.log_likelihood(regressor, test, k=1, contexts=(c,)),
    "conditional VAE": rp.evaluate.log_likelihood(cvae, test, k=size(1000, 20), contexts=(c,)),
}
for name, estimate in log_p.items():
    print(f"log p(x|c), {name:16s} {estimate}")
gain = log_p["conditional VAE"].per_datum - log_p["regressor"].per_datum
print(
    f"the conditional VAE is better by {float(gain.mean()):.2f} ± {float(gain.std()) / len(gain) ** 0.5:.2f} nats for each image"
)

# %% [markdown]
# ## Pictures
#
# The first digits of the test set. Shown: what is given (grey is unknown), the regressor's answer, four draws of the
# conditional VAE for the same column, each from another code, and the truth.

# %%
rows = list(range(size(14, 6)))
given = torch.full_like(test[rows], 0.5)
given[:, :, middle] = c[rows]
with torch.no_grad():
    answer = regressor.decode(torch.zeros(len(rows), 1), c[rows])
torch.manual_seed(2)
draws = [cvae.sample(len(rows), c[rows], mean=True) for _ in range(4)]
figure, axis = plt.subplots(figsize=(8.2, 4.6))
tiles(axis, torch.cat([given, answer, *draws, test[rows]]), columns=len(rows))
names = ["given", "regressor", "conditional VAE", "", "", "", "truth"]
axis.set_yticks([i * (shape[0] + 1) + shape[0] / 2 for i in range(7)], names)
axis.set_title("The centre column, filled in")
plt.show()

# %% [markdown]
# The regressor's answers are grey where the possible digits differ: neither one nor the other. Each draw of the
# conditional VAE decides for *one* image through the column, and another draw may be another digit. Not every draw is a
# digit that somebody would write: the model is small and its training is short.
#
# The two are not in contradiction: average many draws of the conditional VAE and the blur comes back, because the
# average over $z$ of the decoder's probabilities is $\mathbb{E}[x|c]$, which is what a regressor estimates.

# %%
some = size(100, 10)
with torch.no_grad():
    blurred = regressor.decode(torch.zeros(some, 1), c[:some])
    many = torch.stack([cvae.sample(some, c[:some], mean=True) for _ in range(size(200, 20))])


def grey(p):
    """The share of pixels that are neither black nor white: with a probability between 0.1 and 0.9."""
    return float(((p > 0.1) & (p < 0.9)).double().mean())


def apart(a, b):
    """The root of the mean squared difference of pixels."""
    return float((a - b).square().mean().sqrt())


print(
    f"grey pixels: regressor {grey(blurred):.2f}, a draw of the conditional VAE {grey(many):.2f}, the mean of many draws {grey(many.mean(0)):.2f}"
)
print(
    f"distance from the regressor: a draw {apart(many[0], blurred):.3f}, the mean of many draws {apart(many.mean(0), blurred):.3f}"
)
if not QUICK:
    assert apart(many.mean(0), blurred) < 0.7 * apart(many[0], blurred)

# %%
if not QUICK:
    assert float(gain.mean()) > 4 * float(gain.std()) / len(gain) ** 0.5
    assert grey(many) < 0.8 * grey(blurred)

# %% [markdown]
# ## To try
#
# - Give the class of the digit as the context in place of the column. What do different codes mean then?
# - Give two columns. By how many nats does the advantage of the code shrink?
# - `rp.recipes.cvae(..., learned_prior=True)` makes the prior a network too, $p(z|c)$. When should that help?
