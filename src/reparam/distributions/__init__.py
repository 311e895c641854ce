"""What torch.distributions lacks, and the closed forms of KL between what it has."""

from reparam.distributions import kl as _kl  # registers the closed forms
from reparam.distributions.affine import Affine
from reparam.distributions.autoregressive import autoregressive
from reparam.distributions.blend import Blend
from reparam.distributions.classes import Categorical, Multinomial, ordinal
from reparam.distributions.continuous import Beta, LogNormal, StudentT
from reparam.distributions.continuous_bernoulli import ContinuousBernoulli
from reparam.distributions.counts import Binomial, NegativeBinomial, Poisson, ZeroInflated
from reparam.distributions.delta import Delta
from reparam.distributions.flow import Flow
from reparam.distributions.joined import Joined
from reparam.distributions.links import bounded_exp
from reparam.distributions.logistic import DiscretizedLogistic, LogisticMixture
from reparam.distributions.logistic_normal import LogisticNormal
from reparam.distributions.mixture import Mixture
from reparam.distributions.noise import centre, element_support, from_standard_normal, unwrap
from reparam.distributions.sphere import SphereUniform, VonMisesFisher, sphere
from reparam.distributions.vectors import vector

__all__ = [
    "Affine",
    "Beta",
    "Binomial",
    "Blend",
    "Categorical",
    "ContinuousBernoulli",
    "Delta",
    "DiscretizedLogistic",
    "Flow",
    "Joined",
    "LogNormal",
    "LogisticMixture",
    "LogisticNormal",
    "Mixture",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
    "SphereUniform",
    "StudentT",
    "VonMisesFisher",
    "ZeroInflated",
    "autoregressive",
    "bounded_exp",
    "centre",
    "element_support",
    "from_standard_normal",
    "ordinal",
    "sphere",
    "unwrap",
    "vector",
]

del _kl
