"""Choosing options by held-out likelihood: what is tried, what came of it, and the processes that try it."""

from reparam.sweep.ledger import Ledger, Trial, compare, written
from reparam.sweep.processes import Processes
from reparam.sweep.space import Axis, parse

__all__ = ["Axis", "Ledger", "Processes", "Trial", "compare", "parse", "written"]
