"""reparam: variational autoencoders for your own data, with a log-likelihood you can trust.

    import reparam as rp

    vae = rp.recipes.vae((28, 28), latent_dim=20)
    rp.fit(vae, images, epochs=10)
    rp.evaluate.log_likelihood(vae, test_images, k=1000)      # nats, with its standard error

Names are loaded at their first use, so that ``import reparam`` is quick and changes nothing in the process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from reparam.version import __version__

if TYPE_CHECKING:
    from reparam import (
        data,
        distributions,
        evaluate,
        likelihoods,
        networks,
        objectives,
        plots,
        posteriors,
        priors,
        recipes,
        schedules,
    )
    from reparam.conditional import Conditional
    from reparam.data import Dataset, open
    from reparam.estimators import CountVAE, TabularVAE, VariationalAutoencoder
    from reparam.run import load, save
    from reparam.train import fit, fit_prior
    from reparam.vae import VAE, Draw

_MODULES = {
    "data", "distributions", "evaluate", "likelihoods", "networks", "objectives", "plots", "posteriors",
    "priors", "recipes", "schedules",
}  # fmt: skip
_NAMES = {
    "Conditional": "reparam.conditional",
    "CountVAE": "reparam.estimators",
    "Dataset": "reparam.data",
    "Draw": "reparam.vae",
    "TabularVAE": "reparam.estimators",
    "VAE": "reparam.vae",
    "VariationalAutoencoder": "reparam.estimators",
    "fit": "reparam.train",
    "fit_prior": "reparam.train",
    "load": "reparam.run",
    "open": "reparam.data",
    "save": "reparam.run",
}

__all__ = [
    "VAE", "Conditional", "CountVAE", "Dataset", "Draw", "TabularVAE", "VariationalAutoencoder", "__version__", "data",
    "distributions", "evaluate", "fit", "fit_prior", "likelihoods", "load", "networks", "objectives", "open", "plots",
    "posteriors", "priors", "recipes", "save", "schedules",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"reparam.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'reparam' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
