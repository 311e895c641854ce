"""From the parameters of an estimator and its data to a model: what is chosen, and why."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from reparam import recipes, seeding
from reparam.data import Dataset, Source, infer
from reparam.errors import InputError
from reparam.objectives import Objective
from reparam.recipes import Recipe
from reparam.recipes.codes import known
from reparam.train.checks import split
from reparam.vae import VAE

_EXACT = float(1 << 53)  # up to here float64 holds every whole number
_ENDS = 0.1  # of the values of a column between 0 and 1, at 0 or 1: more are black and white, fewer a scaled column
_OWN = ("latent_dim", "likelihood", "posterior", "prior", "hidden", "activation")  # of the model, not in its options
_SECONDS = {"scale": recipes.SCALED, "dispersion": recipes.DISPERSED}
_FEW = 20  # rows, of which two values say nothing yet
Likelihood = str | tuple[str, ...]


class Choice(NamedTuple):
    """A likelihood by name, or one name for each column, and a sentence that says why."""

    likelihood: Likelihood
    reason: str


def choose_likelihood(x: np.ndarray, asked: str | Sequence[str]) -> Choice:
    """The likelihood asked for, or for "auto" the one that the values of ``x`` (N, D) call for.

    Raises:
        InputError: for an unknown name.
    """
    if not isinstance(asked, str):
        return Choice(tuple(asked), "a likelihood for each column, as asked for")
    if asked != "auto":
        known(asked, ("auto", *recipes.LIKELIHOODS), "likelihood")
        return Choice(asked, f"likelihood {asked}: as asked for")
    scaled = _scaled(x)
    whole = bool((np.abs(x) < _EXACT).all()) and bool((x == np.rint(x)).all())
    columns = [str(i) for i in range(x.shape[1])] if scaled else None  # a table, whatever its range
    _, likelihood, notes = infer(Source(x.astype(np.int64) if whole else x, "X", columns=columns))
    binary = ((x == 0) | (x == 1)).all(0)
    if likelihood == "gaussian" and (x[:, binary].max(0, initial=0) > x[:, binary].min(0, initial=1)).any():
        # beside such columns a constant one is a category that was not met; alone it may be anything in other rows
        names = tuple("bernoulli" if b else likelihood for b in binary)
        return Choice(names, f"likelihood bernoulli for {binary.sum()} columns of 0 and 1, gaussian for the others")
    return Choice(likelihood, notes[-1] + (", which run from 0 to 1 as scaled columns do" if scaled else ""))


def _scaled(x: np.ndarray) -> bool:
    """Whether columns were scaled to run from 0 to 1: each touches both ends, and those that are not binary seldom.

    Their values beyond the rows at hand may lie outside, and no likelihood of the unit interval would take them.
    """
    rest = x[:, ~((x == 0) | (x == 1)).all(0)]
    if rest.size == 0 or not ((rest.min(0) == 0) & (np.abs(rest.max(0) - 1) < 1e-6)).all():
        return False
    return bool((((rest == 0) | (np.abs(rest - 1) < 1e-6)).mean(0) <= np.maximum(_ENDS, 2 / len(x))).all())


def warn_of_atoms(data: Dataset, likelihood: Likelihood, vae: VAE) -> None:
    """A column of two values in place of a density: where its scale is learned, the density grows without bound."""
    learns = any(getattr(m, "learns_scale", False) for m in vae.likelihood.modules())
    if not learns or len(data) < _FEW:
        return
    x, width = data.x, data.x.shape[1]
    names = (likelihood,) * width if isinstance(likelihood, str) else likelihood
    low, high = x.amin(0), x.amax(0)
    atoms = ((x == low) | (x == high)).all(0) & (low < high)
    columns = [i for i in range(width) if atoms[i] and names[i] in recipes.SCALED]
    if columns:
        warnings.warn(
            f"{data.place(0, [columns[0]]).partition(', ')[2]} has two values only, and a density there grows without "
            "bound as its scale is learned, so that scores say too much: encode it as 0 and 1, or fix the scale by "
            "options={'scale': ...}",
            UserWarning,
            stacklevel=4,
        )


def build(params: dict[str, Any], likelihood: Likelihood, data: Dataset, dtype: torch.dtype, seed: int) -> Recipe:
    """The model of these parameters for these data, with weights that the seed decides, and its objective.

    Raises:
        InputError: for parameters that make no model.
    """
    further = dict(params["options"] or {})
    for name in further:
        if name in _OWN:
            raise InputError(f"options: {name} is a parameter of its own")
    names = {likelihood} if isinstance(likelihood, str) else set(likelihood)
    seconds = {n: further.pop(n) for n in _SECONDS if n in further}
    for second in seconds:
        if not names & set(_SECONDS[second]):
            raise InputError(f"options: the likelihood {', '.join(sorted(names))} has no {second}")
    if isinstance(likelihood, str):
        details = {"likelihood": likelihood, **recipes.data_options(likelihood, data, **seconds, dtype=dtype)}
    else:
        details = recipes.by_column(likelihood, data, **seconds, dtype=dtype)
    details |= {**further, "hidden": params["hidden"], "activation": params["activation"], **latents(params)}
    with seeding.seeded(seed):
        if details.get("prior") == "vamp" and not isinstance(details.get("pseudo_inputs"), torch.Tensor):
            rows = split(data, params["validation"] or None, seed)[0]
            count = details.get("pseudo_inputs") or recipes.OPTIONS["pseudo_inputs"]
            details["pseudo_inputs"] = recipes.draw_rows(rows.x, count, seed).to(dtype)
        made = _made(params, details, data)
    return Recipe(made.vae.to(dtype), made.objective)


def latents(params: dict[str, Any]) -> dict[str, str | None]:
    """The names of posterior and prior, as the recipe has them where there is one.

    Raises:
        InputError: for an unknown recipe, or a choice that the recipe makes itself.
    """
    given = {"posterior": params["posterior"], "prior": params["prior"]}
    if params["recipe"] is None:
        return given
    asked = {
        "posterior": None if given["posterior"] == "diagonal" else given["posterior"],
        "prior": given["prior"],
        "likelihood": None if params["likelihood"] == "auto" else params["likelihood"],
    }
    known(params["recipe"], recipes.RECIPES, "recipe")
    own = (params["objective"], params["k"], params["beta"]) != ("auto", None, 1.0)
    chosen = recipes.recipe_choices(params["recipe"], own, asked)
    return {**given, **{n: v for n, v in chosen.items() if n in given}}


def _made(params: dict[str, Any], details: dict[str, Any], data: Dataset) -> Recipe:
    shape, dim, name = data.event_shape, params["latent_dim"], params["recipe"]
    try:
        if name is None:
            return Recipe(recipes.vae(shape, dim, **details), objective_of(params))
        fixed = recipes.CHOICES.get(name, {})
        given = {n: v for n, v in details.items() if n not in fixed and not (n == "posterior" and v == "diagonal")}
        return recipes.RECIPES[name](shape, dim, **given)
    except TypeError as error:
        unknown = [n for n in params["options"] or {} if f"{n!r}" in str(error)]
        if not unknown:
            raise
        raise InputError(f"options: the model takes no {unknown[0]!r}, or this recipe brings its own") from error


def objective_of(params: dict[str, Any]) -> Objective:
    """The objective of these parameters, where no recipe brings its own.

    Raises:
        InputError: for an unknown name, or a k or beta that it does not take.
    """
    asked = params["objective"]
    if isinstance(asked, Objective):
        if (params["k"], params["beta"]) != (None, 1.0):
            raise InputError("k and beta are for objectives by name: give them to the objective itself")
        return asked
    return recipes.objective_of(
        recipes.objective_name(asked, params["posterior"], params["beta"]), params["k"], params["beta"]
    )
