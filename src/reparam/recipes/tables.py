"""The model of a table: a likelihood for each kind of column, an encoder of rows with holes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from reparam import likelihoods, networks
from reparam.conditional import Conditional
from reparam.data.columns import Column
from reparam.data.table import TableSchema
from reparam.objectives import IWAE
from reparam.posteriors import DiagonalGaussian
from reparam.priors import StandardNormal
from reparam.recipes.recipe import Recipe
from reparam.vae import VAE

_COMPONENTS = 5  # of a column with several modes
_Make = Callable[[nn.Module], Conditional]


def table_vae(
    schema: TableSchema,
    latent_dim: int = 10,
    *,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    k: int = 20,
    residual: bool = False,
    norm: str | None = None,
) -> Recipe:
    """A table of columns of all kinds with missing cells: MIWAE (Mattei & Frellsen 2019) with mixed likelihoods.

    Given z the columns are independent, each of its own family with all parameters predicted: Gaussian, Student's t or
    a mixture of Gaussians for the numbers of :class:`Column`, Bernoulli, categorical and cumulative logit for
    categories, negative binomial for counts. The encoder reads missing cells as zeros, with a mask. The bound is the
    importance-weighted one of ``k`` samples, of what is seen.
    """
    columns, groups = schema.modelled, schema.group
    context = len(groups.categories or ()) if groups else 0
    classes = [c.classes for c in columns] + [2] * len(schema.indicators)
    units = [(c.loc, c.spread) if c.kind == "count" else (0.0, 1.0) for c in columns] + [(0.0, 1.0)] * len(
        schema.indicators
    )
    loc, spread = (torch.tensor(t) for t in zip(*units, strict=True))
    layers: dict[str, Any] = {"activation": activation, "context": context, "residual": residual, "norm": norm}
    reads = networks.Cells.features(classes)
    encoder = networks.Cells(networks.mlp(reads, 2 * latent_dim, hidden, **layers), classes, loc, spread)
    parts = [*_parts(columns)]
    if schema.indicators:
        parts.append((likelihoods.Bernoulli, range(len(columns), schema.width)))
    width = likelihoods.Mixed(nn.Identity(), parts).outputs((schema.width,))
    decoder = networks.mlp(latent_dim, width, tuple(reversed(tuple(hidden))), **layers)
    p_x = likelihoods.Mixed(decoder, parts)
    _start(decoder, p_x, columns)
    return Recipe(VAE(StandardNormal(latent_dim), likelihoods.Observed(p_x), DiagonalGaussian(encoder)), IWAE(k))


def _parts(columns: Sequence[Column]) -> list[tuple[_Make, Sequence[int]]]:
    """A likelihood for each group of columns of one family."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, column in enumerate(columns):
        groups.setdefault(_family(column), []).append(i)
    return [(_make(family, [columns[i] for i in chosen]), chosen) for family, chosen in groups.items()]


def _family(column: Column) -> tuple[Any, ...]:
    if column.kind == "count":
        return ("count", column.inflated)
    if not column.coded:
        return (column.family,)
    if column.classes == 2:
        return ("bernoulli",)
    return ("ordinal" if column.kind == "ordinal" else "categorical", column.classes)


def _make(family: tuple[Any, ...], columns: Sequence[Column]) -> _Make:
    name, shape = family[0], (len(columns),)
    least = torch.tensor([c.least_log_variance() for c in columns])
    makers: dict[str, _Make] = {
        "bernoulli": likelihoods.Bernoulli,
        "categorical": lambda net: likelihoods.Categorical(net, family[1]),
        "ordinal": lambda net: likelihoods.Ordinal(net, family[1], event_shape=shape),
        "gaussian": lambda net: likelihoods.Gaussian(networks.Floored(net, 1, least), "predicted"),
        "student_t": lambda net: likelihoods.StudentT(
            networks.Floored(net, 1, least / 2), "predicted", "elementwise", event_shape=shape
        ),
        "mixture": lambda net: likelihoods.MixtureOfGaussians(
            networks.Floored(net, 2 * _COMPONENTS, least), _COMPONENTS
        ),
        "count": lambda net: _counts(net, family[1:] == (True,)),
    }
    return makers[name]


def _counts(net: nn.Module, inflated: bool) -> Conditional:
    inner = likelihoods.NegativeBinomial(net, "predicted")
    return likelihoods.ZeroInflated(inner) if inflated else inner


@torch.no_grad()
def _start(decoder: networks.MLP, p_x: likelihoods.Mixed, columns: Sequence[Column]) -> None:
    """Counts begin at their mean logarithm, categories at their shares, and the components of mixtures apart."""
    bias, at = decoder.last.bias, 0
    for (_, chosen), size in zip(p_x.parts, p_x.sizes, strict=True):
        n, first = len(chosen), columns[chosen[0]] if chosen[0] < len(columns) else None
        if first is not None and first.kind == "count":
            for j, i in enumerate(chosen):
                bias[at + j] = math.log(max(math.expm1(columns[i].loc), 1e-3))
        elif first is not None and first.family == "mixture" and not first.coded:
            places = torch.linspace(-1.5, 1.5, _COMPONENTS).repeat_interleave(n)
            bias[at + _COMPONENTS * n : at + 2 * _COMPONENTS * n] = places
            bias[at + 2 * _COMPONENTS * n : at + 3 * _COMPONENTS * n] = -1.5
        elif first is not None and first.coded and first.kind != "ordinal" and first.shares:
            logs = torch.tensor([columns[i].shares or [1.0] * first.classes for i in chosen]).clamp_min(1e-3).log()
            start = logs[:, 1] - logs[:, 0] if first.classes == 2 else logs.flatten()
            bias[at : at + size] = start
        at += size
