"""What torch.distributions lacks, and the closed forms of KL between what it has."""

from reparam.distributions import kl as _kl  # registers the closed forms
from reparam.distributions.affine import Affine
from reparam.distributions.autoregressive import autoregressive
from reparam.distributions.blend import Blend
from reparam.distributions.classes import Categorical, Multinomial, ordinal
from reparam.distributions.codes import Codes, codes_of
from reparam.distributions.continuous import Beta, LogNormal, StudentT
from reparam.distributions.continuous_bernoulli import ContinuousBernoulli
from reparam.distributions.counts import Binomial, NegativeBinomial, Poisson, ZeroInflated
from reparam.distributions.delta import Delta
from reparam.distributions.discrete import (
    Bits,
    Discrete,
    Known,
    OneHots,
    OwnDraws,
    Samples,
    known_label,
    list_values,
    own_draws,
    own_listing,
    relax,
)
from reparam.distributions.element_mixture import ElementMixture, GaussianMixture
from reparam.distributions.flow import Flow
from reparam.distributions.hierarchical import (
    Hierarchical,
    kl_of_layers,
    layers_of,
    one_way,
    product_of_gaussians,
    typical,
)
from reparam.distributions.joined import Joined
from reparam.distributions.links import bounded_exp, bounded_logits
from reparam.distributions.logistic import DiscretizedLogistic, LogisticMixture
from reparam.distributions.logistic_normal import LogisticNormal
from reparam.distributions.mixture import Mixture
from reparam.distributions.noise import centre, element_support, from_standard_normal, unwrap
from reparam.distributions.observed import Observed, filled, log_prob_of_each
from reparam.distributions.ordered import Ordered
from reparam.distributions.quantized import Codewords, Quantized, code_vectors
from reparam.distributions.sphere import SphereUniform, VonMisesFisher, sphere
from reparam.distributions.vectors import NormalVector, StandardNormalVector, normal_vector, vector

__all__ = [
    "Affine",
    "Beta",
    "Binomial",
    "Bits",
    "Blend",
    "Categorical",
    "Codes",
    "Codewords",
    "ContinuousBernoulli",
    "Delta",
    "Discrete",
    "DiscretizedLogistic",
    "ElementMixture",
    "Flow",
    "GaussianMixture",
    "Hierarchical",
    "Joined",
    "Known",
    "LogNormal",
    "LogisticMixture",
    "LogisticNormal",
    "Mixture",
    "Multinomial",
    "NegativeBinomial",
    "NormalVector",
    "Observed",
    "OneHots",
    "Ordered",
    "OwnDraws",
    "Poisson",
    "Quantized",
    "Samples",
    "SphereUniform",
    "StandardNormalVector",
    "StudentT",
    "VonMisesFisher",
    "ZeroInflated",
    "autoregressive",
    "bounded_exp",
    "bounded_logits",
    "centre",
    "code_vectors",
    "codes_of",
    "element_support",
    "filled",
    "from_standard_normal",
    "kl_of_layers",
    "known_label",
    "layers_of",
    "list_values",
    "log_prob_of_each",
    "normal_vector",
    "one_way",
    "ordinal",
    "own_draws",
    "own_listing",
    "product_of_gaussians",
    "relax",
    "sphere",
    "typical",
    "unwrap",
    "vector",
]

del _kl
