"""Estimates of log p(x) against each other on a model of MNIST: importance sampling, annealing, and both sides at once."""

from __future__ import annotations

import time
from pathlib import Path

import reparam as rp
from reparam.evaluate import bdmc, log_likelihood
from reproduce.digits import SHAPE, images
from reproduce.record import Figure, Record

EPOCHS, TESTED, SIMULATED = 25, 300, 100


def run(data: Path, seed: int) -> Record:
    """A VAE of the usual size, and what its log p(x) is by each way to it."""
    train, test = images(data, "train"), images(data, "t10k")[:TESTED]
    started = time.monotonic()
    vae = rp.recipes.vae(SHAPE, 20, hidden=(400,))
    lr = rp.schedules.Cosine(1e-3, 1e-5, over=1.0)
    rp.fit(vae, train, objective=rp.objectives.ELBO(), epochs=EPOCHS, batch_size=128, lr=lr, seed=seed)
    trained = time.monotonic() - started
    importance = log_likelihood(vae, test, k=5000, seed=seed)
    annealed = log_likelihood(vae, test, k=16, method="ais", seed=seed, steps=500)
    more = annealed.per_datum - importance.per_datum
    sandwich = bdmc(vae, SIMULATED, k=16, seed=seed, steps=500)
    gap = sandwich.upper.per_datum - sandwich.lower.per_datum
    error = len(more) ** -0.5, len(gap) ** -0.5
    heavy = importance.khat is not None and float((importance.khat > 0.7).double().mean())
    return Record(
        name="bounds",
        title="Importance sampling, annealing and bidirectional Monte Carlo on one model of MNIST",
        source="Wu, Burda, Salakhutdinov & Grosse (2017), On the quantitative analysis of decoder-based generative models: the method.",
        protocol=(
            f"784-400-20-400-784, ReLU, Bernoulli, {EPOCHS} epochs on dynamically binarised images; the first {TESTED} test "
            "images. Importance sampling with K = 5000 from the encoder; 16 chains of 500 temperatures from the prior, 10 "
            f"leapfrog steps each; the sandwich on {SIMULATED} images of the model's own. Under \"published\" stands what must hold."
        ),
        differs=f"No table of the paper is repeated: the model is ours. Training took {trained / 60:.0f} minutes of the time below.",
        seed=seed,
        seconds=time.monotonic() - started,
        figures=[
            Figure("importance sampling, log p(x)", "", importance.value, importance.stderr, "nats"),
            Figure("annealing, log p(x)", "", annealed.value, annealed.stderr, "nats"),
            Figure("annealing less importance, same images", "0 to 1", float(more.mean()), float(more.std()) * error[0], "nats"),
            Figure("images with k-hat above 0.7", "", float(heavy), None, "share"),
            Figure("sandwich, lower", "", sandwich.lower.value, sandwich.lower.stderr, "nats"),
            Figure("sandwich, upper", "", sandwich.upper.value, sandwich.upper.stderr, "nats"),
            Figure("sandwich, upper less lower, same images", "0 to 1", float(gap.mean()), float(gap.std()) * error[1], "nats"),
        ],
    )  # fmt: skip
