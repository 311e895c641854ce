"""Kingma & Welling (2014) on MNIST: figures 2 and 3 with their competitors, and appendix F. Shorter than published."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

import reparam as rp
from reparam.train import History
from reproduce import digits
from reproduce.record import Curve, Figure, Record

SOURCE = "Kingma & Welling (2014), Auto-encoding variational Bayes, {}."
LATENTS, BATCH, RATE = (3, 5, 10, 20, 200), 100, 0.02
BOUND, PIECE = 150_000, 15_000  # images seen for figure 2, and between two points of its curves
LOOKS, CHAINED = (10_000, 30_000, 100_000, 300_000), 100_000  # images seen at the points of figure 3, and by chains
JUDGED, GRID, FINE = 100, 61, 121  # nodes from -5 to 5 on each axis of the cube
FULL = 400_000  # for appendix F
ALGORITHMS: dict[str, rp.objectives.Objective] = {"AEVB": rp.objectives.ELBO(), "wake-sleep": rp.objectives.WakeSleep()}


def images(data: Path, name: str, n: int, seed: int) -> Tensor:
    """The first n images, each pixel drawn once with its grey value as the probability of 1: (n, 28, 28)."""
    grey = torch.as_tensor(digits.images(data, name).x[:n]).float() / 255
    return torch.bernoulli(grey, generator=torch.Generator().manual_seed(seed))


def model(latent_dim: int, hidden: int, seed: int) -> rp.VAE:
    """One hidden layer of tanh on both sides (appendix C), Bernoulli pixels."""
    torch.manual_seed(seed)
    return rp.recipes.vae(digits.SHAPE, latent_dim, hidden=(hidden,), activation="tanh")


def adagrad(n: int) -> Callable[..., torch.optim.Optimizer]:
    """Adagrad on the mean over data, with the paper's weight decay: the prior N(0, 1) of the weights, over n data."""
    return partial(torch.optim.Adagrad, weight_decay=1 / n)


def learning(
    vae: rp.VAE, train: Tensor, objective: rp.objectives.Objective, looks: Iterable[int], seed: int, **more: Any
) -> Iterator[tuple[int, History]]:
    """Train from one look to the next, through the images in turn: (images seen, what happened since the last look)."""
    optimizer, before = adagrad(len(train))(vae.parameters(), lr=RATE), 0
    for seen in looks:
        x = train[torch.arange(before, seen) % len(train)]
        yield (
            seen,
            rp.fit(
                vae,
                x,
                objective=objective,
                epochs=1,
                batch_size=BATCH,
                lr=RATE,
                optimizer=optimizer,
                seed=seed + before,
                **more,
            ),
        )
        before = seen


def over(x: Tensor) -> tuple[float, float]:
    """The mean, and its standard error."""
    return float(x.mean()), float(x.std()) / len(x) ** 0.5


def bound(data: Path, seed: int) -> Record:
    """Figure 2: the lower bound against the images seen, for five latent sizes."""
    train, test = images(data, "train", 50_000, seed), images(data, "t10k", 10_000, seed)
    started, figures, curves = time.monotonic(), [], []
    for dim in LATENTS:
        ends = {}
        for name, objective in ALGORITHMS.items():
            vae = model(dim, 500, seed)
            lines: dict[str, list[float]] = {"train": [], "test": []}
            seen = list(range(PIECE, BOUND + 1, PIECE))
            for _, history in learning(vae, train, objective, seen, seed, validation=test[:1000]):
                lines["train"] += history["train_objective"]
                lines["test"] += history["validation_objective"]
            curves += [Curve(f"{dim} latents", f"{name}, {part}", seen, line) for part, line in lines.items()]
            ends[name] = rp.evaluate.elbo(vae, test, k=1, seed=seed).per_datum
            figures.append(Figure(f"{dim} latents, {name}, ELBO", "", *over(ends[name]), "nats"))
            print(figures[-1], f"{time.monotonic() - started:.0f} s", flush=True)
        gain = over(ends["AEVB"] - ends["wake-sleep"])
        figures.append(Figure(f"{dim} latents, AEVB less wake-sleep, same images", "above 0", *gain, "nats"))
    return Record(
        name="aevb_bound",
        title="The lower bound against wake-sleep, five latent sizes, MNIST",
        source=SOURCE.format("figure 2"),
        protocol=(
            "500 hidden units of tanh in encoder and decoder, 50,000 training images, batches of 100, one sample of z, Adagrad, "
            f"N(0, 1) as the prior of the weights; {BOUND:,} images seen by each model; the bound on the 10,000 test images. "
            "A point of a training curve is the mean over the images since the point before, and so lags. "
            "The paper draws curves and gives no numbers: under \"published\" stands what its figure shows."
        ),
        differs=(
            f"Differs: {BOUND:,} images seen, where the paper's axis ends at 100 million; pixels drawn once, 0 or 1; the step of "
            f"Adagrad is {RATE} for all, where the paper chooses among three."
        ),
        seed=seed,
        seconds=time.monotonic() - started,
        figures=figures,
        picture="The lower bound against images seen, for AEVB and wake-sleep",
        curves=curves,
        axes=["images seen", "ELBO, nats per image"],
    )  # fmt: skip


def by_quadrature(vae: rp.VAE, x: Tensor, n: int) -> Tensor:
    """log p(x) of images (B, 28, 28) under a model with three latents, by a grid of n³ codes from -5 to 5: (B,)."""
    line = torch.linspace(-5, 5, n)
    flat, plane = x.flatten(1), torch.cartesian_prod(line, line)
    total = torch.full((len(x),), -math.inf)
    with torch.no_grad():
        for first in line:
            z = torch.cat([first.expand(len(plane), 1), plane], 1)
            logits = vae.likelihood.net(z).flatten(1)
            log_px = logits @ flat.T - softplus(logits).sum(1, keepdim=True)
            total = torch.logaddexp(total, (log_px + vae.prior().log_prob(z).unsqueeze(1)).logsumexp(0))
    return total + 3 * math.log(10 / (n - 1))


def log_joint(vae: rp.VAE, x: Tensor, z: Tensor) -> Tensor:
    """log p(x, z) of pairs, (B,)."""
    return vae.likelihood(z).log_prob(x) + vae.prior().log_prob(z)


def transition(vae: rp.VAE, x: Tensor, z: Tensor, step: float, leapfrog: int = 10) -> tuple[Tensor, float]:
    """Hamiltonian Monte Carlo at p(z|x) of each image: the next codes, and the share accepted."""

    def slope(z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return torch.autograd.grad(log_joint(vae, x, z).sum(), z)[0]

    start, momentum = z, torch.randn_like(z)
    moving = momentum + step / 2 * slope(z)
    for i in range(leapfrog):
        z = z + step * moving
        moving = moving + (step if i < leapfrog - 1 else step / 2) * slope(z)
    with torch.no_grad():
        gained = log_joint(vae, x, z) - log_joint(vae, x, start)
        accept = (gained + (momentum.square() - moving.square()).sum(1) / 2).exp().clamp_max(1)
        taken = torch.rand_like(accept) < accept
    return torch.where(taken.unsqueeze(1), z, start), float(accept.mean())


def monte_carlo_em(x: Tensor, seed: int, look: Callable[[rp.VAE, int], None]) -> None:
    """Appendix E: a transition from where the image's chain was left, at an acceptance of 0.9, then 5 steps of Adagrad."""
    vae = model(3, 100, seed)
    optimizer = adagrad(len(x))(vae.likelihood.parameters(), lr=RATE)
    torch.manual_seed(seed)
    chains, size, seen = torch.randn(len(x), 3), 0.05, 0
    while seen < CHAINED:
        for rows in torch.randperm(len(x)).split(BATCH):
            chains[rows], accepted = transition(vae, x[rows], chains[rows], size)
            size *= math.exp(0.05 * (accepted - 0.9))
            for _ in range(5):
                optimizer.zero_grad()
                (-log_joint(vae, x[rows], chains[rows]).mean()).backward()
                optimizer.step()
            seen += len(rows)
            look(vae, seen)


def marginal(data: Path, seed: int) -> Record:
    """Figure 3: log p(x) against the images seen, for AEVB, wake-sleep and Monte Carlo EM, and its estimator checked."""
    everything, test = images(data, "train", 50_000, seed), images(data, "t10k", JUDGED, seed)
    started, figures, curves = time.monotonic(), [], []
    aevb = None
    for n in (1_000, 50_000):
        train, ends = everything[:n], {}
        for name in (*ALGORITHMS, "Monte Carlo EM"):
            found: dict[str, list[Tensor]] = {"train": [], "test": []}

            def look(vae: rp.VAE, seen: int, found: dict[str, list[Tensor]] = found, x: Tensor = train) -> None:
                if seen in LOOKS:
                    both = by_quadrature(vae, torch.cat([x[:JUDGED], test]), GRID)
                    found["train"].append(both[:JUDGED])
                    found["test"].append(both[JUDGED:])

            before = time.monotonic()
            if name in ALGORITHMS:
                vae = model(3, 100, seed)
                for seen, _ in learning(vae, train, ALGORITHMS[name], LOOKS, seed):
                    look(vae, seen)
                aevb = vae if name == "AEVB" else aevb
            else:
                monte_carlo_em(train, seed, look)
            for part, values in found.items():
                curves.append(
                    Curve(
                        f"{n:,} images",
                        f"{name}, {part}",
                        list(LOOKS[: len(values)]),
                        [float(v.mean()) for v in values],
                    )
                )
            ends[name] = found["test"][-1]
            figures.append(
                Figure(
                    f"{n:,} images, {name}, log p(x) of test images, {LOOKS[len(found['test']) - 1]:,} seen",
                    "",
                    *over(ends[name]),
                    "nats",
                )
            )
            print(figures[-1], f"{time.monotonic() - before:.0f} s", flush=True)
        gain = over(ends["AEVB"] - ends["wake-sleep"])
        figures.append(Figure(f"{n:,} images, AEVB less wake-sleep, same test images", "curves alone", *gain, "nats"))
    assert aevb is not None
    few = test[:10]
    exact = by_quadrature(aevb, few, FINE)
    for what, estimate in (
        (f"the grid of {GRID}³ against {FINE}³", by_quadrature(aevb, few, GRID)),
        (
            "importance sampling, K = 5000, against the grid",
            rp.evaluate.log_likelihood(aevb, few, k=5000, seed=seed).per_datum,
        ),
        (
            "the paper's estimator, K = 1000, against the grid",
            rp.evaluate.log_likelihood(aevb, few, k=1000, method="harmonic", seed=seed).per_datum,
        ),
    ):
        figures.append(
            Figure(f"{what}: largest difference of 10 images", "0", float((estimate - exact).abs().max()), None, "nats")
        )
    return Record(
        name="aevb_marginal",
        title="The marginal likelihood against wake-sleep and Monte Carlo EM, three latents, MNIST",
        source=SOURCE.format("figure 3 and appendices D and E"),
        protocol=(
            "100 hidden units of tanh, three latents, 1,000 and 50,000 training images, batches of 100, Adagrad, N(0, 1) as the "
            "prior of the weights. Monte Carlo EM: 10 leapfrog steps at an acceptance of 0.9, then 5 steps of the weights; each "
            f"image keeps its chain, which moves {CHAINED // 50_000} times with 50,000 images and {CHAINED // 1000} times with 1,000. log p(x) of the first {JUDGED} training and {JUDGED} test images by quadrature in the cube. The paper "
            "draws curves and gives no numbers."
        ),
        differs=(
            f"Differs: {LOOKS[-1]:,} images seen, {CHAINED:,} by Monte Carlo EM, where the paper's axis ends at 60 million; pixels drawn once, 0 or 1; the step of "
            f"Adagrad is {RATE} for all; log p(x) by quadrature, where the paper takes its own estimator, here checked below."
        ),
        seed=seed,
        seconds=time.monotonic() - started,
        figures=figures,
        picture="log p(x) against images seen, for AEVB, wake-sleep and Monte Carlo EM",
        curves=curves,
        axes=["images seen", "log p(x), nats per image"],
    )  # fmt: skip


class Weights:
    """q(θ), a diagonal Gaussian over the decoder's weights, and the encoder's weights, which are points."""

    def __init__(self, vae: rp.VAE) -> None:
        named = {name: p.detach().clone().requires_grad_() for name, p in vae.named_parameters()}
        self.encoder = {name: p for name, p in named.items() if not name.startswith("likelihood")}
        self.mean = {name: p for name, p in named.items() if name.startswith("likelihood")}
        self.log_scale = {name: torch.full_like(p, -4.0).requires_grad_() for name, p in self.mean.items()}

    def parameters(self) -> list[Tensor]:
        """All that is trained."""
        return [*self.encoder.values(), *self.mean.values(), *self.log_scale.values()]

    def draw(self) -> dict[str, Tensor]:
        """Weights of the whole model, by the reparameterization trick."""
        return self.encoder | {n: m + self.log_scale[n].exp() * torch.randn_like(m) for n, m in self.mean.items()}

    def kl(self) -> Tensor:
        """KL(q(θ) || N(0, I)) in nats."""
        return sum(
            ((m.square() + (2 * self.log_scale[n]).exp() - 1) / 2 - self.log_scale[n]).sum()
            for n, m in self.mean.items()
        )  # type: ignore[return-value]


def full(data: Path, seed: int) -> Record:
    """Appendix F: a distribution over the decoder's weights, against a point, where data are few."""
    n, seen, latent, k, draws = 1_000, FULL, 10, 100, 10
    train, test = images(data, "train", n, seed), images(data, "t10k", 500, seed)
    started, per_datum, figures = time.monotonic(), {}, []
    point = model(latent, 100, seed)
    rp.fit(point, train, epochs=seen // n, batch_size=BATCH, lr=1e-3, seed=seed)
    vae = model(latent, 100, seed)
    weights, objective = Weights(vae), rp.objectives.ELBO()
    torch.manual_seed(seed)
    adam = torch.optim.Adam(weights.parameters(), lr=1e-3)
    for _ in range(seen // n):
        for rows in torch.randperm(n).split(BATCH):
            draw = torch.func.functional_call(vae, weights.draw(), (train[rows],))
            adam.zero_grad()
            (weights.kl() / n - objective.bound(draw).mean()).backward()
            adam.step()
    sets: dict[str, list[dict[str, Tensor]]] = {
        "a point": [{name: p.detach() for name, p in point.named_parameters()}],
        "a distribution": [weights.draw() for _ in range(draws)],
    }
    for name, several in sets.items():
        for part, x in (("train", train[:500]), ("test", test)):
            with torch.no_grad():
                each = [torch.func.functional_call(vae, w, (x,), {"k": k}).log_w.logsumexp(0) for w in several]
            per_datum[name, part] = torch.stack(each).logsumexp(0) - math.log(k * len(several))
            figures.append(
                Figure(f"{name} for the weights, log p(x), 500 {part} images", "", *over(per_datum[name, part]), "nats")
            )
    gain = over(per_datum["a distribution", "test"] - per_datum["a point", "test"])
    figures.append(Figure("distribution less point, same test images", "not given", *gain, "nats"))
    return Record(
        name="aevb_full",
        title="A distribution over the decoder's weights, 1,000 images of MNIST",
        source=SOURCE.format("appendix F, which derives the method and shows no experiment"),
        protocol=(
            f"100 hidden units of tanh, {latent} latents, {n:,} training images, {seen:,} seen, batches of {BATCH}, Adam at 0.001; N(0, 1) as the "
            f"prior of the weights of the distribution, none for the point; log p(x) by importance sampling with K = {k}, and of the "
            f"distribution the mean of p(x) over {draws} draws of the weights."
        ),
        differs="Nothing published to differ from. The encoder's weights are points in both. A case in which the distribution gains, 60 digits and a narrower prior, is on page 9 of the course.",
        seed=seed,
        seconds=time.monotonic() - started,
        figures=figures,
    )  # fmt: skip
