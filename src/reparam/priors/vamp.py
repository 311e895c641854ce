"""The prior that the posterior itself gives, at learned inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reparam.conditional import Conditional
from reparam.distributions import Delta, Quantized
from reparam.distributions import Mixture as MixtureDistribution
from reparam.errors import InputError

_END = 1e-3  # how near to a bound a pseudo-input may start, as a share of the range


class VampPrior(Conditional):
    """1/C Σ_c q(z|u_c) at C learned pseudo-inputs u_c (Tomczak & Welling 2018, eq. 7).

    ``posterior`` is the very module that the VAE uses: it is trained by both, saved once and loaded shared.
    ``pseudo_inputs`` is a tensor (C, *event), such as rows of the data, or a number C; then ``event_shape`` is
    needed, and they start as draws of N(0, I), or uniform between the bounds. With ``bounds`` (low, high) they stay
    between them through a sigmoid; those given at a bound start a thousandth of the range inside.

    Under contexts the prior is the mixture of q(z|u_c, c_c), where each pseudo-input keeps a context of its own: one
    p(z) for all data, whatever their contexts, so that what the contexts tell need not stand in z (as batch correction
    has it: Hrovatin et al. 2023). ``contexts`` are real numbers (C, ...), one tensor for each context of the data, such
    as those of the rows that the pseudo-inputs are; they are not learned, since a learned label is none.

    Raises:
        InputError: for a shape, a number, bounds or contexts that cannot be used; when called, with a posterior
            without density, or one that needs other contexts than the pseudo-inputs have.
    """

    def __init__(
        self,
        posterior: nn.Module,
        pseudo_inputs: Tensor | int,
        event_shape: Sequence[int] | None = None,
        bounds: Sequence[float] | None = None,
        contexts: Sequence[Tensor] = (),
    ) -> None:
        super().__init__()
        self.posterior, self.event_shape = posterior, None
        self.bounds = _checked(bounds)
        if not isinstance(pseudo_inputs, Tensor):
            pseudo_inputs = self._fresh(pseudo_inputs, event_shape)
        if pseudo_inputs.dim() < 2 or len(pseudo_inputs) < 1 or not pseudo_inputs.is_floating_point():
            raise InputError(
                f"pseudo-inputs are real numbers of shape (C, *event), not {tuple(pseudo_inputs.shape)} of "
                f"{pseudo_inputs.dtype}"
            )
        self.raw = nn.Parameter(self._unlink(pseudo_inputs.detach().clone()))
        self._count = len(contexts)
        for i, c in enumerate(contexts):
            if len(c) != len(self.raw) or not bool(c.isfinite().all()):
                raise InputError(
                    f"{len(self.raw)} pseudo-inputs, but a context of shape {tuple(c.shape)}: each needs one, finite"
                )
            self.register_buffer(f"context_{i}", c.detach().clone().to(self.raw.dtype))

    def _fresh(self, count: int, event_shape: Sequence[int] | None) -> Tensor:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1 or event_shape is None:
            raise InputError(
                f"pseudo_inputs is a tensor (C, *event), or a number of at least 1 with event_shape; got {count!r} "
                f"with {event_shape!r}"
            )
        if self.bounds is None:
            return torch.randn(count, *event_shape)
        low, high = self.bounds
        return low + (high - low) * torch.rand(count, *event_shape)

    def _unlink(self, u: Tensor) -> Tensor:
        if self.bounds is None:
            return u
        low, high = self.bounds
        return ((u - low) / (high - low)).clamp(_END, 1 - _END).logit()

    @property
    def contexts(self) -> tuple[Tensor, ...]:
        """The contexts of the pseudo-inputs, (C, ...) each."""
        return tuple(self.get_buffer(f"context_{i}") for i in range(self._count))

    @property
    def pseudo_inputs(self) -> Tensor:
        """The inputs (C, *event) at which the posterior is taken, within the bounds."""
        if self.bounds is None:
            return self.raw
        low, high = self.bounds
        return low + (high - low) * self.raw.sigmoid()

    def forward(self, *given: Tensor) -> MixtureDistribution:
        """Batch (), event (D,)."""
        try:
            q = self.posterior(self.pseudo_inputs, *self.contexts)
        except (RuntimeError, TypeError, ValueError) as error:
            if len(given) == self._count:
                raise
            raise InputError(
                f"the pseudo-inputs of this VampPrior have {self._count} contexts, the data {len(given)}, and the "
                "posterior seems to need as many: give VampPrior(posterior, x[rows], contexts=(c[rows],))"
            ) from error
        if isinstance(q, Delta | Quantized):
            raise InputError(
                f"VampPrior needs a posterior with a density, and {type(self.posterior).__name__} has all mass on one "
                "point: choose posteriors.DiagonalGaussian, or priors.Codes for the codes of a quantised one"
            )
        return MixtureDistribution(torch.zeros_like(self.raw.flatten(1)[:, 0]), q)


def _checked(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    if bounds is None:
        return None
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise InputError(f"bounds are two numbers, the lower first, not {bounds!r}")
    return float(bounds[0]), float(bounds[1])
