"""Autoregressive maps, by zuko: they are loaded when the first is built."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

from reparam.errors import InputError, nearest, require

KINDS = ("affine", "spline")
_BINS = 8


def _zuko() -> Any:
    """The package. Its import switches the argument checks of all distributions off; they are put back as they were."""
    checks = Distribution._validate_args
    try:
        return require("zuko", "flows", "a normalizing flow")
    finally:
        Distribution._validate_args = checks


def autoregressive(
    dim: int, context: int = 0, transforms: int = 3, hidden: Sequence[int] = (64, 64), kind: str = "affine"
) -> nn.ModuleList:
    """``transforms`` autoregressive maps of ``dim`` numbers, with the order turned round from each to the next.

    "affine" is x exp(s) + t with |s| < 6.9 (Papamakarios et al. 2017); "spline" the monotonic rational-quadratic
    spline of Durkan et al. (2019) with 8 bins on [-5, 5] and the identity beyond. Each module gives, for a context
    (..., context) or None, a transform of (..., dim).

    Raises:
        InputError: for numbers below 1 or an unknown kind.
        MissingExtraError: if zuko is not installed.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of flow {kind!r}: {nearest(kind, KINDS)}")
    for name, sizes in (("transforms", [transforms]), ("hidden", list(hidden)), ("dim", [dim])):
        if any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sizes):
            raise InputError(f"{name} of a flow must be at least 1: {sizes}")
    zuko, options = _zuko(), {}
    if kind == "spline":
        shapes = [(_BINS,), (_BINS,), (_BINS - 1,)]
        options = {"univariate": partial(zuko.transforms.MonotonicRQSTransform, slope=1e-3), "shapes": shapes}
    up = torch.arange(dim)
    maps = [
        zuko.flows.MaskedAutoregressiveTransform(
            dim,
            context,
            order=up if i % 2 == 0 else up.flip(0),
            hidden_features=tuple(hidden),
            activation=nn.ELU,
            **options,
        )
        for i in range(transforms)
    ]
    return nn.ModuleList(maps)
