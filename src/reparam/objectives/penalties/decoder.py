"""Penalties of the regularised autoencoder (Ghosh et al. 2020): of the code, and of the decoder's smoothness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from reparam.errors import InputError
from reparam.objectives.penalties.base import Penalty
from reparam.vae import Draw


class SquaredNorm(Penalty):
    """The mean of |z|²/2 (Ghosh et al. 2020): what keeps the code of a deterministic autoencoder in place."""

    least_rows = 1

    def of(self, draw: Draw, rows: int) -> Tensor:
        """Half the mean square length of z, a scalar."""
        return draw.z.square().sum(-1).mean() / 2


class DecoderWeights(Penalty):
    """The size of the decoder's weights, and of nothing else in the model; biases are left alone.

    ``norm`` "frobenius" is Σ θ², the weight decay of Ghosh et al. (2020), RAE-L2; "spectral" is Σ_l σ_l², with σ_l the
    largest singular value of layer l as a matrix (outputs, inputs) (Yoshida & Miyato 2017, eq. 4, without its 1/2). The
    second is exact, and takes a singular value decomposition of each layer at each step. The decoder is what stands
    under the name ``net`` in the likelihood: its learned scales are no weights.

    Raises:
        InputError: for another norm; at the first draw, for a likelihood without weights under ``net``.
    """

    least_rows = 1

    def __init__(self, norm: Literal["frobenius", "spectral"] | str = "frobenius") -> None:
        if norm not in ("frobenius", "spectral"):
            raise InputError(f"norm is 'frobenius' or 'spectral', not {norm!r}")
        self.norm = norm

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The sum over layers, a scalar; it does not depend on the data."""
        weights = _decoder_weights(draw.likelihood)
        if self.norm == "frobenius":
            return torch.stack([w.square().sum() for w in weights]).sum()
        return torch.stack([torch.linalg.matrix_norm(w.flatten(1), 2).square() for w in weights]).sum()


def _decoder_weights(likelihood: nn.Module) -> list[nn.Parameter]:
    """The matrices and kernels of the decoder."""
    named = likelihood.named_parameters()
    found = [p for name, p in named if "net" in name.split(".")[:-1] and p.dim() > 1]
    if not found:
        raise InputError(
            f"the weights of the decoder are those under the name 'net' of the likelihood, and "
            f"{type(likelihood).__name__} has none: build it from one of reparam.likelihoods"
        )
    return found


class DecoderSlope(Penalty):
    """The mean of |∂ E[x|z] / ∂z|², the squared Frobenius norm of the decoder's Jacobian (Ghosh et al. 2020, RAE-GP).

    ``directions`` None sums over all D dimensions of z: exact, for D passes back through the decoder. A number of
    directions of random signs, the same for all rows, gives an unbiased estimate for as many passes (Hutchinson 1990):
    E|J u|² = |J|² for E uu' = I. It has the units of the data squared, per unit of z squared, and no nats.

    Raises:
        InputError: for a number of directions below 1.
    """

    least_rows = 1

    def __init__(self, directions: int | None = 1) -> None:
        if directions is not None and (isinstance(directions, bool) or directions < 1):
            raise InputError(f"directions is None for all, or a whole number of at least 1, not {directions!r}")
        self.directions = directions

    def of(self, draw: Draw, rows: int) -> Tensor:
        """The mean over draws of the squared norm, a scalar."""
        dim = draw.z.shape[-1]
        if self.directions is None:
            along, share = torch.eye(dim).to(draw.z), 1.0
        else:
            along, share = torch.randint(2, (self.directions, dim)).to(draw.z) * 2 - 1, 1 / self.directions
        return share * torch.stack([slope.square().flatten(2).sum(-1).mean() for slope in _slopes(draw, along)]).sum()


def _slopes(draw: Draw, along: Tensor) -> Iterator[Tensor]:
    """The derivative J u of E[x|z] along each u of ``along`` (n, D): n tensors (K, B, *event).

    J u is the derivative of v'J u with respect to v: two passes back, where a pass forward needs what not every layer
    has.
    """
    with torch.enable_grad():
        z = draw.z if draw.z.requires_grad else draw.z.detach().requires_grad_()
        mean = draw.decode(z).mean
        v = torch.zeros_like(mean, requires_grad=True)
        (back,) = torch.autograd.grad(mean, z, v, create_graph=True)
        for u in along:
            (slope,) = torch.autograd.grad((back * u).sum(), v, create_graph=True)
            yield slope
