"""The models of papers: each a model and the objective that makes it theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from reparam.errors import InputError, nearest
from reparam.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    Capacity,
    Penalized,
    Reconstruction,
    Renyi,
    ReweightedWakeSleep,
    penalties,
)
from reparam.recipes.base import autoencoder, vae
from reparam.recipes.recipe import Recipe, Shape
from reparam.schedules import Linear, Weight


def plain_vae(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """Variational autoencoder: the evidence lower bound by reparameterization (Kingma & Welling 2014)."""
    return Recipe(vae(event_shape, latent_dim, **options), ELBO())


def plain_autoencoder(event_shape: Shape, latent_dim: int = 10, **options: Any) -> Recipe:
    """Autoencoder: a code of which the reconstruction alone is learned (Hinton & Salakhutdinov 2006)."""
    return Recipe(autoencoder(event_shape, latent_dim, **options), Reconstruction())


def beta_vae(event_shape: Shape, latent_dim: int = 10, *, beta: Weight = 4.0, **options: Any) -> Recipe:
    """Beta-VAE: the KL weighs beta times, for codes whose dimensions stand alone (Higgins et al. 2017)."""
    return Recipe(vae(event_shape, latent_dim, **options), ELBO(beta=beta))


def annealed_vae(event_shape: Shape, latent_dim: int = 10, *, over: float = 0.2, **options: Any) -> Recipe:
    """KL warm-up: beta rises from 0 to 1 in the first part of the run (Bowman et al. 2016; Sønderby et al. 2016)."""
    return Recipe(vae(event_shape, latent_dim, **options), ELBO(beta=Linear(0.0, 1.0, over)))


def free_nats_vae(event_shape: Shape, latent_dim: int = 10, *, free_nats: Weight = 0.1, **options: Any) -> Recipe:
    """Free bits: the first nats of KL in each dimension cost the same whether used or not (Kingma et al. 2016)."""
    return Recipe(vae(event_shape, latent_dim, **options), ELBO(free_nats=free_nats))


def capacity_vae(
    event_shape: Shape, latent_dim: int = 10, *, capacity: float = 25.0, weight: float = 1000.0, **options: Any
) -> Recipe:
    """Controlled capacity: the KL is led from 0 to ``capacity`` nats during the run (Burgess et al. 2018)."""
    return Recipe(vae(event_shape, latent_dim, **options), Capacity(Linear(0.0, capacity, over=0.8), weight))


def iwae(
    event_shape: Shape,
    latent_dim: int = 10,
    *,
    k: int = 5,
    gradient: Literal["plain", "stl", "dreg"] | str = "dreg",
    **options: Any,
) -> Recipe:
    """Importance-weighted autoencoder (Burda et al. 2016), by doubly reparameterized gradients (Tucker et al. 2019)."""
    return Recipe(vae(event_shape, latent_dim, **options), IWAE(k, gradient))


def miwae(event_shape: Shape, latent_dim: int = 10, *, m: int = 4, k: int = 4, **options: Any) -> Recipe:
    """The mean of m importance-weighted bounds of k samples each (Rainforth et al. 2018)."""
    return Recipe(vae(event_shape, latent_dim, **options), MIWAE(m, k))


def piwae(event_shape: Shape, latent_dim: int = 10, *, m: int = 4, k: int = 4, **options: Any) -> Recipe:
    """IWAE of all m k samples for the decoder, MIWAE(m, k) for the encoder (Rainforth et al. 2018)."""
    return Recipe(vae(event_shape, latent_dim, **options), PIWAE(m, k))


def ciwae(event_shape: Shape, latent_dim: int = 10, *, k: int = 5, beta: Weight = 0.5, **options: Any) -> Recipe:
    """A mixture of ELBO (share beta) and IWAE (Rainforth et al. 2018)."""
    return Recipe(vae(event_shape, latent_dim, **options), CIWAE(k, beta))


def renyi_vae(event_shape: Shape, latent_dim: int = 10, *, alpha: float = 0.5, k: int = 5, **options: Any) -> Recipe:
    """Variational Rényi bound, between IWAE (alpha = 0) and the ELBO (alpha = 1) (Li & Turner 2016)."""
    return Recipe(vae(event_shape, latent_dim, **options), Renyi(alpha, k))


def reweighted_wake_sleep(event_shape: Shape, latent_dim: int = 10, *, k: int = 5, **options: Any) -> Recipe:
    """IWAE for the decoder, weighted log q for the encoder (Bornschein & Bengio 2015; Le et al. 2019)."""
    return Recipe(vae(event_shape, latent_dim, **options), ReweightedWakeSleep(k))


def beta_tc_vae(event_shape: Shape, latent_dim: int = 10, *, beta: float = 6.0, **options: Any) -> Recipe:
    """Beta-TCVAE: of the KL only the total correlation weighs beta times (Chen et al. 2018)."""
    objective = Penalized(ELBO(), penalties.TotalCorrelation(), beta - 1)
    return Recipe(vae(event_shape, latent_dim, **options), objective)


def dip_vae(
    event_shape: Shape,
    latent_dim: int = 10,
    *,
    weight: Weight = 10.0,
    kind: Literal["I", "II"] | str = "II",
    **options: Any,
) -> Recipe:
    """DIP-VAE: the covariance of the code is drawn to the identity (Kumar et al. 2018)."""
    return Recipe(vae(event_shape, latent_dim, **options), Penalized(ELBO(), penalties.DIP(kind), weight))


def info_vae(
    event_shape: Shape, latent_dim: int = 10, *, alpha: float = 0.5, scale: float = 10.0, **options: Any
) -> Recipe:
    """InfoVAE: the KL weighs 1 - alpha, the MMD of code and prior alpha + scale - 1 (Zhao et al. 2019)."""
    objective = Penalized(ELBO(beta=1 - alpha), penalties.MMD("rbf"), alpha + scale - 1)
    return Recipe(vae(event_shape, latent_dim, **options), objective)


def wae(event_shape: Shape, latent_dim: int = 10, *, weight: Weight = 100.0, **options: Any) -> Recipe:
    """Wasserstein autoencoder: a plain one whose codes are drawn to the prior by MMD (Tolstikhin et al. 2018)."""
    objective = Penalized(Reconstruction(), penalties.MMD("imq", (0.2, 0.4, 1.0, 2.0, 4.0, 10.0, 20.0)), weight)
    return Recipe(autoencoder(event_shape, latent_dim, **options), objective)


_DECODERS: dict[str, Callable[[], penalties.Penalty]] = {
    "l2": penalties.DecoderWeights,
    "gradient": penalties.DecoderSlope,
    "spectral": lambda: penalties.DecoderWeights("spectral"),
}


def rae(
    event_shape: Shape,
    latent_dim: int = 10,
    *,
    weight: Weight = 1.0,
    decoder: Literal["l2", "gradient", "spectral"] | str | None = None,
    decoder_weight: Weight = 1e-3,
    **options: Any,
) -> Recipe:
    """Regularised autoencoder: weights on |z|²/2 and on the decoder, l2, gradient or spectral (Ghosh et al. 2020)."""
    objective = Penalized(Reconstruction(), penalties.SquaredNorm(), weight)
    if decoder is not None:
        if decoder not in _DECODERS:
            raise InputError(f"unknown penalty of the decoder {decoder!r}: {nearest(decoder, _DECODERS)}")
        objective = Penalized(objective, _DECODERS[decoder](), decoder_weight)
    return Recipe(autoencoder(event_shape, latent_dim, **options), objective)


# what a recipe chooses itself, among the options of `vae`
CHOICES: dict[str, dict[str, str]] = {
    "autoencoder": {"posterior": "point"},
    "wae": {"posterior": "point"},
    "rae": {"posterior": "point"},
    "denoising_ae": {"posterior": "point"},
    "vamp_vae": {"prior": "vamp"},
    "flow_prior_vae": {"prior": "flow"},
    "mixture_vae": {"prior": "mixture"},
    "iaf_vae": {"posterior": "flow"},
    "svae": {"posterior": "vmf"},
    "nb_vae": {"likelihood": "negative_binomial"},
}
