"""Likelihoods p(x|z): conditionals with batch ``z.shape[:-1]`` and the event shape of one datum.

Each takes ``net``, any module from z (..., D) to the parameters (..., *event); ``outputs(event)`` is the shape that it
reads. All are normalised: sums and integrals over x are one. The values that each can explain are its support;
``VAE.check`` refuses others by name.
"""

from reparam.likelihoods.base import Likelihood
from reparam.likelihoods.classes import Bernoulli, Categorical, Multinomial, Ordinal
from reparam.likelihoods.counts import Binomial, NegativeBinomial, Poisson, ZeroInflated
from reparam.likelihoods.levels import DiscretizedLogistic, MixtureOfDiscretizedLogistics
from reparam.likelihoods.mixed import Mixed, Observed, Standardized
from reparam.likelihoods.real import (
    Beta,
    ContinuousBernoulli,
    Gaussian,
    Laplace,
    LogNormal,
    MixtureOfGaussians,
    StudentT,
)

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "LogNormal",
    "Mixed",
    "MixtureOfDiscretizedLogistics",
    "MixtureOfGaussians",
    "Multinomial",
    "NegativeBinomial",
    "Observed",
    "Ordinal",
    "Poisson",
    "Standardized",
    "StudentT",
    "ZeroInflated",
]
