"""Posteriors that put all mass on one of finitely many vectors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from reparam.distributions import Quantized as QuantizedDistribution
from reparam.networks.quantizers import Codebook, Lattice, Quantizer
from reparam.posteriors.base import Posterior


class _Quantized(Posterior):
    """A net, and what its output is rounded to."""

    quantizer: Quantizer

    def __init__(self, net: nn.Module, quantizer: Quantizer) -> None:
        super().__init__(net)
        self.quantizer = quantizer

    def read(self, out: Tensor) -> QuantizedDistribution:
        """Batch (B,), event (groups * dim,)."""
        encoded, index = self.quantizer(out)
        return QuantizedDistribution(encoded, index, self.quantizer)

    def absorb(self, q: QuantizedDistribution) -> None:
        """What a training step teaches by other ways than gradients, from the posterior of its batch."""
        self.quantizer.absorb(q.encoded, q.index)


class VectorQuantized(_Quantized):
    """The nearest of ``codes`` learned vectors, for each of ``groups`` groups of ``dim`` numbers (van den Oord et al.
    2017).

    All groups share the codebook. It follows the encoder's outputs by moving means with ``decay``, or is learned
    by gradient where that is None; then train with ``penalties.CodebookDistance`` too. Either way ``rp.fit`` starts it
    from the first batch, and restarts codes used less than ``dead`` times the mean: ``reparam.networks.Codebook`` has
    the rules. Loops of one's own call ``vae.absorb(draw)`` after each step.

    log q(z|x) is 0: the bound is log p(x|z) + log p(z), a true one, with ``priors.Codes`` for p. The distance of
    outputs from codes is ``penalties.Commitment``, which is no part of it.

    Shapes: net maps x (B, *event) to (B, groups * dim).

    Raises:
        InputError: for numbers out of range; when called, if the net gives another number of outputs.
    """

    def __init__(
        self, net: nn.Module, groups: int, dim: int, codes: int, decay: float | None = 0.99, dead: float = 0.03
    ) -> None:
        super().__init__(net, Codebook(groups, dim, codes, decay, dead))
        self.groups, self.dim, self.codes, self.decay, self.dead = groups, dim, codes, decay, dead

    @property
    def usage(self) -> Tensor:
        """The share of each code in recent batches, (codes,); zeros before the first."""
        usage: Tensor = self.quantizer.get_buffer("usage")
        return usage / usage.sum().clamp_min(1e-30)


class FiniteScalar(_Quantized):
    """Each number rounded to one of its levels between -1 and 1 (Mentzer et al. 2024): a grid in place of a codebook.

    A group is ``len(levels)`` numbers and one of ``prod(levels)`` codes. Nothing is learned, lost or committed to.
    See ``reparam.networks.Lattice`` for the rounding.

    Shapes: net maps x (B, *event) to (B, groups * len(levels)); its outputs pass through tanh.

    Raises:
        InputError: for fewer than 2 levels; when called, if the net gives another number of outputs.
    """

    def __init__(self, net: nn.Module, levels: Sequence[int] = (8, 5, 5, 5), groups: int = 1) -> None:
        super().__init__(net, Lattice(levels, groups))
        self.levels, self.groups = tuple(levels), groups
