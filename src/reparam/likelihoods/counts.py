"""Counts: Poisson, negative binomial, their zero inflation, and successes among a known number of trials."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from reparam import distributions
from reparam.conditional import Conditional
from reparam.errors import InputError
from reparam.likelihoods.base import Likelihood, SecondParameter, channels, read
from reparam.numerics import soft_clip

_ALLOWED = "0, 1, 2, ..."
_REMEDY = "round or restore the counts, or choose Gaussian (any real numbers) or LogNormal (positive ones)"


def log_rate(parameters: Tensor, lead: int, own: Sequence[Tensor]) -> Tensor:
    """Log rates, exact between exp(-20) and exp(20) and bounded by exp(±25), times the exposure where there is one.

    Shapes: an exposure has the leading shape (...), or (..., 1) or (..., *event).

    Raises:
        InputError: for an exposure that is not positive.
    """
    rate = soft_clip(parameters, 20.0, 5.0)
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()  # a graph has no errors of data
    for exposure in own:
        if not exporting and not bool((exposure > 0).all()):
            raise InputError("an exposure (size factor) must be positive: leave out data without any")
        factor = exposure.to(rate.dtype)
        if factor.dim() - lead <= 1 and factor.shape[lead:].numel() == 1:
            factor = factor.reshape(*parameters.shape[:lead], *(1,) * (rate.dim() - lead))
        rate = rate + factor.log()
    return rate


class Poisson(Likelihood):
    """Counts whose variance is their mean.

    With ``exposure`` the last context, (..., 1) or of the shape of the event, is a positive factor of the rate: the
    time or the area over which was counted, or the size of a library of reads. It does not enter the net.

    Shapes: net gives log rates (..., *event).
    """

    allowed, remedy = _ALLOWED, _REMEDY

    def __init__(self, net: nn.Module, exposure: bool = False) -> None:
        super().__init__(net)
        self.exposure, self.own_contexts = exposure, int(exposure)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Poisson with these log rates."""
        return distributions.Poisson(log_rate(parameters, lead, own))


class NegativeBinomial(SecondParameter):
    """Counts whose variance exceeds their mean mu: it is mu + mu² / theta.

    ``dispersion`` is theta, the inverse dispersion, of the kinds of Gaussian's scale; the larger, the nearer to
    Poisson. ``exposure`` is that of :class:`Poisson`.

    Shapes: net gives log mu (..., *event); for "predicted" (..., 2, *event): log mu, then log theta.

    Raises:
        InputError: for a theta that is not positive, an unknown kind, or "elementwise" without ``event_shape``.
    """

    allowed, remedy = _ALLOWED, _REMEDY
    second, discrete = "dispersion", True
    channel_words = "log means, then log theta"

    def __init__(
        self,
        net: nn.Module,
        dispersion: float | str | Tensor = "shared",
        event_shape: Sequence[int] | None = None,
        init_dispersion: float = 1.0,
        exposure: bool = False,
    ) -> None:
        super().__init__(net, dispersion, event_shape, init_dispersion)
        self.exposure, self.own_contexts = exposure, int(exposure)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Negative binomial with these log means."""
        log_mu, theta = self.both(parameters, lead)
        return distributions.NegativeBinomial(log_rate(log_mu, lead, own), theta)


class ZeroInflated(Conditional):
    """Counts of which some are zero for a reason of their own: dropout, or units that were never at risk.

    ``inner`` is a likelihood of counts, such as Poisson or NegativeBinomial, whose net gives one channel more, the
    last: the logits of a zero for that reason.

    Shapes: the net of ``inner`` gives (..., channels + 1, *event), with the channels that ``inner`` reads: 1, or 2 if
    it predicts a second parameter.

    Raises:
        InputError: unless ``inner`` explains counts.
    """

    def __init__(self, inner: Likelihood) -> None:
        if not isinstance(inner, Poisson | NegativeBinomial):
            raise InputError(f"zero inflation is of counts: Poisson or NegativeBinomial, not {type(inner).__name__}")
        super().__init__()
        self.inner = inner
        self.allowed, self.remedy, self.own_contexts = inner.allowed, inner.remedy, inner.own_contexts

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """One channel more than the inner likelihood reads."""
        return (self._inner_channels + 1, *event_shape)

    @property
    def _inner_channels(self) -> int:
        return 2 if isinstance(self.inner, SecondParameter) and self.inner.predicts else 1

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Zero, or a count of the inner family."""
        *first, gate = channels(parameters, lead, self._inner_channels + 1, "zero inflation")
        given = first[0] if len(first) == 1 else torch.stack(first, lead)
        return distributions.ZeroInflated(self.inner.elements(given, lead, *own), gate)

    def forward(self, z: Tensor, *c: Tensor) -> Independent:
        """Batch ``z.shape[:-1]``, event: one datum."""
        return read(self, self.inner.net, z, c)


class Binomial(Likelihood):
    """How many of ``total`` trials succeed, the same number of trials for every element.

    Shapes: net gives logits (..., *event).

    Raises:
        InputError: unless ``total`` is a whole number of at least 1.
    """

    def __init__(self, net: nn.Module, total: int) -> None:
        super().__init__(net)
        self.total = whole(total, "total, the number of trials,")
        self.allowed = f"whole numbers from 0 to {self.total}"
        self.remedy = "give the number of trials as total, or choose NegativeBinomial for counts without a largest"

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Binomial with these logits."""
        return distributions.Binomial(parameters, total=self.total)


def whole(number: int, what: str, least: int = 1) -> int:
    """The number, if it is whole and at least ``least``.

    Raises:
        InputError: if not.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise InputError(f"{what} must be a whole number of at least {least}, not {number!r}")
    return number
