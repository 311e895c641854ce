"""Recipes: each trains, reports what its objective says, and names its paper."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import torch

import reparam as rp
from reparam.errors import InputError
from reparam.objectives import ELBO, Penalized
from reparam.recipes import RECIPES

recipes = pytest.mark.parametrize("name", RECIPES)


def patterns(n: int = 256) -> torch.Tensor:
    """Six bits that are noisy functions of two coins."""
    coins = (torch.rand(n, 2) < 0.5).float()
    return (coins.repeat(1, 3) - (torch.rand(n, 6) < 0.05).float()).abs()


@recipes
def test_a_recipe_trains_and_keeps_its_model_evaluable(name):
    """The bits carry at most 6 log 2 = 4.16 nats; a model that learned nothing is at that."""
    torch.manual_seed(0)
    given = torch.eye(2).repeat(128, 1)
    conditional = "context" in inspect.signature(RECIPES[name]).parameters
    model, objective = RECIPES[name](6, 2, hidden=(16,), **({"context": 2} if conditional else {}))
    contexts = (given,) if conditional else ()
    history = rp.fit(model, patterns(), contexts=contexts, objective=objective, epochs=30, batch_size=32, lr=1e-2)
    assert history["train_reconstruction"][-1] > history["train_reconstruction"][0]
    assert history["train_reconstruction"][-1] > -6 * np.log(2)
    assert not history.notes  # every schedule came to its end


@recipes
def test_a_recipe_names_its_paper_in_one_line(name):
    assert re.fullmatch(r".*\(.*(19|20)\d\d.*\).*\.", RECIPES[name].__doc__ or "")
    assert name in rp.recipes.__all__


def test_a_recipe_passes_its_options_to_the_model():
    model, objective = rp.recipes.beta_vae((4,), 3, beta=2, posterior="full", hidden=(5,))
    assert isinstance(model.posterior, rp.posteriors.FullGaussian)
    assert model.prior.dim == 3
    assert repr(objective) == repr(ELBO(beta=2.0))


def test_info_vae_splits_its_weights_as_in_the_paper():
    objective = rp.recipes.info_vae(4, alpha=0.3, scale=5.0).objective
    assert isinstance(objective, Penalized)
    assert objective.weight == pytest.approx(4.3)
    assert vars(objective.objective)["beta"] == pytest.approx(0.7)


def test_weights_that_make_no_objective_are_refused():
    with pytest.raises(InputError, match="weight"):
        rp.recipes.beta_tc_vae(4, beta=0.5)
    with pytest.raises(InputError, match="beta"):
        rp.recipes.info_vae(4, alpha=1.5)
