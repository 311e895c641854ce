"""A likelihood for each column of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam import likelihoods
from reparam.data import Dataset
from reparam.errors import InputError
from reparam.recipes.choices import data_options, mean_of, standardisation
from reparam.recipes.codes import known
from reparam.recipes.families import LIKELIHOODS, Family

_OF_ROWS = ("multinomial", "binomial")  # of a row as a whole, or with a number of trials that no column shows
_OPTIONS = ("scale", "dispersion", "classes", "total", "levels", "components", "exposure", "loc", "spread")


def by_column(
    names: Sequence[str],
    data: Dataset,
    scale: float | str = "auto",
    dispersion: float | str = "auto",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """What ``vae`` takes for a table whose columns have these likelihoods, one name for each column.

    Columns of one name are a part of :class:`reparam.likelihoods.Mixed`, each with its own scale. Real columns are
    standardised inside their part, and the encoder reads all columns standardised. ``scale``, ``dispersion`` and
    ``dtype`` are those of ``data_options``, for the columns that have them.

    Raises:
        InputError: for an unknown name, other than one for each column, or a likelihood of whole rows.
    """
    if data.event_shape != (len(names),):
        raise InputError(f"{len(names)} likelihoods for data of shape {data.event_shape}: give one for each column")
    for name in names:
        known(name, [n for n in LIKELIHOODS if n not in _OF_ROWS], "likelihood of a column")
    parts = []
    for name in dict.fromkeys(names):
        at = [i for i, n in enumerate(names) if n == name]
        parts.append(_Part(name, at, data_options(name, Dataset(data.x[:, at]), scale, dispersion, dtype)))

    def make(net: nn.Module, options: Any) -> likelihoods.Mixed:
        return likelihoods.Mixed(net, [(part.make, part.columns) for part in parts])

    def start(mean: Tensor, options: Any) -> Tensor:
        return torch.cat([part.start(mean) for part in parts])

    units = standardisation(data.x, "elementwise", dtype)
    family = Family(make, start if all(part.plain for part in parts) else None)
    return {"likelihood": family, "mean": mean_of(data.x, dtype), "loc": units["loc"], "spread": units["spread"]}


class _Part:
    """The columns of one likelihood."""

    def __init__(self, name: str, columns: list[int], given: Mapping[str, Any]) -> None:
        self.family, self.columns = LIKELIHOODS[name], columns
        self.options: Mapping[str, Any] = dict.fromkeys(_OPTIONS) | dict(given) | {"shape": (len(columns),)}

    @property
    def plain(self) -> bool:
        """Whether the net gives one number for each column, which can start at the column's mean."""
        return self.family.make(nn.Identity(), self.options).outputs((1,)) == (1,)

    @property
    def make(self) -> Callable[[nn.Module], Any]:
        """The likelihood of a net, in the units of the data."""
        loc, spread = self.options["loc"], self.options["spread"]

        def made(net: nn.Module) -> Any:
            inner: Any = self.family.make(net, self.options)
            return inner if loc is None else likelihoods.Standardized(inner, loc, spread)

        return made

    def start(self, mean: Tensor) -> Tensor:
        """The net's output at which each column has its mean; what is standardised has it at 0."""
        own = mean[self.columns]
        if self.family.start is None or self.options["loc"] is not None:
            return torch.zeros_like(own)
        return self.family.start(own, self.options)
