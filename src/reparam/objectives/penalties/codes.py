"""Penalties of vector quantisation: the distance of what the encoder says from the code that stands for it."""

from __future__ import annotations

from torch import Tensor

from reparam.distributions import Quantized
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


def _quantized(draw: Draw) -> Quantized:
    if not isinstance(draw.q, Quantized):
        raise InputError(
            "the distance from a codebook needs a quantised posterior, such as posteriors.VectorQuantized; this one is "
            f"{type(draw.q).__name__}"
        )
    return draw.q
