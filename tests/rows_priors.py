"""Rows of the table of laws: every public prior."""

from __future__ import annotations

import torch
from torch import nn

from reparam import posteriors, priors
from reparam.networks import mlp
from rows import LATENT, Row, plane
from rows_posteriors import circle, every_code, line_squared, quadrant, triangle

MEAN, COVARIANCE = [0.3, -2.0], [[2.0, 0.9], [0.9, 0.5]]


def gaussian(net: nn.Module) -> nn.Module:
    return priors.Gaussian(torch.tensor(MEAN), torch.tensor(COVARIANCE))


def gaussian_by_factor(net: nn.Module) -> nn.Module:
    return priors.Gaussian(torch.tensor(MEAN), scale_tril=torch.linalg.cholesky(torch.tensor(COVARIANCE)))


def vamp(net: nn.Module) -> nn.Module:
    return priors.VampPrior(posteriors.DiagonalGaussian(net), 3, (2,))


def flow(kind: str):
    return lambda net: priors.Flow(LATENT, 2, (8,), kind)


PRIORS = {
    "StandardNormal": Row(priors.StandardNormal, lambda net: priors.StandardNormal(LATENT), LATENT, plane),
    "Gaussian": Row(priors.Gaussian, gaussian, LATENT, plane),
    "Gaussian by factor": Row(priors.Gaussian, gaussian_by_factor, LATENT, plane),
    "Mixture": Row(priors.Mixture, lambda net: priors.Mixture(LATENT, 3), LATENT, plane),
    "VampPrior": Row(priors.VampPrior, vamp, 2 * LATENT, plane),
}

# Given contexts: they obey the laws of what is conditional.
CONDITIONAL = {
    "ConditionalGaussian": Row(priors.ConditionalGaussian, priors.ConditionalGaussian, 2 * LATENT, plane),
}


# Without closed-form moments, or on a part of the plane: their laws are in test_priors.py.
def top_down() -> priors.TopDown:
    """p(z_2) p(z_1|z_2)."""
    below = posteriors.DiagonalGaussian(mlp(1, 2, (3,), "tanh"))
    return priors.TopDown([priors.StandardNormal(1), below], (1, 1))


OTHERS = {
    "TopDown": Row(priors.TopDown, lambda net: top_down(), LATENT, line_squared),
    "Flow affine": Row(priors.Flow, flow("affine"), LATENT, line_squared),
    "Flow spline": Row(priors.Flow, flow("spline"), LATENT, line_squared),
    "Gamma": Row(priors.Gamma, lambda net: priors.Gamma(LATENT, 0.7, 2.0), LATENT, quadrant),
    "Dirichlet": Row(priors.Dirichlet, lambda net: priors.Dirichlet(3, 0.6), LATENT, triangle),
    "SphereUniform": Row(priors.SphereUniform, lambda net: priors.SphereUniform(LATENT), LATENT, circle),
}

# Discrete: their laws are in test_discrete.py.
DISCRETE = {
    "Categorical": Row(priors.Categorical, lambda net: priors.Categorical(2, 3), 6, every_code),
    "Categorical learned": Row(priors.Categorical, lambda net: priors.Categorical(2, 3, True), 6, every_code),
    "Bernoulli": Row(priors.Bernoulli, lambda net: priors.Bernoulli(3), 3, every_code),
    "Bernoulli learned": Row(priors.Bernoulli, lambda net: priors.Bernoulli(3, True), 3, every_code),
    "Label": Row(priors.Label, lambda net: priors.Label(5), 5, every_code),
    "Autoregressive": Row(priors.Autoregressive, lambda net: priors.Autoregressive(2, 3, (5,)), 6, every_code),
    "Autoregressive deep": Row(priors.Autoregressive, lambda net: priors.Autoregressive(4, 3, (7, 5)), 12, every_code),
    "Autoregressive direct": Row(priors.Autoregressive, lambda net: priors.Autoregressive(3, 2, ()), 6, every_code),
    "Autoregressive bits": Row(priors.Autoregressive, lambda net: priors.Autoregressive(5, None, (9,)), 5, every_code),
    "Autoregressive one": Row(priors.Autoregressive, lambda net: priors.Autoregressive(1, 4), 4, every_code),
}
