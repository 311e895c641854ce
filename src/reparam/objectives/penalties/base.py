"""What a penalty is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from reparam.calls import Written
from reparam.objectives.gradients import require_path
from reparam.vae import Draw


class Penalty(Written, ABC):
    """A property of a batch, to be kept small."""

    least_rows: int = 2
    by_path: bool = True  # whether the encoder learns of it through the samples

    def __call__(self, draw: Draw, rows: int) -> Tensor:
        """The penalty of this batch, a scalar; ``rows`` is the number of data of which they are a part.

        Raises:
            InputError: for samples that are discrete, or carry no gradient to the encoder.
        """
        if self.by_path:
            require_path(draw, f"the penalty {type(self).__name__}")
        return self.of(draw, rows) if draw.z.shape[1] >= self.least_rows else draw.z.new_zeros(())

    @abstractmethod
    def of(self, draw: Draw, rows: int) -> Tensor:
        """The penalty of a batch of at least ``least_rows``."""
