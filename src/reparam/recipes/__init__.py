"""Named models, each a few lines: a choice of prior, likelihood and posterior, and the networks between them.

``vae`` and ``autoencoder`` return a model. The recipes of papers return a model and the objective that makes it theirs:

    model, objective = rp.recipes.beta_vae((28, 28), latent_dim=10, beta=4)
    rp.fit(model, images, objective=objective)

Their further ``options`` are those of ``vae``. ``RECIPES`` lists them by name.
"""

from collections.abc import Callable

from reparam.recipes.base import NETWORKS, autoencoder, vae
from reparam.recipes.choices import (
    DISPERSED,
    OBJECTIVES,
    SCALED,
    data_options,
    objective_name,
    objective_of,
    recipe_choices,
    samples_of,
)
from reparam.recipes.codes import OPTIONS, POSTERIORS, PRIORS, Latent, draw_rows, latent_options
from reparam.recipes.columns import by_column
from reparam.recipes.conditional import cvae, invariant_vae, m2
from reparam.recipes.families import LIKELIHOODS, LOGARITHMIC, STANDARDIZED, Family
from reparam.recipes.hierarchies import hierarchy, ladder_vae
from reparam.recipes.latents import flow_prior_vae, iaf_vae, mixture_vae, nb_vae, svae, vamp_vae
from reparam.recipes.papers import (
    CHOICES,
    annealed_vae,
    beta_tc_vae,
    beta_vae,
    capacity_vae,
    ciwae,
    dip_vae,
    free_nats_vae,
    info_vae,
    iwae,
    miwae,
    piwae,
    plain_autoencoder,
    plain_vae,
    rae,
    renyi_vae,
    reweighted_wake_sleep,
    wae,
)
from reparam.recipes.quantised import fsq_vae, vq_vae
from reparam.recipes.recipe import Recipe
from reparam.recipes.tables import table_vae
from reparam.recipes.training import denoising_ae, denoising_vae, factor_vae, wake_sleep

_ALL: tuple[Callable[..., Recipe], ...] = (
    beta_vae, annealed_vae, free_nats_vae, capacity_vae, iwae, miwae, piwae, ciwae, renyi_vae, reweighted_wake_sleep,
    wake_sleep, beta_tc_vae, factor_vae, dip_vae, info_vae, wae, rae, denoising_vae, denoising_ae, cvae, invariant_vae,
    m2, vq_vae, fsq_vae, ladder_vae, vamp_vae, flow_prior_vae, mixture_vae, iaf_vae, svae, nb_vae,
)  # fmt: skip
# by the names `vae` and `autoencoder` the functions of this package give a model alone
_PLAIN: dict[str, Callable[..., Recipe]] = {"autoencoder": plain_autoencoder, "vae": plain_vae}
RECIPES = {**_PLAIN, **{recipe.__name__: recipe for recipe in _ALL}}
LABELLED = ("m2",)  # their context is a label, which rows may lack

__all__ = [
    "CHOICES",
    "DISPERSED",
    "LABELLED",
    "LIKELIHOODS",
    "LOGARITHMIC",
    "NETWORKS",
    "OBJECTIVES",
    "OPTIONS",
    "POSTERIORS",
    "PRIORS",
    "RECIPES",
    "SCALED",
    "STANDARDIZED",
    "Family",
    "Latent",
    "Recipe",
    "annealed_vae",
    "autoencoder",
    "beta_tc_vae",
    "beta_vae",
    "by_column",
    "capacity_vae",
    "ciwae",
    "cvae",
    "data_options",
    "denoising_ae",
    "denoising_vae",
    "dip_vae",
    "draw_rows",
    "factor_vae",
    "flow_prior_vae",
    "free_nats_vae",
    "fsq_vae",
    "hierarchy",
    "iaf_vae",
    "info_vae",
    "invariant_vae",
    "iwae",
    "ladder_vae",
    "latent_options",
    "m2",
    "miwae",
    "mixture_vae",
    "nb_vae",
    "objective_name",
    "objective_of",
    "piwae",
    "plain_autoencoder",
    "plain_vae",
    "rae",
    "recipe_choices",
    "renyi_vae",
    "reweighted_wake_sleep",
    "samples_of",
    "svae",
    "table_vae",
    "vae",
    "vamp_vae",
    "vq_vae",
    "wae",
    "wake_sleep",
]
