"""Named models, each a few lines: a choice of prior, likelihood and posterior, and the networks between them.

``vae`` and ``autoencoder`` return a model. The recipes of papers return a model and the objective that makes it theirs:

    model, objective = rp.recipes.beta_vae((28, 28), latent_dim=10, beta=4)
    rp.fit(model, images, objective=objective)

Their further ``options`` are those of ``vae``. ``RECIPES`` lists them by name.
"""

from reparam.recipes.base import NETWORKS, POSTERIORS, autoencoder, vae
from reparam.recipes.families import LIKELIHOODS, LOGARITHMIC, STANDARDIZED
from reparam.recipes.papers import (
    PAPERS,
    Recipe,
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
    rae,
    renyi_vae,
    reweighted_wake_sleep,
    wae,
)
from reparam.recipes.training import TRAINING, denoising_ae, denoising_vae, factor_vae, wake_sleep

RECIPES = {recipe.__name__: recipe for recipe in (*PAPERS, *TRAINING)}

__all__ = [
    "LIKELIHOODS",
    "LOGARITHMIC",
    "NETWORKS",
    "POSTERIORS",
    "RECIPES",
    "STANDARDIZED",
    "Recipe",
    "annealed_vae",
    "autoencoder",
    "beta_tc_vae",
    "beta_vae",
    "capacity_vae",
    "ciwae",
    "denoising_ae",
    "denoising_vae",
    "dip_vae",
    "factor_vae",
    "free_nats_vae",
    "info_vae",
    "iwae",
    "miwae",
    "piwae",
    "rae",
    "renyi_vae",
    "reweighted_wake_sleep",
    "vae",
    "wae",
    "wake_sleep",
]
