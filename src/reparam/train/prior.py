"""Fitting the prior alone, to the codes that a trained encoder gives."""

from __future__ import annotations

from typing import Any

from reparam.errors import InputError
from reparam.train.history import History
from reparam.train.loop import fit
from reparam.vae import VAE


def fit_prior(vae: VAE, x: Any, **options: Any) -> History:
    """Train the prior's own parameters in place, and leave every other weight as it is.

    The ELBO, of which E_q[log p(z)] is then the one term that moves, is maximised over what the prior does not share
    with posterior and likelihood: of ``priors.Codes`` the probabilities, of a VampPrior its pseudo-inputs. For
    a ``VectorQuantized`` posterior it is the second stage of van den Oord et al. (2017); for a Gaussian one and
    ``priors.Mixture`` the ex-post density estimation of Ghosh et al. (2020).

    ``x`` and ``options`` are those of :func:`reparam.fit`; the parts that are kept stay in evaluation mode.

    Raises:
        InputError: if the prior has no parameters of its own; what ``fit`` raises.
    """
    others = {id(w) for part in (vae.likelihood, vae.posterior) for w in part.parameters()}
    own = {id(w) for w in vae.prior.parameters() if w.requires_grad and id(w) not in others}
    if not own:
        raise InputError(
            f"this {type(vae.prior).__name__} prior has no parameters of its own to fit: choose priors.Mixture, "
            "priors.Flow, or for quantised posteriors priors.Codes(posterior, 'autoregressive')"
        )
    kept = [w for w in vae.parameters() if w.requires_grad and id(w) not in own]
    try:
        for w in kept:
            w.requires_grad_(False)
        return fit(vae, x, **options)
    finally:
        for w in kept:
            w.requires_grad_(True)
