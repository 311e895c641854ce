"""What torch.distributions lacks, and the closed forms of KL between what it has."""

from reparam.distributions import kl as _kl  # registers the closed forms
from reparam.distributions.affine import Affine
from reparam.distributions.classes import Categorical, Multinomial, ordinal
from reparam.distributions.continuous import Beta, LogNormal, StudentT
from reparam.distributions.continuous_bernoulli import ContinuousBernoulli
from reparam.distributions.counts import Binomial, NegativeBinomial, Poisson, ZeroInflated
from reparam.distributions.delta import Delta
from reparam.distributions.joined import Joined
from reparam.distributions.logistic import DiscretizedLogistic, Mixture
from reparam.distributions.noise import element_support, from_standard_normal, unwrap

__all__ = [
    "Affine",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "Delta",
    "DiscretizedLogistic",
    "Joined",
    "LogNormal",
    "Mixture",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
    "ZeroInflated",
    "element_support",
    "from_standard_normal",
    "ordinal",
    "unwrap",
]

del _kl
