"""Penalties of discrete codes: what a quantised encoder says from its code, and a class from the one that is known."""

from __future__ import annotations

from torch import Tensor

from reparam.distributions import Hierarchical, Known, Quantized
from reparam.errors import InputError
from reparam.objectives.penalties.base import Penalty
from reparam.vae import Draw


class Commitment(Penalty):
    """The mean of |z_e - e|², by which outputs of the encoder keep to their codes (van den Oord et al. 2017, eq. 3).

    Squares are summed over a datum's latent dimensions, as its nats are; the paper's weight is 0.25. The gradient goes
    to the encoder alone.

    Raises:
        InputError: at the first draw, where the posterior is not quantised.
    """

    least_rows = 1

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The mean square distance, a scalar."""
        q = _quantized(draw)
        return (q.encoded - q.vectors.detach()).square().sum(-1).mean()


class CodebookDistance(Penalty):
    """The same mean of |z_e - e|², for the codes alone (van den Oord et al. 2017, eq. 3, with weight 1).

    Moving means (``VectorQuantized(decay=...)``) take its place; it is for codebooks that are learned by gradient.

    Raises:
        InputError: at the first draw, where the posterior is not quantised.
    """

    least_rows = 1

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The mean square distance, a scalar."""
        q = _quantized(draw)
        return (q.encoded.detach() - q.vectors).square().sum(-1).mean()


class Classification(Penalty):
    """The mean of -log q(y|x) at the class y of those rows whose class is known, in nats (Kingma et al. 2014, eq. 9).

    A bound uses a known class without asking q(y|x) for it; by this q(y|x) learns it. In a batch in which no
    class is known it is 0.

    Raises:
        InputError: at the first draw, where the posterior has no :class:`reparam.posteriors.Label` on top.
    """

    least_rows = 1
    by_path = False

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The mean cross-entropy, a scalar in nats."""
        y = draw.q.first if isinstance(draw.q, Hierarchical) else draw.q
        if not isinstance(y, Known):
            raise InputError(
                "the classification penalty needs labels: a posterior of posteriors.Label and the label as last "
                "context, one-hot, or zeros where it is not known"
            )
        known = y.seen.sum(-1)
        return -(known * y.free.log_prob(y.seen)).sum() / known.sum().clamp_min(1)


def _quantized(draw: Draw) -> Quantized:
    if not isinstance(draw.q, Quantized):
        raise InputError(
            "the distance from a codebook needs a quantised posterior, such as posteriors.VectorQuantized; this one is "
            f"{type(draw.q).__name__}"
        )
    return draw.q
