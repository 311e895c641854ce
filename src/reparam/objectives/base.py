"""What an objective is, and the two that need no mathematics of their own."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.calls import Written
from reparam.errors import InputError
from reparam.objectives.adversary import Adversary
from reparam.objectives.gradients import by_score
from reparam.objectives.penalties import Penalty
from reparam.schedules import Schedule, Weight, checked_weight, value
from reparam.vae import VAE, Draw, has_density


class Objective(Written, ABC):
    """A value to be maximised, read from one draw of ``k`` samples for each datum.

    Three readings of one draw, and only the first is ever reported:

    - ``bound`` is the true value for each datum, at the final weights. It reduces the first dimension of what it reads,
      through ``draw.mean`` and ``draw.log_mean_exp`` where it means an expectation, and bears more of them before B;
    - ``surrogate`` is what gradients are taken of: another estimator of the same gradient may live there;
    - ``penalty`` is a property of the whole batch, which belongs to no datum.

    ``draw`` is how a training step makes that draw. Evaluation makes its own, from the model as it is.

    Attributes may be schedules. ``at(progress)`` is the objective with their values of that moment, and an
    objective with schedules, as it stands, is the one of the end of the run.
    """

    k: int
    sign: Literal[1, -1] = 1  # -1: an upper bound, of which the least is the best

    def draw(self, vae: VAE, x: Tensor, *c: Tensor, seen: Tensor | None = None) -> Draw:
        """The draw that a training step reads; ``seen`` is what the encoder reads in place of x."""
        return vae(x, *c, k=self.k, check=False, seen=seen)

    @abstractmethod
    def bound(self, draw: Draw) -> Tensor:
        """The true value of the objective for each datum, (B,), in nats."""

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """What gradients are taken of, (B,): the bound itself unless an objective has a better estimator.

        Where no gradient passes through the samples, as with discrete ones, the score function's is added, with a
        baseline for each sample from the others (see ``objectives.gradients.by_score``). Its value is never reported.
        """
        return bound if draw.has_path else bound + by_score(self.bound, draw, bound)

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
        found = {name: part for name, part in vars(self).items() if isinstance(part, Schedule)}
        for name, part in vars(self).items():
            if isinstance(part, Objective):
                found |= {f"{name}.{n}" if n in found else n: s for n, s in part.schedules().items()}
        return found

    def adversaries(self) -> tuple[Adversary, ...]:
        """Everything that this objective trains beside the model."""
        found: list[Adversary] = []
        for part in vars(self).values():
            if isinstance(part, Adversary):
                found.append(part)
            elif isinstance(part, Objective):
                found.extend(part.adversaries())
        return tuple(found)


class Reconstruction(Objective):
    """E_q[log p(x|z)] alone: with a Point posterior, the conventional autoencoder. No bound of log p(x)."""

    def __init__(self, k: int = 1) -> None:
        self.k = sample_count(k)

    def bound(self, draw: Draw) -> Tensor:
        """The expected log-likelihood of the reconstruction, (B,), in nats."""
        return draw.reconstruction


class Around(Objective):
    """Another objective, as it is: for those that change one thing about it."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.k, self.sign = objective, objective.k, objective.sign

    def draw(self, vae: VAE, x: Tensor, *c: Tensor, seen: Tensor | None = None) -> Draw:
        """That of the objective."""
        return self.objective.draw(vae, x, *c, seen=seen)

    def bound(self, draw: Draw) -> Tensor:
        """The bound of the objective, (B,), in nats."""
        return self.objective.bound(draw)

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """That of the objective, (B,)."""
        return self.objective.surrogate(draw, bound)

    def penalty(self, draw: Draw, rows: int) -> Tensor | float:
        """That of the objective."""
        return self.objective.penalty(draw, rows)


class Penalized(Around):
    """Another objective, less ``weight`` times a penalty of ``objectives.penalties``.

    The penalty steers training alone: ``bound`` is that of the objective, so reports and the choice of the best epoch
    are in its nats, and stay comparable with runs of other weights.

    ``Penalized(ELBO(), penalties.TotalCorrelation(), beta - 1)`` is the beta-TCVAE (Chen et al. 2018).

    Raises:
        InputError: for a weight that is negative or not finite at any moment; what objective and penalty raise.
    """

    kept_as = {"penalty": "criterion"}  # noqa: RUF012

    def __init__(self, objective: Objective, penalty: Penalty, weight: Weight = 1.0) -> None:
        # in this order: checkpoints of reparam 0.1 tell an objective by its attributes
        self.objective, self.criterion, self.weight = (
            objective,
            penalty,
            checked_weight("the weight of a penalty", weight),
        )
        super().__init__(objective)

    def penalty(self, draw: Draw, rows: int) -> Tensor | float:
        """The weighted penalty of the batch, added to that of the objective."""
        return self.objective.penalty(draw, rows) + value(self.weight) * self.criterion(draw, rows)


class Denoising(Around):
    """Another objective, whose encoder reads a corrupted x in training while the likelihood scores x itself.

    The corruption C(x'|x) sets a share ``masked`` of the elements to zero and adds Gaussian noise of standard deviation
    ``noise``, in the units of the data (Vincent et al. 2008). Each x' gives q(z|x'), a distribution over z
    like any other, so a lower bound of log p(x) stays one: the value in training is its mean over x', the
    denoising bound of Im et al. (2017, eq. 8), and with the ELBO lies below E log p(x, z) / E_C q(z|x'), which lies
    below log p(x). Validation and evaluation read x uncorrupted.

    Raises:
        InputError: for a negative noise, a share outside 0 to 1, or neither of them.
    """

    def __init__(self, objective: Objective, noise: float = 0.0, masked: float = 0.0) -> None:
        super().__init__(objective)
        if not (0 <= noise < math.inf and 0 <= masked < 1 and (noise or masked)):
            raise InputError(
                "denoising needs a positive noise (a standard deviation) or a share masked, above 0 and below 1: "
                f"noise {noise}, masked {masked}"
            )
        self.noise, self.masked = float(noise), float(masked)

    def draw(self, vae: VAE, x: Tensor, *c: Tensor, seen: Tensor | None = None) -> Draw:
        """That of the objective, with an encoder that reads a corrupted x, the same for all k samples of a datum."""
        return self.objective.draw(vae, x, *c, seen=self.corrupted(x if seen is None else seen))

    def corrupted(self, x: Tensor) -> Tensor:
        """One draw of C(x'|x)."""
        if self.masked:
            x = x * (torch.rand_like(x) >= self.masked)
        return x + self.noise * torch.randn_like(x) if self.noise else x


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
