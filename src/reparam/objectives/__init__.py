"""Objectives: what training maximises. Each reads a Draw and nothing else.

``penalties`` holds what an objective may be penalised by besides: properties of a whole batch.
"""

from reparam.objectives import penalties as penalties
from reparam.objectives.adversary import Adversary
from reparam.objectives.base import Denoising, Objective, Penalized, Reconstruction, require_density, sample_count
from reparam.objectives.elbo import ELBO, Capacity, kl_per_dimension
from reparam.objectives.importance import CIWAE, CUBO, IWAE, MIWAE, PIWAE, Renyi
from reparam.objectives.sleep import ReweightedWakeSleep, WakeSleep

__all__ = [
    "CIWAE",
    "CUBO",
    "ELBO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "Capacity",
    "Denoising",
    "Objective",
    "Penalized",
    "Reconstruction",
    "Renyi",
    "ReweightedWakeSleep",
    "WakeSleep",
]

# for other rooms; not objectives, so not in __all__, which the table of laws enumerates
_ = Adversary, kl_per_dimension, require_density, sample_count
