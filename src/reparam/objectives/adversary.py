"""Parts of an objective that are trained against the model: with parameters, a loss and an optimiser of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from reparam.vae import Draw


class Adversary(ABC):
    """What an objective learns beside the model, from the same draws.

    Training lowers ``loss`` in the parameters of ``net`` after each step of the model, by Adam with ``lr`` and
    ``betas``. Its weights and its optimiser are in the checkpoints. The model gets no gradient from this loss, and
    ``net`` none from the model's: what reads ``net`` for the objective takes its parameters as constants.
    """

    net: nn.Module
    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    least_rows: int = 1  # a smaller batch teaches nothing

    @abstractmethod
    def loss(self, draw: Draw) -> Tensor:
        """What ``net`` shall lower, a scalar; samples count as given."""
