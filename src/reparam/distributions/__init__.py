"""What torch.distributions lacks, and the closed forms of KL between what it has."""

from reparam.distributions import kl as _kl  # registers the closed forms
from reparam.distributions.affine import Affine
from reparam.distributions.blend import Blend
from reparam.distributions.continuous_bernoulli import ContinuousBernoulli
from reparam.distributions.delta import Delta
from reparam.distributions.noise import element_support, from_standard_normal, unwrap

__all__ = ["Affine", "Blend", "ContinuousBernoulli", "Delta", "element_support", "from_standard_normal", "unwrap"]

del _kl
