"""Rows of the table of laws: every public objective and choice of its options."""

from __future__ import annotations

from reparam import objectives

OBJECTIVES = {
    "ELBO": objectives.ELBO(4),
    "ELBO A": objectives.ELBO(4, estimator="A"),
    "ELBO beta": objectives.ELBO(4, beta=3.0),
    "IWAE": objectives.IWAE(4),
    "Reconstruction": objectives.Reconstruction(4),
}
