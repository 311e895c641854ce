"""Posteriors of discrete latents: one-hot codes, and bits."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from reparam.distributions import Bits, Codes, Known, OneHots, bounded_logits, known_label, list_values, relax
from reparam.distributions.discrete import Drawing
from reparam.errors import InputError, nearest
from reparam.posteriors.base import Posterior
from reparam.schedules import Weight, checked_weight, value

GRADIENTS = ("gumbel", "score", "enumerate")
MOST_VALUES = 1024  # of an enumerated posterior: so many rows of the decoder for each datum
_TEMPERATURE = 2 / 3

Gradient = Literal["gumbel", "score", "enumerate"] | str


class _Discrete(Posterior):
    """What both have in common: a net, and how gradients reach it."""

    def __init__(self, net: nn.Module, gradient: Gradient, temperature: Weight | None, straight_through: bool) -> None:
        super().__init__(net)
        if gradient not in GRADIENTS:
            raise InputError(f"unknown gradient {gradient!r}: {nearest(gradient, GRADIENTS)}")
        if gradient != "gumbel" and (temperature is not None or straight_through):
            raise InputError(
                f"temperature and straight_through belong to gradient='gumbel': leave them out with {gradient!r}"
            )
        if temperature is not None:
            _positive(checked_weight("the temperature", temperature))
        self.gradient = gradient
        self.temperature, self.straight_through = temperature, straight_through

    def drawing(self) -> Drawing | None:
        """How training draws; evaluation knows plain samples and full lists only."""
        if self.gradient == "enumerate":
            return list_values
        if self.gradient == "score" or not self.training:
            return None
        temperature = _TEMPERATURE if self.temperature is None else value(self.temperature, self.progress)
        return relax(temperature, self.straight_through)

    def listable(self, count: int) -> None:
        """Refuse to list too many values.

        Raises:
            InputError: naming what to choose instead.
        """
        if self.gradient == "enumerate" and count > MOST_VALUES:
            raise InputError(
                f"gradient='enumerate' lists every value of z for each datum, up to {MOST_VALUES}, and these latents "
                f"have {count}: choose gradient='gumbel' or 'score'"
            )


def _positive(temperature: Weight) -> None:
    moments = [value(temperature, i / 1000) for i in range(1001)]
    if min(moments) <= 0:
        raise InputError(f"the temperature must be above 0 at every moment of the run: {temperature}")


class Categorical(_Discrete):
    """``groups`` independent variables of ``classes`` classes each, as one-hot vectors one after the other.

    ``gradient`` is how the encoder learns; values, and so every report, are those of the discrete model with all three:

    - "enumerate": every value of z with its probability, up to 1024 of them (classes ** groups): exact expectations and
      gradients, whatever k. The ELBO has no noise. IWAE is log p(x) itself, whatever q is: by it the encoder learns
      nothing, so take the ELBO, or ReweightedWakeSleep.
    - "gumbel": z is a draw, and gradients go through its relaxation softmax((logits + Gumbel noise) / temperature)
      (Jang et al. 2017; Maddison et al. 2017), which the decoder reads in place of z while training; with
      ``straight_through`` it reads z itself. Little variance, and a bias: without ``straight_through`` it vanishes with
      the temperature (2/3 unless given; it may be a schedule). What training reports is the objective at z, from one
      more pass through the decoder; the value of the relaxation is no bound and is never shown. The KL to a prior of
      independent parts is exact.
    - "score": the score function with a baseline from the other samples of the datum: unbiased, with noise that falls
      with k. For the ELBO it leaves one out (Kool et al. 2019), for IWAE it is VIMCO (Mnih & Rezende 2016). With k = 1
      there is no baseline and much noise.

    Shapes: net maps x (B, *event) to (B, groups * classes) logits, taken relative to their mean in each group, exact up
    to 30 and below 40; z is (K, B, groups * classes).

    Raises:
        InputError: for fewer than 1 group or 2 classes, an unknown gradient, more than 1024 values to list, a
            temperature that is not positive, or options of another gradient; when called, for another number of
            outputs.
    """

    def __init__(
        self,
        net: nn.Module,
        groups: int,
        classes: int,
        gradient: Gradient = "gumbel",
        temperature: Weight | None = None,
        straight_through: bool = False,
    ) -> None:
        super().__init__(net, gradient, temperature, straight_through)
        self.support = Codes(groups, classes)
        self.listable(self.support.count)
        self.groups, self.classes = groups, classes

    def read(self, out: Tensor) -> OneHots:
        """Batch (B,), event (groups * classes,)."""
        if out.shape[-1] != self.groups * self.classes:
            raise InputError(
                f"Categorical needs {self.groups * self.classes} outputs, {self.classes} logits for each of "
                f"{self.groups} groups; its net gives {out.shape[-1]}"
            )
        return OneHots(bounded_logits(out.unflatten(-1, (self.groups, self.classes)), centred=True), self.drawing())


class Bernoulli(_Discrete):
    """Independent bits; ``gradient``, ``temperature`` and ``straight_through`` are those of :class:`Categorical`.

    Shapes: net maps x (B, *event) to (B, D) log odds of a 1, exact up to 30 and below 40; z is (K, B, D).

    Raises:
        InputError: for an unknown gradient, a temperature that is not positive, or options of another gradient; when
            called, for more than 1024 values to list (D above 10).
    """

    def __init__(
        self,
        net: nn.Module,
        gradient: Gradient = "gumbel",
        temperature: Weight | None = None,
        straight_through: bool = False,
    ) -> None:
        super().__init__(net, gradient, temperature, straight_through)

    def read(self, out: Tensor) -> Bits:
        """Batch (B,), event (D,)."""
        self.listable(2 ** out.shape[-1])
        return Bits(bounded_logits(out), self.drawing())


class Label(Posterior):
    """q(y|x) of one of ``classes`` classes, a one-hot vector, or the class itself for those rows where it is known.

    The last context is the label: one-hot, or zeros for a row without; a call without contexts has none. All classes
    are listed with their probabilities, so that expectations over y and their gradients are exact. With
    :class:`reparam.priors.Label`, which knows the same rows, every bound is one on log p(x|y) where y is known and
    on log p(x) where it is not (Kingma et al. 2014, eqs. 6 and 7, less log p(y), which is constant).

    Shapes: net maps x (B, *event) and the contexts before the last to (B, classes) logits; the label is (B, classes).

    Raises:
        InputError: for fewer than 2 classes, or more than 1024; when called, for another number of outputs, or labels
            of another shape or with other values.
    """

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__(net)
        self.support = Codes(1, classes)
        if self.support.count > MOST_VALUES:
            raise InputError(f"classes are listed for each datum, up to {MOST_VALUES}; these are {classes}")
        self.classes = classes

    def read(self, out: Tensor) -> OneHots:
        """Batch (B,), event (classes,): of rows without a label."""
        if out.shape[-1] != self.classes:
            raise InputError(
                f"Label needs {self.classes} outputs, a logit for each class; its net gives {out.shape[-1]}"
            )
        return OneHots(bounded_logits(out.unsqueeze(-2), centred=True), list_values)

    def forward(self, x: Tensor, *c: Tensor) -> OneHots:
        """Batch (B,), event (classes,)."""
        free = self.read(self.net(x, *c[:-1]))
        return Known(free, known_label(c[-1], self.classes)) if c else free
