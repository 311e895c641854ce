"""Links from a net's output to parameters that a sampler and a density can bear."""

from __future__ import annotations

import math

from torch import Tensor

from reparam.numerics import soft_clip


def bounded_exp(x: Tensor, low: float, high: float, margin: float = 2.0) -> Tensor:
    """exp(x): exact from ``low`` to ``high``, smooth beyond, and never outside low / margin and high * margin."""
    centre, half = math.log(low * high) / 2, math.log(high / low) / 2
    return (centre + soft_clip(x - centre, half, math.log(margin))).exp()


def bounded_logits(x: Tensor, centred: bool = False) -> Tensor:
    """Logits, exact up to 30 and below 40; with ``centred``, relative to their mean along the last dimension."""
    return soft_clip(x - x.mean(-1, keepdim=True) if centred else x, 30, 10)
