"""Likelihoods p(x|z): conditionals with batch ``z.shape[:-1]`` and the event shape of one datum.

Each takes ``net``, any module from z (..., D) to the parameters (..., *event). All are normalised: sums and integrals
over x are one. The values that each can explain are its support; ``VAE.check`` refuses others by name.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Distribution, Independent, constraints
from torch.distributions import Normal as NormalDistribution

from reparam.conditional import Conditional, apply_to_rows
from reparam.distributions import Affine, element_support
from reparam.distributions import ContinuousBernoulli as ContinuousBernoulliDistribution
from reparam.errors import InputError, nearest
from reparam.numerics import scale_from_log

__all__ = ["Bernoulli", "ContinuousBernoulli", "Gaussian", "Likelihood", "Standardized"]


class Likelihood(Conditional):
    """A likelihood whose elements are independent given z: a subclass names the family of one element.

    ``allowed`` and ``remedy`` are the words of the error for data outside the support.
    """

    allowed: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @abstractmethod
    def elements(self, parameters: Tensor, lead: int) -> Distribution:
        """The distribution of the elements, (*batch, *event), given the net's output; batch has ``lead`` dimensions."""

    def forward(self, z: Tensor, *c: Tensor) -> Independent:
        """Batch ``z.shape[:-1]``, event: one datum."""
        lead = z.dim() - 1
        elements = self.elements(apply_to_rows(self.net, z, *c), lead)
        return Independent(elements, len(elements.batch_shape) - lead, validate_args=False)


class Bernoulli(Likelihood):
    """Binary data: -log p(x|z) is the cross-entropy.

    Shapes: net gives logits (..., *event).
    """

    allowed = "0 and 1"
    remedy = (
        "choose binarize='dynamic' (a fresh draw of each grey value) or 'threshold', "
        "or the likelihood ContinuousBernoulli for values between 0 and 1"
    )

    def elements(self, parameters: Tensor, lead: int) -> Distribution:
        """Bernoulli with these logits."""
        return BernoulliDistribution(logits=parameters, validate_args=False)


class ContinuousBernoulli(Likelihood):
    """Grey values in [0, 1], with the normaliser that cross-entropy on such data lacks.

    Shapes: net gives logits (..., *event).
    """

    allowed = "between 0 and 1"
    remedy = "divide by the largest possible value (pixel_max), or choose the likelihood Gaussian"

    def elements(self, parameters: Tensor, lead: int) -> Distribution:
        """Continuous Bernoulli with these logits."""
        return ContinuousBernoulliDistribution(logits=parameters, validate_args=False)


class Gaussian(Likelihood):
    """Real data with a scale (standard deviation) of one of four kinds.

    ``scale`` is

    - a number, or a tensor that broadcasts to the event: fixed. At 1, -log p(x|z) is half the squared error plus a
      constant, D/2 log 2π.
    - ``"shared"``: learned, one for all elements;
    - ``"elementwise"``: learned, one for each element, whose ``event_shape`` must be given;
    - ``"predicted"``: for each datum and element by the net.

    Shapes: net gives means (..., *event); for "predicted" it gives (..., 2, *event): means, then log-variances.
    Learned scales start at ``init_scale``. Scales are exact between 1e-6 and 1e6 and bounded beyond.

    Raises:
        InputError: for a scale that is not positive, an unknown kind, or "elementwise" without ``event_shape``.
    """

    allowed = "finite"
    remedy = "remove or replace what is not a finite number"
    KINDS = ("shared", "elementwise", "predicted")

    def __init__(
        self,
        net: nn.Module,
        scale: float | str | Tensor = 1.0,
        event_shape: tuple[int, ...] | None = None,
        init_scale: float = 1.0,
    ) -> None:
        super().__init__(net)
        self.event_shape = None if event_shape is None else tuple(event_shape)
        _positive(torch.tensor(float(init_scale)))
        self.init_scale = init_scale
        start = torch.tensor(float(init_scale)).log()
        if isinstance(scale, str):
            if scale not in self.KINDS:
                raise InputError(f"unknown kind of scale {scale!r}: {nearest(scale, self.KINDS)}, or a number")
            if scale == "elementwise" and self.event_shape is None:
                raise InputError("a scale for each element needs event_shape, the shape of one datum")
            self.scale: float | str | Tensor = scale
            if scale != "predicted":
                shape = self.event_shape if scale == "elementwise" and self.event_shape else ()
                self.log_scale = nn.Parameter(start.expand(shape).clone())
        elif isinstance(scale, Tensor):
            _positive(scale)
            self.register_buffer("scale", scale.detach().clone())
        else:
            _positive(torch.tensor(float(scale)))
            self.scale = float(scale)

    @property
    def learns_scale(self) -> bool:
        """Whether the scale can shrink during training."""
        return isinstance(self.scale, str)

    def elements(self, parameters: Tensor, lead: int) -> Distribution:
        """Normal with these means and the scale of this kind."""
        mean = parameters
        if not isinstance(self.scale, str):
            scale = torch.as_tensor(self.scale, dtype=mean.dtype, device=mean.device)
        elif self.scale == "predicted":
            if mean.dim() <= lead or mean.shape[lead] != 2:
                raise InputError(
                    "a predicted scale needs a net with output (..., 2, *event): means, then log-variances; "
                    f"this one gives (..., {', '.join(map(str, mean.shape[lead:]))})"
                )
            mean, log_variance = parameters.unbind(lead)
            scale = scale_from_log(log_variance / 2)
        else:
            scale = scale_from_log(self.log_scale)
        return NormalDistribution(mean, scale.expand_as(mean), validate_args=False)


def _positive(scale: Tensor) -> None:
    if not bool(((scale > 0) & scale.isfinite()).all()):
        raise InputError("a scale must be positive and finite")


class Standardized(Conditional):
    """A likelihood of (x - loc) / scale, as a likelihood of x: densities are per unit of x.

    With the data's mean and standard deviation the network works on numbers of order one, while every score,
    sample and mean is in the data's own units.

    Shapes: loc and scale have the event shape, or broadcast to it.
    """

    loc: Tensor
    spread: Tensor

    def __init__(self, likelihood: Conditional, loc: Tensor, spread: Tensor) -> None:
        super().__init__()
        _positive(spread)
        self.likelihood = likelihood
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("spread", spread.detach().clone())

    @property
    def remedy(self) -> str:
        """What to do about data outside the support: what the likelihood inside says."""
        return str(getattr(self.likelihood, "remedy", "choose a likelihood whose support holds these values"))

    @property
    def allowed(self) -> str:
        """The support in words."""
        return str(getattr(self.likelihood, "allowed", "in its support"))

    def forward(self, z: Tensor, *c: Tensor) -> Affine:
        """Batch ``z.shape[:-1]``, event: one datum."""
        base = self.likelihood(z, *c)
        if element_support(base) not in (None, constraints.real):
            raise InputError(
                f"values that are {self.allowed} cannot be standardised: use {type(self.likelihood).__name__} without "
                "loc and spread"
            )
        return Affine(base, self.loc, self.spread)
