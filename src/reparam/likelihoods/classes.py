"""Classes: binary, one of several, ordered, and counted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Distribution

from reparam import distributions
from reparam.likelihoods.base import Likelihood
from reparam.likelihoods.counts import whole
from reparam.numerics import scale_from_log


class Bernoulli(Likelihood):
    """Binary data: -log p(x|z) is the cross-entropy.

    Shapes: net gives logits (..., *event).
    """

    allowed = "0 and 1"
    remedy = (
        "choose binarize='dynamic' (a fresh draw of each grey value) or 'threshold', "
        "or the likelihood ContinuousBernoulli for values between 0 and 1"
    )

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Bernoulli with these logits."""
        return BernoulliDistribution(logits=parameters, validate_args=False)


class _Classes(Likelihood):
    """What a categorical and an ordinal likelihood share: the number of classes, and words."""

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__(net)
        self.classes = whole(classes, "classes, their number,", 2)
        self.allowed = f"class numbers, whole from 0 to {self.classes - 1}"
        self.remedy = f"number the classes from 0, and give as classes how many there are (now {self.classes})"


class Categorical(_Classes):
    """One of several classes without order, as its number 0 ... classes - 1.

    The mean of the distribution is that of the number; ``mode`` and ``probs`` mean something for every coding.

    Shapes: net gives logits (..., *event, classes).

    Raises:
        InputError: unless ``classes`` is a whole number of at least 2.
    """

    def outputs(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """The event, then the classes."""
        return (*event_shape, self.classes)

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Categorical with these logits."""
        return distributions.Categorical(parameters)


class Ordinal(_Classes):
    """One of several ordered classes, such as grades: P(x <= k) = σ(cut_k - predictor) (McCullagh 1980).

    The cut points are learned, in order by construction: shared by all elements, or one set for each where
    ``event_shape`` is given. They start where a predictor of 0 makes all classes equally probable.

    Shapes: net gives one predictor for each element (..., *event); the larger, the higher the class.

    Raises:
        InputError: unless ``classes`` is a whole number of at least 2.
    """

    def __init__(self, net: nn.Module, classes: int, event_shape: Sequence[int] | None = None) -> None:
        super().__init__(net, classes)
        self.event_shape = None if event_shape is None else tuple(event_shape)
        cuts = torch.logit(torch.arange(1, self.classes, dtype=torch.float64) / self.classes)
        cuts = cuts.to(torch.get_default_dtype()).expand(*(self.event_shape or ()), -1)
        self.first_cut = nn.Parameter(cuts[..., 0].clone())
        self.log_gaps = nn.Parameter(cuts.diff(dim=-1).log())

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """The probabilities of the classes, from these predictors."""
        return distributions.ordinal(parameters, self.first_cut.expand_as(parameters), scale_from_log(self.log_gaps))


class Multinomial(Likelihood):
    """How often each of V kinds occurs, such as the words of a document: -log p(x|z) given the number of words.

    ``total`` is the number of draws, the same for all data; or None: the sum of each datum is taken as known, and
    samples and means are of one draw.

    Shapes: net gives logits (..., V); the event is (V,).

    Raises:
        InputError: unless ``total`` is None or a whole number of at least 1.
    """

    def __init__(self, net: nn.Module, total: int | None = None) -> None:
        super().__init__(net)
        self.total = total if total is None else whole(total, "total, the number of draws,")
        self.allowed = "counts, 0, 1, 2, ..." + ("" if total is None else f" of a datum, with the sum {total}")
        self.remedy = "give counts, and total None where their sums differ, or choose Gaussian for real numbers"

    def elements(self, parameters: Tensor, lead: int, *own: Tensor) -> Distribution:
        """Multinomial with these logits: one distribution for the whole datum."""
        return distributions.Multinomial(parameters, self.total)
