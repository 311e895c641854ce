"""Dynamically binarised MNIST: importance weighting against the ELBO, and latents on a sphere."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np

import reparam as rp
from reparam import likelihoods, networks, posteriors, priors
from reproduce.record import Figure, Record

SHAPE = (28, 28)


def images(data: Path, name: str) -> rp.Dataset:
    """The images of an idx file, binarised anew at every visit in training."""
    raw = gzip.decompress((data / "mnist" / f"{name}-images-idx3-ubyte.gz").read_bytes())
    return rp.Dataset(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, *SHAPE).copy(), binarize="dynamic")


def burda(data: Path, seed: int) -> Record:
    """VAE and IWAE of five samples with the net of Burda et al., under a shortened schedule."""
    epochs, k, latent = 100, 5, 50
    train, test = images(data, "train"), images(data, "t10k")
    started = time.monotonic()
    figures, values = [], {}
    published = {"VAE": ("-86.47", "20"), "IWAE": ("-85.54", "22")}
    for name, objective in (
        ("VAE", rp.objectives.ELBO(k, estimator="A")),
        ("IWAE", rp.objectives.IWAE(k, gradient="plain")),
    ):
        vae = rp.recipes.vae(SHAPE, latent, hidden=(200, 200), activation="tanh")
        lr = rp.schedules.Cosine(1e-3, 1e-4, over=1.0)
        rp.fit(vae, train, objective=objective, epochs=epochs, batch_size=100, lr=lr, seed=seed)
        estimate = rp.evaluate.log_likelihood(vae, test, k=5000, seed=seed)
        active = rp.evaluate.active_units(rp.evaluate.encode(vae, test, seed=seed))
        values[name] = estimate
        figures += [
            Figure(f"{name}, log p(x), K = 5000", published[name][0], estimate.value, estimate.stderr, "nats"),
            Figure(f"{name}, active units", published[name][1], active, None, "units"),
        ]
    gain = values["IWAE"].per_datum - values["VAE"].per_datum
    error = float(gain.std()) / len(gain) ** 0.5
    figures.append(Figure("IWAE less VAE, same images", "0.93", float(gain.mean()), error, "nats"))
    return Record(
        name="iwae",
        title="IWAE against VAE, five samples, dynamically binarised MNIST",
        source="Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, table 1, one stochastic layer, k = 5.",
        protocol=(
            "784-200-200-50, tanh; both objectives with five samples for each image; log p(x) by importance sampling with "
            "K = 5000 on the 10,000 test images, one binarisation for both models."
        ),
        differs=(
            f"Differs: {epochs} epochs in batches of 100 with a cosine from 0.001 to 0.0001, where the paper trains 3,280 "
            "epochs in batches of 20: both models end below the published ones, and it is their difference that compares."
        ),
        seed=seed,
        seconds=time.monotonic() - started,
        figures=figures,
    )


def sphere(data: Path, seed: int) -> Record:
    """A hyperspherical latent space against a normal one."""
    epochs, hidden = 100, (256, 128)
    train, test = images(data, "train"), images(data, "t10k")
    started = time.monotonic()
    figures = []
    published = {(5, "normal"): "-110.21 ± 0.21", (5, "sphere"): "-108.43 ± 0.09",
                 (10, "normal"): "-93.84 ± 0.30", (10, "sphere"): "-93.16 ± 0.31"}  # fmt: skip
    for (dim, name), theirs in published.items():
        if name == "normal":
            vae = rp.recipes.vae(SHAPE, dim, hidden=hidden)
        else:  # the sphere S^dim lies in dim + 1 dimensions
            decoder = networks.mlp(dim + 1, SHAPE, tuple(reversed(hidden)))
            vae = rp.VAE(
                priors.SphereUniform(dim + 1),
                likelihoods.Bernoulli(decoder),
                posteriors.VonMisesFisher(networks.mlp(SHAPE, dim + 2, hidden)),
            )
        objective = rp.objectives.ELBO(beta=rp.schedules.Linear(0.0, 1.0, over=0.1))
        rp.fit(vae, train, objective=objective, epochs=epochs, batch_size=64, seed=seed, validation=1 / 6, patience=50)
        estimate = rp.evaluate.log_likelihood(vae, test, k=500, seed=seed)
        what = f"{'normal, R' if name == 'normal' else 'sphere, S'}^{dim}, log p(x), K = 500"
        figures.append(Figure(what, theirs, estimate.value, estimate.stderr, "nats"))
    return Record(
        name="sphere",
        title="Latents on a sphere, dynamically binarised MNIST",
        source="Davidson et al. (2018), Hyperspherical variational auto-encoders, table 1.",
        protocol=(
            "Encoder 784-256-128, decoder mirrored, ReLU; batches of 64, Adam at 0.001, warm-up, patience of 50 epochs on "
            "10,000 held-out images; log p(x) by importance sampling with K = 500."
        ),
        differs=f"Differs: at most {epochs} epochs; one seed, where the paper gives mean and deviation of ten runs.",
        seed=seed,
        seconds=time.monotonic() - started,
        figures=figures,
    )
