"""What a recipe gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reparam.objectives import Objective
from reparam.vae import VAE

Shape = int | Sequence[int]


class Recipe(NamedTuple):
    """A model, and the objective to train it with."""

    vae: VAE
    objective: Objective
