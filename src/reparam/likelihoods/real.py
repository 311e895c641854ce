"""Real, positive and unit-interval data: Gaussian, Laplace, Student's t, log-normal, beta, continuous Bernoulli."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions import Laplace as LaplaceDistribution
from torch.distributions import Normal as NormalDistribution
from torch.nn.functional import logsigmoid

from reparam import distributions
from reparam.errors import InputError, nearest
from reparam.likelihoods.base import Likelihood, SecondParameter, channels, positive
from reparam.likelihoods.counts import whole
from reparam.numerics import scale_from_log

_FINITE, _REPLACE = "finite", "remove or replace what is not a finite number"


class _Scaled(SecondParameter):
    """A likelihood whose second parameter is called its scale."""

    allowed, remedy = _FINITE, _REPLACE

    def __init__(
        self,
        net: nn.Module,
        scale: float | str | Tensor = 1.0,
        event_shape: Sequence[int] | None = None,
        init_scale: float = 1.0,
    ) -> None:
        super().__init__(net, scale, event_shape, init_scale)


class Gaussian(_Scaled):
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

    channel_words = "means, then log-variances"

    def from_channel(self, channel: Tensor) -> Tensor:
        """The standard deviation, from the log-variance."""
        return scale_from_log(channel / 2)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Normal with these means and the scale of this kind."""
        return NormalDistribution(*self.both(parameters, lead), validate_args=False)


class Laplace(_Scaled):
    """Real data with double-exponential noise: -log p(x|z) is the absolute error over the scale, plus log 2 scale.

    The kinds of ``scale`` are those of :class:`Gaussian`; the standard deviation is sqrt(2) scale.

    Shapes: net gives medians (..., *event); for "predicted" (..., 2, *event): medians, then log-scales.

    Raises:
        InputError: as Gaussian.
    """

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Laplace with these medians."""
        return LaplaceDistribution(*self.both(parameters, lead), validate_args=False)


class StudentT(SecondParameter):
    """Real data with heavy tails: outliers cost log |x| instead of x².

    ``df``, the degrees of freedom, is a number above 0, or ``"shared"`` or ``"elementwise"``: learned from
    ``init_df`` and kept above 1, where the mean exists. The variance is finite above 2. The kinds of ``scale`` are
    those of :class:`Gaussian`.

    Shapes: net gives locations (..., *event); for "predicted" (..., 2, *event): locations, then log-scales.

    Raises:
        InputError: as Gaussian; also for a df that is not positive or an unknown kind of it.
    """

    allowed, remedy = _FINITE, _REPLACE
    DF_KINDS = ("shared", "elementwise")

    def __init__(
        self,
        net: nn.Module,
        scale: float | str | Tensor = 1.0,
        df: float | str = 5.0,
        event_shape: Sequence[int] | None = None,
        init_scale: float = 1.0,
        init_df: float = 10.0,
    ) -> None:
        super().__init__(net, scale, event_shape, init_scale)
        if isinstance(df, str) and df not in self.DF_KINDS:
            raise InputError(f"unknown kind of df {df!r}: {nearest(df, self.DF_KINDS)}, or a number")
        if df == "elementwise" and self.event_shape is None:
            raise InputError("a df for each element needs event_shape, the shape of one datum")
        positive(torch.tensor(init_df - 1.0 if isinstance(df, str) else float(df)), "df (if learned, df - 1)")
        self.df, self.init_df = df, init_df
        if isinstance(df, str):
            shape = self.event_shape if df == "elementwise" and self.event_shape else ()
            self.log_df = nn.Parameter(torch.tensor(init_df - 1.0).log().expand(shape).clone())

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Student's t at these locations."""
        loc, scale = self.both(parameters, lead)
        df = 1 + scale_from_log(self.log_df) if isinstance(self.df, str) else loc.new_tensor(self.df)
        return distributions.StudentT(df, loc, scale)


class MixtureOfGaussians(Likelihood):
    """Real data with several likely values: a mixture of ``components`` Gaussians for each element, given z.

    Shapes: net gives (..., 3 components, *event): logits of the weights, then means, then log-variances.

    Raises:
        InputError: for no component.
    """

    allowed, remedy = _FINITE, _REPLACE

    def __init__(self, net: nn.Module, components: int = 3) -> None:
        super().__init__(net)
        self.components = whole(components, "components")

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """Three channels for each component."""
        return (3 * self.components, *event_shape)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """The mixtures of these parameters."""
        stacked = torch.stack(channels(parameters, lead, 3 * self.components, "a mixture"), -1)
        logits, loc, log_variance = stacked.chunk(3, -1)
        parts = NormalDistribution(loc, scale_from_log(log_variance / 2), validate_args=False)
        return distributions.GaussianMixture(logits, parts)


class LogNormal(_Scaled):
    """Positive data whose logarithm is Gaussian: errors are ratios.

    The kinds of ``scale``, the standard deviation of the logarithm, are those of :class:`Gaussian`.

    Shapes: net gives means of the logarithm (..., *event); for "predicted" (..., 2, *event), then its log-scales.

    Raises:
        InputError: as Gaussian.
    """

    allowed = "positive and finite"
    remedy = "choose Gaussian, or ZeroInflated counts where zeros are counts"

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Log-normal with these parameters of the logarithm."""
        return distributions.LogNormal(*self.both(parameters, lead))


class Beta(SecondParameter):
    """Shares strictly between 0 and 1, by their mean m and their concentration k: a = m k, b = (1 - m) k.

    The variance is m (1 - m) / (k + 1). The kinds of ``concentration`` are those of Gaussian's scale. a and b are
    exact between 1e-6 and 1e6 and bounded beyond.

    Shapes: net gives logits of m (..., *event); for "predicted" (..., 2, *event): logits, then log k.

    Raises:
        InputError: as Gaussian.
    """

    allowed = "above 0 and below 1"
    remedy = "choose ContinuousBernoulli, whose density holds the ends, or Binomial for shares of counts"
    second = "concentration"
    channel_words = "logits, then log-concentrations"

    def __init__(
        self,
        net: nn.Module,
        concentration: float | str | Tensor = "shared",
        event_shape: Sequence[int] | None = None,
        init_concentration: float = 5.0,
    ) -> None:
        super().__init__(net, concentration, event_shape, init_concentration)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Beta with these means."""
        logits, k = self.both(parameters, lead)
        a, b = (scale_from_log(logsigmoid(sign * logits) + k.log()) for sign in (1, -1))
        return distributions.Beta(a, b)


class ContinuousBernoulli(Likelihood):
    """Grey values in [0, 1], with the normaliser that cross-entropy on such data lacks.

    Shapes: net gives logits (..., *event).
    """

    allowed = "between 0 and 1"
    remedy = "divide by the largest possible value (pixel_max), or choose the likelihood Gaussian"

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Continuous Bernoulli with these logits."""
        return distributions.ContinuousBernoulli(parameters, validate_args=False)
