"""Limits of the doctor from both sides: what lies a little beyond one is named, what lies a little within is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import reparam as rp
from models import Constant, Function, LinearGaussian
from reparam.evaluate.diagnosis import (
    checks_baseline,
    checks_data,
    checks_gaps,
    checks_latent,
    checks_likelihood,
    checks_samples,
    checks_training,
)
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.finding import SURE
from reparam.evaluate.diagnosis.subject import Subject
from reparam.evaluate.diagnosis.training import Run


class Patient(NamedTuple):
    """A model, its data, and what else an examination reads."""

    vae: rp.VAE
    x: Tensor
    train: Tensor | None = None
    run: Run = Run()
    gap_rows: int = 60


def named(check: Callable[..., None], patient: Patient) -> set[str]:
    """The findings of one check that are sure enough."""
    data = rp.Dataset(patient.x)
    subject = Subject(patient.vae, data, data, None if patient.train is None else rp.Dataset(patient.train), 0)
    chart = Chart(patient.run, gap_rows=patient.gap_rows)
    check(subject, chart)
    return {f.name for f in chart.findings if f.sure >= SURE}


def one_column(ratio: float, size: int = 3) -> LinearGaussian:
    """One latent, which moves the first element by ``ratio`` times the noise: I(x; z) = log(1 + ratio²) / 2."""
    w = torch.zeros(size, 1)
    w[0] = ratio
    return LinearGaussian(w, torch.zeros(size), 1.0)


def encoded(model: LinearGaussian, shift: Callable[[Tensor], Tensor]) -> rp.VAE:
    """q(z|x) with the exact variance, its mean off by ``shift(x)`` standard deviations; the precision is diagonal."""
    sd = 1 / model.precision.diagonal().sqrt()
    net = Function(lambda x: torch.cat([model.mean(x) + shift(x) * sd, (2 * sd.log()).expand(len(x), -1)], -1))
    return model.vae(rp.posteriors.DiagonalGaussian(net))


def off(by: float) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.full((len(x), 1), by)


# What follows makes a patient from the number that the limit is about.


def collapse(nats: float) -> Patient:
    model = one_column(math.sqrt(math.exp(2 * nats) - 1))
    return Patient(model.exact(), model.data(2000))


def idle(variance: float) -> Patient:
    """Of two latents, the mean of the second one varies by so much."""
    w = torch.diag(torch.tensor([3.0, math.sqrt(variance / (1 - variance))]))
    model = LinearGaussian(w, torch.zeros(2), 1.0)
    return Patient(model.diagonal(), model.data(2000))


def holes(nats: float) -> Patient:
    """Data from z of mean m: the codes have a mean of m and nearly the variance 1, m² / 2 nats from the prior."""
    model, z = one_column(6.0), torch.randn(1000, 1) + math.sqrt(2 * nats)
    return Patient(model.exact(), z @ model.w.T + torch.randn(1000, 3))


def correlation(r: float) -> Patient:
    model = LinearGaussian(6 * torch.eye(2), torch.zeros(2), 1.0)
    z = torch.randn(1000, 2) @ torch.linalg.cholesky(torch.tensor([[1.0, r], [r, 1.0]])).mT
    return Patient(model.exact(), z @ model.w.T + torch.randn(1000, 2))


def bad_encoder(nats: float) -> Patient:
    model = one_column(6.0)
    return Patient(encoded(model, off(math.sqrt(2 * nats))), model.data(60))


def ridge(nats: float) -> Patient:
    """x tells of z_0 + z_1 alone: the best diagonal q is log((1 + c) / sqrt(1 + 2c)) nats from p(z|x)."""
    low, high = 0.0, 1e6
    for _ in range(100):
        c = (low + high) / 2
        low, high = (c, high) if math.log((1 + c) / math.sqrt(1 + 2 * c)) < nats else (low, c)
    model = LinearGaussian(math.sqrt(c) * torch.ones(1, 2), torch.zeros(1), 1.0)
    return Patient(model.diagonal(), model.data(60))


def encoder_by_heart(nats: float) -> Patient:
    """The last element, noise alone, tells the encoder which rows are held out."""
    model = one_column(6.0)
    train, held = model.data(60, 1), model.data(60, 2)
    train[:, -1], held[:, -1] = train[:, -1].abs(), -held[:, -1].abs()
    return Patient(encoded(model, lambda x: math.sqrt(2 * nats) * (x[:, -1:] < 0)), held, train)


def decoder_by_heart(spreads: float) -> Patient:
    """Noise of 50 elements that is smaller in the training rows: log p(x) differs by so many of its spreads, 5 nats."""
    model = one_column(0.1, 50)
    train = model.data(400, 1) * math.sqrt(1 - spreads * 5 / 25)
    return Patient(model.exact(), model.data(400, 2), train, gap_rows=400)


def ranks(distance: float) -> Patient:
    """A shift by d standard deviations moves the distribution function by 2 Φ(d / 2) - 1."""
    model = one_column(6.0)
    d = 2 * math.sqrt(2) * float(torch.special.erfinv(torch.tensor(distance)))
    return Patient(encoded(model, off(d)), model.data(1000))


def scale(dispersion: float) -> Patient:
    """(noise of the data / scale of the model)² in 40 elements, of which z moves one."""
    x = one_column(3.0, 40).data(400)
    wrong = LinearGaussian(one_column(3.0, 40).w, torch.zeros(40), 1 / math.sqrt(dispersion))
    return Patient(wrong.exact(), x)


def counted(likelihood: nn.Module, x: Tensor) -> Patient:
    encoder = rp.posteriors.DiagonalGaussian(Constant(torch.zeros(2)))
    return Patient(rp.VAE(rp.priors.StandardNormal(1), likelihood, encoder), x)


def counts(dispersion: float) -> Patient:
    """Counts of mean 5 and so many times this variance: a mixture of Poissons by a gamma, or a binomial."""
    if dispersion > 1:
        shape = 5 / (dispersion - 1)
        rate = torch.distributions.Gamma(shape, shape / 5).sample((400, 8))
        x = torch.poisson(rate)
    else:
        p = 1 - dispersion
        x = torch.distributions.Binomial(round(5 / p), torch.tensor(5 / p / round(5 / p) * p)).sample((400, 8))
    return counted(rp.likelihoods.Poisson(Constant(torch.full((8,), math.log(5.0)))), x)


def shape(distance: float) -> Patient:
    """Noise a (±1) + sqrt(1 - a²) N(0, 1): the variance is right, and the distance from the normal law rises with a."""
    grid = torch.linspace(-4, 4, 2001, dtype=torch.float64)

    def away(a: float) -> float:
        rest = math.sqrt(1 - a * a)
        f = sum(torch.special.ndtr((grid - m) / rest) for m in (-a, a)) / 2
        return float((f - torch.special.ndtr(grid)).abs().max())

    a = min((i / 1000 for i in range(1000)), key=lambda a: abs(away(a) - distance))
    x = a * torch.randint(0, 2, (2000, 8)).mul(2.0).sub(1) + math.sqrt(1 - a * a) * torch.randn(2000, 8)
    model = one_column(3.0, 8)
    return Patient(model.exact(), x + torch.randn(2000, 1) @ model.w.T)


def floor(size: float) -> Patient:
    likelihood = rp.likelihoods.Gaussian(Constant(torch.zeros(3)), "elementwise", (3,))
    with torch.no_grad():
        likelihood.log_scale[1] = math.log(size)
    x = torch.randn(100, 3)
    x[:, 1] = 0.0
    return counted(likelihood, x)


def dead(share: float) -> Patient:
    vae = rp.recipes.vae(4, 2, likelihood="gaussian", hidden=(100,))
    with torch.no_grad():
        vae.posterior.net.layers[0].bias.fill_(1e3)
        vae.posterior.net.layers[0].bias[: round(100 * share)] = -1e6
        vae.likelihood.net.layers[0].bias.fill_(1e6)
    return Patient(vae, torch.randn(50, 4))


def history(**columns: list[float]) -> Patient:
    length = len(next(iter(columns.values())))
    records = [{"epoch": i + 1, **{k: v[i] for k, v in columns.items()}} for i in range(length)]
    return dead(0.0)._replace(run=Run(records))


def fall(times: float) -> Patient:
    return history(train_objective=[*(0.1 * i for i in range(12)), 1.1 - 0.1 * times, *(0.1 * i for i in range(8))])


def small_fall(nats: float) -> Patient:
    return history(train_objective=[*([0.001 * i for i in range(12)]), 0.011 - nats, *([0.001 * i for i in range(8)])])


def gradients(times: float) -> Patient:
    return history(grad_norm=[1.0, 1.0, 1.0, 1.0, 1.0, times, 1.0])


def warm_up(share: float) -> Patient:
    """Weights that were kept when beta had come to so much of its end."""
    records = [{"epoch": round(1000 * share), "train_objective": 0.0}]
    objective = rp.objectives.ELBO(beta=rp.schedules.Linear(0, 1))
    return dead(0.0)._replace(run=Run(records, objective, 1000))


def copies(share: float) -> Patient:
    model = one_column(1.0)
    x = model.data(2000)
    x[2000 - round(2000 * share) :] = x[: round(2000 * share)]
    return Patient(model.exact(), x)


def shared(share: float) -> Patient:
    model = one_column(1.0)
    x, train = model.data(2000), model.data(2000, 5)
    train[: round(2000 * share)] = x[: round(2000 * share)]
    return Patient(model.exact(), x, train)


def worse(nats: float) -> Patient:
    """A scale s times that of the noise in 40 elements costs 40 (log s - (1 - 1/s²) / 2) nats; q is exact."""
    low, high = 1.0, 10.0
    for _ in range(100):
        s = (low + high) / 2
        low, high = (s, high) if 40 * (math.log(s) - (1 - s**-2) / 2) < nats else (low, s)
    model = one_column(3.0, 40)
    return Patient(LinearGaussian(model.w, model.b, s).exact(), model.data(200), model.data(3000, 1), gap_rows=60)


def beside(subject: Subject, chart: Chart) -> None:
    """The baseline reads log p(x) of the gaps."""
    checks_gaps.elbo_gaps(subject, chart)
    checks_baseline.baseline(subject, chart)


def column(distance: float) -> Patient:
    """Of three columns of different families, the second is a coin, fair by the model and not in the data.

    The transform is then off by that difference at 1/2.
    """
    likelihood = rp.likelihoods.Mixed(
        Constant(torch.zeros(3)), [(rp.likelihoods.Gaussian, [0, 2]), (rp.likelihoods.Bernoulli, [1])]
    )
    x = torch.randn(2000, 3)
    x[:, 1] = (torch.rand(2000) < 0.5 + distance).float()
    return counted(likelihood, x)


def precise(share: float) -> Patient:
    """So many of the model's samples are like the data, and the others are far from all of them."""
    model, edge = one_column(3.0), float(torch.special.ndtri(torch.tensor(share)))
    net = Function(lambda z: z[..., :1] @ model.w.T + 100.0 * (z[..., 1:] > edge))
    encoder = Function(
        lambda x: torch.cat([model.mean(x), torch.full((len(x), 1), -4.0), torch.full((len(x), 2), -2.0)], -1)
    )
    vae = rp.VAE(
        rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(net, 1.0), rp.posteriors.DiagonalGaussian(encoder)
    )
    return Patient(vae, model.data(1000))


def covering(share: float) -> Patient:
    """So many of the data are like the model's samples, and the others are far from all of them."""
    model = one_column(3.0)
    x = model.data(1000)
    x[round(1000 * share) :] += 100
    return Patient(model.exact(), x)


LATENT, GAPS, FIT = checks_latent.latent_space, checks_gaps.elbo_gaps, checks_likelihood.likelihood_fit
ROWS, TRAINING = checks_data.likely_rows, checks_training.training

# finding: (check, patient, within, beyond): a few standard errors to either side of the limit
LIMITS = {
    "posterior_collapse": (LATENT, collapse, 0.07, 0.035),
    "collapsed_dimensions": (LATENT, idle, 0.012, 0.008),
    "holes": (LATENT, holes, 0.8, 1.4),
    "correlated_dimensions": (LATENT, correlation, 0.35, 0.55),
    "encoder_underfits": (GAPS, bad_encoder, 0.9, 1.1),
    "posterior_too_simple": (GAPS, ridge, 0.85, 1.25),
    "encoder_overfits": (GAPS, encoder_by_heart, 0.4, 0.7),
    "decoder_overfits": (GAPS, decoder_by_heart, 0.35, 0.9),
    "posterior_miscalibrated": (checks_latent.posterior_calibration, ranks, 0.11, 0.24),
    "scale_too_large": (FIT, scale, 0.55, 0.45),
    "scale_too_small": (FIT, scale, 1.8, 2.2),
    "overdispersed": (FIT, counts, 1.2, 1.5),
    "underdispersed": (FIT, counts, 0.6, 0.4),
    "likelihood_misfit": (FIT, shape, 0.1, 0.22),
    "column_misfit": (FIT, column, 0.1, 0.2),
    "decoder_underfits": (beside, worse, 0.7, 2.2),
    "scale_at_floor": (checks_likelihood.scales, floor, 1.2e-5, 0.8e-5),
    "dead_units": (TRAINING, dead, 0.49, 0.52),
    "unstable_training": (TRAINING, fall, 19.0, 21.0),
    "unstable_training in nats": (TRAINING, small_fall, 0.9, 1.1),
    "exploding_gradients": (TRAINING, gradients, 9.5, 10.5),
    "unfinished_warm_up": (TRAINING, warm_up, 0.995, 0.985),
    "duplicates": (ROWS, copies, 0.0045, 0.0065),
    "test_rows_in_training": (ROWS, shared, 0.0045, 0.0065),
    "samples_low_precision": (checks_samples.samples, precise, 0.55, 0.25),
    "samples_low_coverage": (checks_samples.samples, covering, 0.55, 0.25),
}


LONG = ("posterior_too_simple", "decoder_overfits")  # models that are trained


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.thorough] * (n in LONG)) for n in LIMITS])
def test_a_limit_parts_the_ill_from_the_healthy(name):
    check, patient, within, beyond = LIMITS[name]
    finding = name.split(" ")[0]
    torch.manual_seed(0)
    assert finding not in named(check, patient(within))
    torch.manual_seed(0)
    assert finding in named(check, patient(beyond))
