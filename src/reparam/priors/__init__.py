"""Priors p(z): conditionals with batch () or (B,) and event (D,). One distribution gives density and samples."""

from reparam.priors.codes import Codes
from reparam.priors.conditional import ConditionalGaussian
from reparam.priors.discrete import Autoregressive, Bernoulli, Categorical, Label
from reparam.priors.families import Dirichlet, Gamma, SphereUniform
from reparam.priors.flow import Flow
from reparam.priors.gaussian import Gaussian, StandardNormal
from reparam.priors.hierarchical import TopDown
from reparam.priors.mixture import Mixture
from reparam.priors.vamp import VampPrior

__all__ = [
    "Autoregressive",
    "Bernoulli",
    "Categorical",
    "Codes",
    "ConditionalGaussian",
    "Dirichlet",
    "Flow",
    "Gamma",
    "Gaussian",
    "Label",
    "Mixture",
    "SphereUniform",
    "StandardNormal",
    "TopDown",
    "VampPrior",
]
