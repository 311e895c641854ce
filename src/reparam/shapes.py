"""Names for tensor shapes, checked where jaxtyping runs (the tests) and free everywhere else.

The letters: k samples, b data of a batch, d latent dimensions, n all data, ``*event`` the shape of one datum.
jaxtyping is no dependency of the library. Under test it is imported before reparam, and only then used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, Int, Shaped, UInt8
else:

    class _Unchecked:
        def __class_getitem__(cls, item: Any) -> Any:
            return item[0]

    Float = Int = Shaped = UInt8 = _Unchecked

__all__ = ["Float", "Int", "Shaped", "UInt8"]
