"""Rows of the table of laws: every public prior."""

from __future__ import annotations

from reparam import priors
from rows import LATENT, Row, plane

PRIORS = {"StandardNormal": Row(priors.StandardNormal, lambda net: priors.StandardNormal(LATENT), LATENT, plane)}
