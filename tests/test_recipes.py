"""Recipes: each trains, reports what its objective says, and names its paper."""

from __future__ import annotations

import ast
import inspect
import re

import numpy as np
import pytest
import torch

import reparam as rp
from refusals import refused
from reparam.errors import InputError
from reparam.objectives import ELBO, Penalized
from reparam.recipes import CHOICES, POSTERIORS, PRIORS, RECIPES

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
    if CHOICES.get(name, {}).get("likelihood", "bernoulli") == "bernoulli":  # counts have more values than a bit
        assert history["train_reconstruction"][-1] > -6 * np.log(2)
    assert not history.notes  # every schedule came to its end


@recipes
def test_a_recipe_names_its_paper_in_one_line(name):
    assert re.fullmatch(r".*\(.*(19|20)\d\d.*\).*\.", (RECIPES[name].__doc__ or "").splitlines()[0])
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


def model_of(posterior: str, prior: str | None, **options: object) -> rp.VAE:
    return rp.recipes.vae(6, 3, hidden=(8,), posterior=posterior, prior=prior, **options)


def test_every_posterior_has_a_prior_of_its_own_place():
    for name in POSTERIORS:
        vae = model_of(name, None)
        draw = vae(patterns(5))
        assert bool(draw.log_pz.isfinite().all())
        assert vae.sample(4).shape == (4, 6)
    kinds = {name: type(model_of(name, None).prior) for name in ("vmf", "dirichlet", "logistic_normal", "gamma")}
    assert kinds == {
        "vmf": rp.priors.SphereUniform, "dirichlet": rp.priors.Dirichlet, "logistic_normal": rp.priors.Dirichlet,
        "gamma": rp.priors.Gamma,
    }  # fmt: skip


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("prior", PRIORS)
def test_two_names_make_a_model_or_one_error_at_once(posterior, prior):
    place = {"dirichlet": "simplex", "logistic_normal": "simplex", "gamma": "positive", "vmf": "sphere",
             "sphere_uniform": "sphere", "categorical": "one-hot", "bernoulli": "bits"}  # fmt: skip
    place["autoregressive"] = place.get(posterior) if posterior in ("categorical", "bernoulli") else "codes"
    fits = posterior != "point" if prior == "vamp" else place.get(posterior) == place.get(prior)
    if fits:
        draw = model_of(posterior, prior)(patterns(5))
        assert posterior == "point" or bool(draw.log_w.isfinite().all())
    else:
        refused(lambda: model_of(posterior, prior), posterior, prior, "do not go together", kinds=(InputError,))


def test_options_of_the_latents_arrive_or_are_refused():
    assert model_of("lowrank", None, rank=1).posterior.rank == 1
    assert model_of("flow", "flow", transforms=1, flow_kind="spline").prior.kind == "spline"
    assert model_of("diagonal", "mixture", components=7).prior.components == 7
    assert model_of("gamma", None, concentration=2.0).prior.concentration == 2.0
    both = model_of("diagonal", "mixture", components=3, likelihood="discretized_logistic_mixture", levels=4)
    assert (both.prior.components, both.likelihood.components) == (3, 3)
    refused(lambda: model_of("diagonal", None, rank=2), "rank", "lowrank")
    refused(lambda: model_of("diagonal", "mixture", pseudo_inputs=3), "pseudo_inputs", "vamp")
    refused(lambda: model_of("lowrnk", None), "posterior", "did you mean 'lowrank'")
    refused(lambda: model_of("diagonal", "mixtur"), "prior", "did you mean 'mixture'")


def test_pseudo_inputs_are_rows_of_the_data_drawn_by_the_seed():
    x = torch.arange(40.0).reshape(20, 2)
    rows = rp.recipes.draw_rows(x, 6, seed=3)
    assert torch.equal(rows, rp.recipes.draw_rows(x, 6, seed=3))
    assert not torch.equal(rows, x[:6])
    assert len(rp.recipes.draw_rows(x, 99)) == 20
    vae = rp.recipes.vae(2, 2, likelihood="gaussian", prior="vamp", pseudo_inputs=rows)
    assert torch.equal(vae.prior.pseudo_inputs, rows)
    counts = rp.recipes.vae(2, 2, likelihood="poisson", prior="vamp", pseudo_inputs=rows)
    torch.testing.assert_close(counts.prior.pseudo_inputs, rows, atol=0.1, rtol=0)
    refused(lambda: rp.recipes.vae(2, likelihood="poisson", prior="vamp"), "poisson", "draw_rows")


def test_options_of_the_networks_arrive():
    for name in ("mlp", "conv", "resnet"):
        vae = rp.recipes.vae((8, 8), 2, network=name, hidden=(8, 8), channels=(4,), gated=True)
        for net in (vae.posterior.net, vae.likelihood.net):
            assert net.gated
            assert net.residual == (name == "resnet")
        assert bool(vae(torch.ones(3, 8, 8)).log_w.isfinite().all())
    assert rp.recipes.vae(8, 2, hidden=(8,), norm="layer", residual=True).posterior.net.norm == "layer"


def test_an_exposure_scales_the_rates_and_enters_no_net():
    torch.manual_seed(0)
    library = torch.empty(300).uniform_(10, 1000).unsqueeze(1)
    x = torch.poisson(library * torch.tensor([0.7, 0.2, 0.1]))
    model, objective = rp.recipes.nb_vae(3, 2, exposure=True, hidden=(8,))
    rp.fit(model, x, objective=objective, epochs=80, batch_size=50, lr=3e-2, contexts=[library], progress=False)
    rates = model.likelihood(model.encode(x, library), library).mean / library
    torch.testing.assert_close(rates.mean(0), torch.tensor([0.7, 0.2, 0.1]), rtol=0.2, atol=0)
    refused(lambda: rp.recipes.vae(3, likelihood="gaussian", exposure=True), "gaussian", "exposure")


def test_discrete_latents_by_name():
    """One-hot vectors of 3 numbers each, or bits; an autoregressive prior is over those of the posterior."""
    x = patterns(64)
    for gradient in ("gumbel", "score", "enumerate"):
        model = rp.recipes.vae(6, 6, posterior="categorical", latent_classes=3, gradient=gradient, hidden=(8,))
        assert (model.posterior.groups, model.posterior.classes, model.posterior.gradient) == (2, 3, gradient)
        assert (model.prior.groups, model.prior.classes) == (2, 3)
    one = rp.recipes.vae(6, 4, posterior="categorical", hidden=(8,))
    assert (one.posterior.groups, one.posterior.classes) == (1, 4)
    both = rp.recipes.vae(6, 6, posterior="categorical", prior="autoregressive", latent_classes=3, hidden=(8,))
    assert (both.prior.groups, both.prior.classes) == (2, 3)
    bits = rp.recipes.vae(6, 3, posterior="bernoulli", prior="autoregressive", gradient="enumerate", hidden=(8,))
    assert bits.prior.classes is None
    torch.manual_seed(0)
    rp.fit(bits, x, epochs=30, batch_size=32, lr=1e-2, progress=False)
    assert float(rp.evaluate.log_likelihood(bits, x, method="exact").per_datum.mean()) > -6 * np.log(2)
    refused(lambda: rp.recipes.vae(6, 7, posterior="categorical", latent_classes=3), "7", "multiple")
    refused(lambda: rp.recipes.vae(6, 6, latent_classes=3), "latent_classes", "categorical")
    refused(lambda: rp.recipes.vae(6, 6, posterior="bernoulli", gradient="gumble"), "did you mean 'gumbel'")


def test_pseudo_inputs_bring_contexts_of_their_own():
    x, c = patterns(64), torch.eye(2).repeat(32, 1)
    rows = torch.arange(0, 60, 6)
    model = rp.recipes.vae(
        6, 2, prior="vamp", context=2, pseudo_inputs=x[rows], pseudo_contexts=(c[rows],), hidden=(8,)
    )
    assert torch.equal(model.prior.contexts[0], c[rows])
    before = rp.evaluate.elbo(model, rp.Dataset(x, contexts=(c,)), k=20)
    rp.fit(model, x, contexts=(c,), epochs=10, batch_size=32, lr=1e-2, progress=False)
    assert float(rp.evaluate.elbo(model, rp.Dataset(x, contexts=(c,)), k=20)) > float(before)
    refused(lambda: rp.recipes.vae(6, 2, prior="vamp", context=2, pseudo_inputs=x[rows]), "pseudo_contexts")


@recipes
def test_a_recipe_is_short(name):
    """Fifteen lines at most, its docstring apart: what is longer is a mechanism, with a room of its own."""
    source = ast.parse(inspect.getsource(RECIPES[name])).body[0]
    assert isinstance(source, ast.FunctionDef)
    statements = [s for s in source.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    assert 0 < statements[-1].end_lineno - statements[0].lineno + 1 <= 15
