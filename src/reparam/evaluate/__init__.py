"""How good a model is, in nats: reads any VAE, knows no model's code."""

from reparam.evaluate.annealing import Annealing, Sandwich, bdmc
from reparam.evaluate.bounds import Terms, elbo, elbo_terms, kl_per_layer, objective_value
from reparam.evaluate.diagnosis import Diagnosis, Finding, Number, diagnose
from reparam.evaluate.diagnostics import active_units, bits_per_dim, encode
from reparam.evaluate.disentanglement import Disentanglement, disentanglement
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.importance import Curve, bound_curve
from reparam.evaluate.likelihood import METHODS, log_likelihood
from reparam.evaluate.likeness import Likeness, SampleQuality, likeness, sample_quality
from reparam.evaluate.refine import refine, refined

__all__ = [
    "METHODS",
    "Annealing",
    "Curve",
    "Diagnosis",
    "Disentanglement",
    "Estimate",
    "Finding",
    "Likeness",
    "Number",
    "SampleQuality",
    "Sandwich",
    "Terms",
    "active_units",
    "bdmc",
    "bits_per_dim",
    "bound_curve",
    "diagnose",
    "disentanglement",
    "elbo",
    "elbo_terms",
    "encode",
    "kl_per_layer",
    "likeness",
    "log_likelihood",
    "objective_value",
    "refine",
    "refined",
    "sample_quality",
]
