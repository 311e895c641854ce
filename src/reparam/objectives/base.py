"""What an objective is, and the two that need no mathematics of their own."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.distributions import Distribution

from reparam.errors import InputError
from reparam.objectives.penalties import Penalty
from reparam.schedules import Schedule, Weight, checked_weight, value
from reparam.vae import Draw, has_density


class Objective(ABC):
    """A value to be maximised, read from one draw of ``k`` samples for each datum.

    Three readings of one draw, and only the first is ever reported:

    - ``bound`` is the true value for each datum, at the final weights;
    - ``surrogate`` is what gradients are taken of: another estimator of the same gradient may live there;
    - ``penalty`` is a property of the whole batch, which belongs to no datum.

    Attributes may be schedules. ``at(progress)`` is the objective with their values of that moment, and an
    objective with schedules, as it stands, is the one of the end of the run.
    """

    k: int
    sign: Literal[1, -1] = 1  # -1: an upper bound, of which the least is the best

    @abstractmethod
    def bound(self, draw: Draw) -> Tensor:
        """The true value of the objective for each datum, (B,), in nats."""

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """What gradients are taken of, (B,): the bound itself unless an objective has a better estimator.

        Its value is never reported.
        """
        return bound

    def penalty(self, draw: Draw, rows: int) -> Tensor | float:
        """What a training step subtracts from the mean surrogate: a scalar in nats per datum, 0 for most.

        ``rows`` is the number of data of which the draw's are a batch.
        """
        return 0.0

    def at(self, progress: float) -> Objective:
        """This objective at a moment of the run (0 to 1): itself, where nothing is scheduled."""
        return self.replaced(lambda schedule: schedule(progress))

    def replaced(self, of: Callable[[Schedule], float | Tensor]) -> Objective:
        """This objective with a number, or a tensor of one, in place of each schedule; itself, if it has none."""
        moved: dict[str, object] = {}
        for name, part in vars(self).items():
            if isinstance(part, Schedule):
                moved[name] = of(part)
            elif isinstance(part, Objective) and (now := part.replaced(of)) is not part:
                moved[name] = now
        if not moved:
            return self
        now = copy.copy(self)
        vars(now).update(moved)
        return now

    def schedules(self) -> dict[str, Schedule]:
        """Everything that changes during the run, by name."""
        found: dict[str, Schedule] = {}
        for name, part in vars(self).items():
            if isinstance(part, Schedule):
                found[name] = part
            elif isinstance(part, Objective):
                found |= part.schedules()
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}{vars(self)}"


class Reconstruction(Objective):
    """E_q[log p(x|z)] alone: with a Point posterior, the conventional autoencoder. No bound of log p(x)."""

    def __init__(self, k: int = 1) -> None:
        self.k = sample_count(k)

    def bound(self, draw: Draw) -> Tensor:
        """The expected log-likelihood of the reconstruction, (B,), in nats."""
        return draw.reconstruction


class Penalized(Objective):
    """Another objective, less ``weight`` times a penalty of ``objectives.penalties``.

    The penalty steers training alone: ``bound`` is that of the objective, so reports and the choice of the best epoch
    are in its nats, and stay comparable with runs of other weights.

    ``Penalized(ELBO(), penalties.TotalCorrelation(), beta - 1)`` is the beta-TCVAE (Chen et al. 2018).

    Raises:
        InputError: for a weight that is negative or not finite at any moment; what objective and penalty raise.
    """

    def __init__(self, objective: Objective, penalty: Penalty, weight: Weight = 1.0) -> None:
        self.objective, self.criterion, self.weight = (
            objective,
            penalty,
            checked_weight("the weight of a penalty", weight),
        )
        self.k, self.sign = objective.k, objective.sign

    def bound(self, draw: Draw) -> Tensor:
        """The bound of the objective, (B,), in nats, without the penalty."""
        return self.objective.bound(draw)

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """That of the objective, (B,)."""
        return self.objective.surrogate(draw, bound)

    def penalty(self, draw: Draw, rows: int) -> Tensor | float:
        """The weighted penalty of the batch, added to that of the objective."""
        return self.objective.penalty(draw, rows) + value(self.weight) * self.criterion(draw, rows)


def sample_count(k: int) -> int:
    """k, if it can be a number of samples.

    Raises:
        InputError: unless it is a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"the number of samples k must be a whole number of at least 1, not {k!r}")
    return k


def require_density(q: Distribution, what: str) -> None:
    """Refuse a posterior without density, for which no bound on log p(x) by q exists.

    Raises:
        InputError: naming what needs the density.
    """
    if not has_density(q):
        raise InputError(
            f"{what} needs a density of q(z|x), and a Point posterior has none: train it with "
            "objectives.Reconstruction and evaluate it by method='prior', or choose posteriors.DiagonalGaussian"
        )
