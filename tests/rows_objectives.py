"""Rows of the table of laws: every public objective and choice of its options, and every penalty."""

from __future__ import annotations

from reparam import networks, objectives
from reparam.objectives import penalties
from reparam.schedules import Linear

# Their bounds read four samples; those that cut them into groups get the same number.
OBJECTIVES = {
    "ELBO": objectives.ELBO(4),
    "ELBO A": objectives.ELBO(4, estimator="A"),
    "ELBO beta": objectives.ELBO(4, beta=3.0),
    "ELBO scheduled": objectives.ELBO(4, beta=Linear(0, 1, over=0.2)),
    "ELBO free nats": objectives.ELBO(4, free_nats=0.1),
    "ELBO stl": objectives.ELBO(4, gradient="stl"),
    "Capacity": objectives.Capacity(Linear(0, 5), 10.0, k=4),
    "IWAE": objectives.IWAE(4),
    "IWAE stl": objectives.IWAE(4, "stl"),
    "IWAE dreg": objectives.IWAE(4, "dreg"),
    "MIWAE": objectives.MIWAE(2, 2),
    "CIWAE": objectives.CIWAE(4, 0.3),
    "PIWAE": objectives.PIWAE(2, 2),
    "ReweightedWakeSleep": objectives.ReweightedWakeSleep(4),
    "Renyi": objectives.Renyi(0.5, 4),
    "CUBO": objectives.CUBO(4),
    "Reconstruction": objectives.Reconstruction(4),
    "ReweightedWakeSleep sleep": objectives.ReweightedWakeSleep(4, sleep=0.3),
    "WakeSleep": objectives.WakeSleep(4),
    "Denoising": objectives.Denoising(objectives.IWAE(4), noise=0.5, masked=0.2),
    "Penalized": objectives.Penalized(objectives.ELBO(4), penalties.TotalCorrelation(), 5.0),
}

PENALTIES = {
    "TotalCorrelation": penalties.TotalCorrelation(),
    "MutualInformation": penalties.MutualInformation(),
    "DimensionwiseKL": penalties.DimensionwiseKL(),
    "DIP I": penalties.DIP("I"),
    "DIP II": penalties.DIP("II"),
    "MMD imq": penalties.MMD("imq", (0.5, 2.0)),
    "MMD rbf": penalties.MMD("rbf"),
    "HSIC": penalties.HSIC(),
    "SquaredNorm": penalties.SquaredNorm(),
    "DecoderWeights": penalties.DecoderWeights(),
    "DecoderWeights spectral": penalties.DecoderWeights("spectral"),
    "DecoderSlope": penalties.DecoderSlope(2),
    "DecoderSlope exact": penalties.DecoderSlope(None),
    "DensityRatio": penalties.DensityRatio(networks.mlp(2, 1, (4,), "tanh").double()),
}
