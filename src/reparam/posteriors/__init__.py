"""Posteriors q(z|x): conditionals with batch (B,) and event (D,), drawn by reparameterization where z is continuous.

A net's output passes through bounded links, so that densities and gradients stay finite however far it is thrown.
"""

from reparam.posteriors.base import OfFeatures, Posterior
from reparam.posteriors.discrete import Bernoulli, Categorical, Label
from reparam.posteriors.flow import Flow
from reparam.posteriors.gaussian import DiagonalGaussian, FullGaussian, LowRankGaussian
from reparam.posteriors.hierarchical import BottomUp, Ladder, TopDown
from reparam.posteriors.laplace import Laplace
from reparam.posteriors.point import Point
from reparam.posteriors.positive import Gamma
from reparam.posteriors.quantized import FiniteScalar, VectorQuantized
from reparam.posteriors.simplex import Dirichlet, LogisticNormal
from reparam.posteriors.sphere import VonMisesFisher

__all__ = [
    "Bernoulli",
    "BottomUp",
    "Categorical",
    "DiagonalGaussian",
    "Dirichlet",
    "FiniteScalar",
    "Flow",
    "FullGaussian",
    "Gamma",
    "Label",
    "Ladder",
    "Laplace",
    "LogisticNormal",
    "LowRankGaussian",
    "OfFeatures",
    "Point",
    "Posterior",
    "TopDown",
    "VectorQuantized",
    "VonMisesFisher",
]
