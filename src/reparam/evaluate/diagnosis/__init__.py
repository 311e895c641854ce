"""What is wrong with a model, in order of weight: measurements, and the findings that are made of them."""

from reparam.evaluate.diagnosis.calibration import Fit, fit_of, from_uniform, sbc
from reparam.evaluate.diagnosis.diagnose import diagnose
from reparam.evaluate.diagnosis.finding import Diagnosis, Finding, Number
from reparam.evaluate.diagnosis.gaps import Gaps, gaps
from reparam.evaluate.diagnosis.latent import (
    Bounds,
    Codes,
    aggregate_kl,
    codes,
    correlations,
    idle_dimensions,
    mutual_information,
)

__all__ = [
    "Bounds",
    "Codes",
    "Diagnosis",
    "Finding",
    "Fit",
    "Gaps",
    "Number",
    "aggregate_kl",
    "codes",
    "correlations",
    "diagnose",
    "fit_of",
    "from_uniform",
    "gaps",
    "idle_dimensions",
    "mutual_information",
    "sbc",
]
