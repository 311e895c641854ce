"""How the arithmetic is done: its precision, and graphs of it that are compiled as a whole. It knows no models."""

from reparam.engine.graph import Uncompilable, compile_graph
from reparam.engine.precision import PRECISIONS, dtype_of, has_bfloat16, products, resolve

__all__ = ["PRECISIONS", "Uncompilable", "compile_graph", "dtype_of", "has_bfloat16", "products", "resolve"]
