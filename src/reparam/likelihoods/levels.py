"""Grey levels as what they are, whole steps: a logistic cut into bins, alone or as a mixture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam import distributions
from reparam.likelihoods.base import Likelihood, SecondParameter, channels, positive
from reparam.likelihoods.counts import whole
from reparam.numerics import scale_from_log


def _words(levels: int, maximum: float) -> tuple[str, str]:
    allowed = f"multiples of {maximum:g}/{levels - 1} from 0 to {maximum:g}"
    return allowed, "give the number of levels, and the value of the highest as maximum, or choose ContinuousBernoulli"


class DiscretizedLogistic(SecondParameter):
    """Grey levels 0, 1/(levels - 1), ..., 1, or up to ``maximum``, with probabilities that sum to one.

    A logistic around a location is rounded to the nearest level; the ends hold its tails (Salimans et al. 2017). With
    ``levels`` 256 its nats per pixel over log 2 are the bits per dimension of 8-bit images. The kinds of ``scale``
    are those of Gaussian's, in units of ``maximum``.

    Shapes: net gives locations (..., *event), in units of ``maximum``; for "predicted" (..., 2, *event): locations,
    then log-scales.

    Raises:
        InputError: as Gaussian; also for fewer than 2 levels or a maximum that is not positive.
    """

    discrete = True

    def __init__(
        self,
        net: nn.Module,
        scale: float | str | Tensor = "shared",
        levels: int = 256,
        maximum: float = 1.0,
        event_shape: Sequence[int] | None = None,
        init_scale: float = 0.1,
    ) -> None:
        super().__init__(net, scale, event_shape, init_scale)
        self.levels, self.maximum = whole(levels, "levels", 2), float(maximum)
        positive(torch.tensor(self.maximum), "the maximum")
        self.allowed, self.remedy = _words(self.levels, self.maximum)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """The levels around these locations."""
        loc, scale = (self.maximum * p for p in self.both(parameters, lead))
        return distributions.DiscretizedLogistic(loc, scale, levels=self.levels, maximum=self.maximum)


class MixtureOfDiscretizedLogistics(Likelihood):
    """A mixture of ``components`` discretised logistics for each element: edges and several likely levels at once.

    Elements, colours included, are independent given z.

    Shapes: net gives (..., 3 components, *event): logits of the weights, then locations, then log-scales, both in
    units of ``maximum``.

    Raises:
        InputError: for no component, fewer than 2 levels, or a maximum that is not positive.
    """

    def __init__(self, net: nn.Module, components: int = 5, levels: int = 256, maximum: float = 1.0) -> None:
        super().__init__(net)
        self.components = whole(components, "components")
        self.levels, self.maximum = whole(levels, "levels", 2), float(maximum)
        positive(torch.tensor(self.maximum), "the maximum")
        self.allowed, self.remedy = _words(self.levels, self.maximum)

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """Three channels for each component."""
        return (3 * self.components, *event_shape)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """The mixtures of these parameters."""
        n = 3 * self.components
        logits, loc, log_scale = torch.stack(channels(parameters, lead, n, "a mixture"), -1).chunk(3, -1)
        parts = distributions.DiscretizedLogistic(
            self.maximum * loc, self.maximum * scale_from_log(log_scale), levels=self.levels, maximum=self.maximum
        )
        return distributions.LogisticMixture(logits, parts)
