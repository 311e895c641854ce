"""How fast the library is on this machine, beside loops written by hand and other libraries."""

from reparam.bench.cases import CASES, Case
from reparam.bench.measure import measure

__all__ = ["CASES", "Case", "measure"]
