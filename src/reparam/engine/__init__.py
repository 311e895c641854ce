"""How the arithmetic is done: its precision, and graphs of it that are compiled as a whole. It knows no models."""

from reparam.engine.graph import Uncompilable, compile_graph, recording
from reparam.engine.precision import PRECISIONS, dtype_of, has_bfloat16, narrowed, products, resolve, widened

__all__ = [
    "PRECISIONS",
    "Uncompilable",
    "compile_graph",
    "dtype_of",
    "has_bfloat16",
    "narrowed",
    "products",
    "recording",
    "resolve",
    "widened",
]
