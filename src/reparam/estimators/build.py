"""From the parameters of an estimator and its data to a model: what is chosen, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from reparam import recipes, seeding
from reparam.data import Dataset, Source, infer
from reparam.errors import InputError, nearest
from reparam.objectives import Objective
from reparam.recipes import Recipe
from reparam.train.checks import split

_EXACT = float(1 << 53)  # up to here float64 holds every whole number


class Choice(NamedTuple):
    """A likelihood by name, and a sentence that says why."""

    likelihood: str
    reason: str


def choose_likelihood(x: np.ndarray, asked: str) -> Choice:
    """The likelihood asked for, or for "auto" the one that the values of ``x`` (N, D) call for.

    Raises:
        InputError: for an unknown name.
    """
    if asked == "auto":
        whole = bool((np.abs(x) < _EXACT).all()) and bool((x == np.rint(x)).all())
        _, likelihood, notes = infer(Source(x.astype(np.int64) if whole else x, "X"))
        return Choice(likelihood, notes[-1])
    if asked not in recipes.LIKELIHOODS:
        raise InputError(f"unknown likelihood {asked!r}: {nearest(str(asked), ('auto', *recipes.LIKELIHOODS))}")
    return Choice(asked, f"likelihood {asked}: as asked for")


def build(params: dict[str, Any], likelihood: str, data: Dataset, dtype: torch.dtype, seed: int) -> Recipe:
    """The model of these parameters for these data, with weights that the seed decides, and its objective.

    Raises:
        InputError: for parameters that make no model.
    """
    further = dict(params["options"] or {})
    scales = {n: further.pop(n) for n in ("scale", "dispersion") if n in further}
    details = recipes.data_options(likelihood, data, **scales, dtype=dtype) | further
    details |= {"likelihood": likelihood, "hidden": params["hidden"], **latents(params)}
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
    if params["recipe"] not in recipes.RECIPES:
        raise InputError(f"unknown recipe {params['recipe']!r}: {nearest(str(params['recipe']), recipes.RECIPES)}")
    own = (params["objective"], params["k"], params["beta"]) != ("auto", None, 1.0)
    chosen = recipes.recipe_choices(params["recipe"], own, asked)
    return {**given, **{n: v for n, v in chosen.items() if n in given}}


def _made(params: dict[str, Any], details: dict[str, Any], data: Dataset) -> Recipe:
    shape, dim, name = data.event_shape, params["latent_dim"], params["recipe"]
    try:
        if name is None:
            return Recipe(recipes.vae(shape, dim, **details), _objective(params))
        fixed = recipes.CHOICES.get(name, {})
        given = {n: v for n, v in details.items() if n not in fixed and not (n == "posterior" and v == "diagonal")}
        return recipes.RECIPES[name](shape, dim, **given)
    except TypeError as error:
        unknown = [n for n in params["options"] or {} if f"{n!r}" in str(error)]
        if not unknown:
            raise
        raise InputError(f"options: the model takes no {unknown[0]!r}, or this recipe brings its own") from error


def _objective(params: dict[str, Any]) -> Objective:
    asked = params["objective"]
    if isinstance(asked, Objective):
        if (params["k"], params["beta"]) != (None, 1.0):
            raise InputError("k and beta are for objectives by name: give them to the objective itself")
        return asked
    return recipes.objective_of(
        recipes.objective_name(asked, params["posterior"], params["beta"]), params["k"], params["beta"]
    )
