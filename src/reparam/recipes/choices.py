"""Choices that names leave open, for the command and for estimators: by the data, or by one another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.data.rows import Rows, extremes
from reparam.errors import InputError, nearest
from reparam.objectives import ELBO, IWAE, Objective, Reconstruction
from reparam.recipes.codes import known
from reparam.recipes.families import STANDARDIZED
from reparam.recipes.papers import CHOICES

OBJECTIVES = ("elbo", "iwae", "reconstruction")
SCALED = (*STANDARDIZED, "log_normal", "discretized_logistic")
TOTALLED = ("binomial", "multinomial")
DISPERSED = ("negative_binomial", "zero_inflated_negative_binomial")
_ELEMENTS = 1 << 24  # looked at together
_K = {"iwae": 5}  # samples, where an objective wants more than one


def objective_name(name: str, posterior: str, beta: float = 1.0) -> str:
    """The objective, decided where it is auto: a point has no KL.

    Raises:
        InputError: for an unknown name, or a beta where there is no KL to weigh.
    """
    if name == "auto":
        name = "reconstruction" if posterior == "point" else "elbo"
    if name not in OBJECTIVES:
        raise InputError(f"unknown objective {name!r}: {nearest(name, ('auto', *OBJECTIVES))}")
    if beta != 1.0 and name != "elbo":
        raise InputError(f"beta weighs the KL of elbo; the objective {name} has none")
    return name


def recipe_choices(
    recipe: str, objective_given: bool, given: Mapping[str, str | None], dash: str = ""
) -> dict[str, str]:
    """What the recipe chooses itself; ``given`` are the names that the caller chose, None where none was.

    Raises:
        InputError: where the caller chose what the recipe brings; ``dash`` stands before the names of options.
    """
    if objective_given:
        names = f"{dash}objective, {dash}k and {dash}beta"
        raise InputError(f"the recipe {recipe} brings its own objective: leave out {names}")
    chosen = CHOICES.get(recipe, {})
    for name, value in chosen.items():
        if given[name] not in (None, value):
            raise InputError(f"the recipe {recipe} brings the {name} {value}: leave out {dash}{name}")
    return chosen


def samples_of(name: str) -> int:
    """How many samples of z an objective takes unless told."""
    return _K.get(name, 1)


def objective_of(name: str, k: int | None = None, beta: float = 1.0) -> Objective:
    """The objective of this name, one of ``OBJECTIVES``."""
    k = samples_of(name) if k is None else k
    makers: Mapping[str, Callable[[], Objective]] = {
        "elbo": lambda: ELBO(k, beta),
        "iwae": lambda: IWAE(k),
        "reconstruction": lambda: Reconstruction(k),
    }
    known(name, makers, "objective")
    return makers[name]()


def data_options(
    likelihood: str,
    data: Dataset,
    scale: float | str = "auto",
    dispersion: float | str = "auto",
    dtype: torch.dtype = torch.float32,
    total: int | None = None,
) -> dict[str, Any]:
    """What ``vae`` takes from the data: where the decoder starts, units, and the number of classes or levels.

    ``scale`` and ``dispersion`` at "auto" are learned: one for each column of a table, one for all elements of an
    image. A scale that is a number is in the data's units. ``total``, the trials of
    the binomial, is the largest count unless given; that of the multinomial is each row's own. Tensors are of the
    model's ``dtype``.

    Raises:
        InputError: for a total where the likelihood has none.
    """
    if total is not None and likelihood not in TOTALLED:
        raise InputError(f"total is of {' and '.join(TOTALLED)}: the likelihood {likelihood} has none")
    auto = "elementwise" if len(data.event_shape) == 1 else "shared"
    options: dict[str, Any] = {}
    if likelihood in SCALED:
        options["scale"] = auto if scale == "auto" else scale
    if likelihood in STANDARDIZED and data.pixel_max is None:
        return options | standardisation(data.x, options["scale"], dtype)
    if likelihood in ("categorical", "ordinal"):
        options["classes"] = max(2, int(extremes(data.x)[1]) + 1)
    if likelihood.startswith("discretized_logistic") and data.pixel_max:
        options["levels"] = round(data.pixel_max) + 1
    if likelihood in TOTALLED:
        options["total"] = max(1, int(extremes(data.x)[1])) if total is None and likelihood == "binomial" else total
    if likelihood in DISPERSED:
        options["dispersion"] = auto if dispersion == "auto" else dispersion
    return options | {"mean": mean_of(data.x, dtype) / (data.pixel_max or 1.0)}


def mean_of(x: Tensor | Rows, dtype: torch.dtype, rows: int = 8192) -> Tensor:
    """The mean datum."""
    rows = max(1, min(rows, _ELEMENTS // max(1, math.prod(x.shape[1:]))))
    return torch.stack([part.double().sum(0) for part in x.split(rows)]).sum(0).to(dtype) / len(x)


def standardisation(x: Tensor | Rows, scale: float | str, dtype: torch.dtype) -> dict[str, Any]:
    """Mean and standard deviation: of each column of a table, of all elements of an image. Constants keep scale 1."""
    dims = (0,) if x.dim() == 2 else tuple(range(x.dim()))
    loc, spread = _moments(x, dims) if isinstance(x, Rows) else (x.double().mean(dims), x.double().std(dims))
    spread = torch.where(spread > 1e-12 * (1 + loc.abs()), spread, 1.0)
    far = ~(loc.to(dtype).isfinite() & spread.to(dtype).isfinite())
    if bool(far.any()):
        where = f"column {int(far.nonzero()[0, 0])}" if far.dim() else "the data"
        most = max(abs(float(v)) for v in extremes(x))
        raise InputError(
            f"{where}: values up to {most:.3g} are too far for {str(dtype).removeprefix('torch.')}: "
            "divide them by a power of ten, or train with --table (rp.TabularVAE)"
        )
    more = {} if isinstance(scale, str) else {"scale": (scale / spread).to(dtype)}  # a number is in the data's units
    return {"loc": loc.to(dtype), "spread": spread.to(dtype), **more}


def _moments(x: Rows, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over these dimensions, in two passes."""
    count = math.prod(x.shape[i] for i in dims)
    loc = torch.stack([part.double().sum(dims) for part in x.split()]).sum(0) / count
    squares = torch.stack([(part.double() - loc).square().sum(dims) for part in x.split()]).sum(0)
    return loc, (squares / (count - 1)).sqrt()
