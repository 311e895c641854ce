"""How good a model is, in nats: reads any VAE, knows no model's code."""

from reparam.evaluate.annealing import Annealing, Sandwich, bdmc
from reparam.evaluate.bounds import Terms, elbo, elbo_terms, objective_value
from reparam.evaluate.diagnostics import active_units, bits_per_dim, encode
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.importance import Curve, bound_curve
from reparam.evaluate.likelihood import METHODS, log_likelihood
from reparam.evaluate.refine import refine, refined

__all__ = [
    "METHODS",
    "Annealing",
    "Curve",
    "Estimate",
    "Sandwich",
    "Terms",
    "active_units",
    "bdmc",
    "bits_per_dim",
    "bound_curve",
    "elbo",
    "elbo_terms",
    "encode",
    "log_likelihood",
    "objective_value",
    "refine",
    "refined",
]
