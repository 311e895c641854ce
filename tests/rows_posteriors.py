"""Rows of the table of laws: every public posterior."""

from __future__ import annotations

from reparam import posteriors
from rows import LATENT, Row, atom, plane

POSTERIORS = {
    "DiagonalGaussian": Row(posteriors.DiagonalGaussian, posteriors.DiagonalGaussian, 2 * LATENT, plane),
    "FullGaussian": Row(posteriors.FullGaussian, posteriors.FullGaussian, 5, plane),
    "Point": Row(posteriors.Point, posteriors.Point, LATENT, atom),
}
