"""Penalties: properties of a batch of draws, for ``objectives.Penalized``. They belong to no datum and to no bound.

Some compare the rows of a batch with each other, some look at the code or at the decoder alone, and one learns.
"""

from reparam.objectives.penalties.base import Penalty
from reparam.objectives.penalties.batch import (
    DIP,
    HSIC,
    MMD,
    DimensionwiseKL,
    MutualInformation,
    TotalCorrelation,
    decompose,
    log_stratified_weights,
)
from reparam.objectives.penalties.codes import Classification, CodebookDistance, Commitment
from reparam.objectives.penalties.decoder import DecoderSlope, DecoderWeights, SquaredNorm
from reparam.objectives.penalties.density_ratio import DensityRatio

__all__ = [
    "DIP",
    "HSIC",
    "MMD",
    "Classification",
    "CodebookDistance",
    "Commitment",
    "DecoderSlope",
    "DecoderWeights",
    "DensityRatio",
    "DimensionwiseKL",
    "MutualInformation",
    "Penalty",
    "SquaredNorm",
    "TotalCorrelation",
]

# for tests and other rooms; no penalties, so not in __all__, which the table of laws enumerates
_ = decompose, log_stratified_weights
