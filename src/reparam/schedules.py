"""Numbers that change while a run trains: weights of objectives and the learning rate, in fractions of the run.

A schedule is a function of progress, from 0 at the start of a run to 1 at its last step, whatever its epochs, rows and
batches. So a warm-up over a share of the run ends within the run, by construction.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from reparam.errors import InputError

__all__ = ["Constant", "Cosine", "Cyclical", "Linear", "Schedule", "WarmUp"]

_GRID = 1000


class Schedule(ABC):
    """A number for each moment of a run; its value at progress 1 is its target, which every report uses."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The value at ``progress``, from 0 (start) to 1 (last step) of the run."""


Weight = float | Schedule


def value(weight: Weight | Tensor, progress: float = 1.0) -> Any:
    """The weight at this moment of the run, or at its end; a number is the same at all of them.

    A tensor of one number, which stands for the number in a compiled step, is left as it is.
    """
    if isinstance(weight, Schedule):
        return weight(progress)
    return float(weight) if isinstance(weight, float | int) else weight


def checked_weight(name: str, given: Weight, most: float = math.inf) -> Weight:
    """``given``, if it can weigh something at every moment of a run.

    Raises:
        InputError: if it is negative, above ``most`` or not finite at any moment.
    """
    moments = [i / _GRID for i in range(_GRID + 1)] if isinstance(given, Schedule) else [1.0]
    if not all(0 <= (v := value(given, moment)) <= most and v < math.inf for moment in moments):
        limits = "must not be negative and must be finite" if most == math.inf else f"must be from 0 to {most:g}"
        raise InputError(f"{name} {limits}, at every moment of the run: {given}")
    return given if isinstance(given, Schedule) else float(given)


def _require_share(name: str, share: float) -> None:
    if not 0 < share <= 1:
        raise InputError(f"{name} is a share of the run, above 0 and at most 1, not {share}")


@dataclass(frozen=True)
class Constant(Schedule):
    """The same at every moment."""

    level: float

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        return float(self.level)


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from ``start`` to ``end`` in the first ``over`` of the run; ``end`` from then on.

    ``Linear(0, 1, over=0.2)`` is the KL warm-up of Bowman et al. (2016) and Sønderby et al. (2016).

    Raises:
        InputError: unless 0 < over <= 1.
    """

    start: float
    end: float
    over: float = 1.0

    def __post_init__(self) -> None:
        _require_share("over", self.over)

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        done = min(1.0, progress / self.over)
        return self.start * (1 - done) + self.end * done


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from ``start`` to ``end`` in the first ``over`` of the run (Loshchilov & Hutter 2017, eq. 5).

    Raises:
        InputError: unless 0 < over <= 1.
    """

    start: float
    end: float = 0.0
    over: float = 1.0

    def __post_init__(self) -> None:
        _require_share("over", self.over)

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        done = (1 - math.cos(math.pi * min(1.0, progress / self.over))) / 2
        return self.start * (1 - done) + self.end * done


@dataclass(frozen=True)
class Cyclical(Schedule):
    """``cycles`` rises from ``start`` to ``end``, each in the share ``ramp`` of its cycle (Fu et al. 2019).

    Raises:
        InputError: unless 0 < ramp <= 1 and cycles is at least 1.
    """

    start: float
    end: float
    cycles: int = 4
    ramp: float = 0.5

    def __post_init__(self) -> None:
        _require_share("ramp", self.ramp)
        if self.cycles < 1:
            raise InputError(f"cycles must be at least 1, not {self.cycles}")

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        phase = progress * self.cycles - min(self.cycles - 1, math.floor(progress * self.cycles))
        return Linear(self.start, self.end, self.ramp)(phase)


@dataclass(frozen=True)
class WarmUp(Schedule):
    """``then``, times a factor that rises from 0 to 1 in the first ``over`` of the run: for learning rates.

    Raises:
        InputError: unless 0 < over <= 1.
    """

    then: Weight
    over: float = 0.05

    def __post_init__(self) -> None:
        _require_share("over", self.over)

    def __call__(self, progress: float) -> float:
        """The value at this progress."""
        return min(1.0, progress / self.over) * value(self.then, progress)
