"""How good a model is, in nats: reads any VAE, knows no model's code."""

from reparam.evaluate.bounds import METHODS, Terms, elbo, elbo_terms, log_likelihood, objective_value
from reparam.evaluate.diagnostics import active_units, bits_per_dim, encode
from reparam.evaluate.estimate import Estimate

__all__ = [
    "METHODS",
    "Estimate",
    "Terms",
    "active_units",
    "bits_per_dim",
    "elbo",
    "elbo_terms",
    "encode",
    "log_likelihood",
    "objective_value",
]
