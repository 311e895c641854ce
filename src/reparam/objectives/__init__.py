"""Objectives: what training maximises. Each reads a Draw and nothing else.

``penalties`` holds what an objective may be penalised by besides: properties of a whole batch.
"""

from reparam.objectives import penalties as penalties
from reparam.objectives.base import Objective, Penalized, Reconstruction, require_density, sample_count
from reparam.objectives.elbo import ELBO, Capacity, kl_per_dimension
from reparam.objectives.importance import CIWAE, CUBO, IWAE, MIWAE, PIWAE, Renyi, ReweightedWakeSleep

__all__ = [
    "CIWAE",
    "CUBO",
    "ELBO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "Capacity",
    "Objective",
    "Penalized",
    "Reconstruction",
    "Renyi",
    "ReweightedWakeSleep",
]

# for other rooms; not objectives, so not in __all__, which the table of laws enumerates
_ = kl_per_dimension, require_density, sample_count
