"""How far the ELBO is from log p(x), and whose fault it is: the encoder's, the family's of q, or nobody's."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reparam import seeding
from reparam.data import Dataset
from reparam.distributions import from_standard_normal
from reparam.errors import InputError
from reparam.evaluate.diagnosis.finding import Number
from reparam.evaluate.draws import batches, evaluating
from reparam.evaluate.weights import LogWeights, Progress
from reparam.objectives import require_density
from reparam.shapes import Float
from reparam.vae import VAE, reference

_TOGETHER = 64  # rows that are optimised at once


class _Given(nn.Module):
    """In place of an encoder: the same parameters whatever is given to it."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, *given: Tensor) -> Tensor:
        """The parameters, one row for each datum."""
        return self.value


def freed(posterior: nn.Module, value: Tensor) -> nn.Module:
    """The posterior with these numbers in the place of its net's output: the same family, one free q for each datum."""
    free = copy.copy(posterior)
    free._modules = {**posterior._modules, "net": _Given(value)}
    return free


def _by_path(vae: VAE, value: Tensor, x: Tensor, c: tuple[Tensor, ...], eps: Tensor) -> Tensor:
    """The ELBO of each row, (B,), with the draws of q that the noise eps (K, B, D) decides.

    Its gradient in ``value`` leaves out the score of q, whose mean is zero: where q can be exact, the search ends
    without noise (Roeder et al. 2017).
    """
    q = freed(vae.posterior, value)(x, *c)
    z = from_standard_normal(q, eps)
    if z is None:
        raise InputError(f"no map from noise to draws of {type(q).__name__} is known")
    still = freed(vae.posterior, value.detach())(x, *c)
    return vae.at(z, x, *c, q=still, check=False).log_w.mean(0)


def require_net(posterior: nn.Module) -> None:
    """Refuse a posterior that has no ``net`` whose output could be replaced.

    Raises:
        InputError: if there is none.
    """
    if not isinstance(getattr(posterior, "net", None), nn.Module):
        raise InputError(f"the parameters of {type(posterior).__name__} cannot be replaced: it has no module 'net'")


def best_parameters(
    vae: VAE, x: Tensor, c: tuple[Tensor, ...], eps: Float[Tensor, "t k b d"], lr: float = 0.1
) -> Tensor:
    """The parameters of q for each datum, (B, P), that ascend its ELBO from the encoder's, by Adam.

    Each of the t steps has noise of its own; the rate falls to zero along half a cosine, and the mean of the last
    quarter of the steps is returned. Rows do not see each other: Adam works element by element.
    """
    frozen = [p for p in vae.parameters() if p.requires_grad]
    for p in frozen:
        p.requires_grad_(False)
    try:
        with torch.enable_grad():
            value = vae.posterior.net(x, *c).detach().clone().requires_grad_()  # type: ignore[operator]
            optimizer = torch.optim.Adam([value], lr=lr, betas=(0.9, 0.99))
            rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(eps), eta_min=lr / 50)
            kept, count = torch.zeros_like(value), 0
            for t, noise in enumerate(eps):
                loss = -_by_path(vae, value, x, c, noise).sum()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                rate.step()
                if 4 * t >= 3 * len(eps):
                    kept, count = kept + value.detach(), count + 1
    finally:
        for p in frozen:
            p.requires_grad_(True)
    return kept / max(1, count)


class Gaps(NamedTuple):
    """The distance from the ELBO to log p(x), in two parts, for each datum, in nats (Cremer et al. 2018).

    ``amortisation`` is what the encoder loses against the best q of its family found for each datum alone;
    ``approximation`` is what that best q loses against p(z|x). Their sum is the gap. Both ELBOs are read with the
    same noise, which the search for the best q has not seen, so that no gap is lifted by it.

    Shapes: all (N,), float64; ``heavy`` says where k-hat of the importance weights is above 0.7, and log p(x) too low.
    """

    elbo: Tensor
    best: Tensor
    log_p: Tensor
    heavy: Tensor

    @property
    def amortisation(self) -> Float[Tensor, " n"]:
        """The best ELBO of the family less the encoder's."""
        return self.best - self.elbo

    @property
    def approximation(self) -> Float[Tensor, " n"]:
        """log p(x) less the best ELBO of the family."""
        return self.log_p - self.best

    def numbers(self, suffix: str = "") -> dict[str, Number]:
        """The means with their errors, differences paired by row."""
        parts = {
            "elbo": self.elbo,
            "log_likelihood": self.log_p,
            "amortisation_gap": self.amortisation,
            "approximation_gap": self.approximation,
        }
        return {f"{name}{suffix}": Number.mean(values) for name, values in parts.items()}


def gaps(
    vae: VAE,
    data: Dataset,
    seed: int = 0,
    *,
    steps: int = 200,
    k: int = 4,
    samples: int = 1000,
    progress: Progress | None = None,
) -> Gaps:
    """The gaps of these rows: ``steps`` steps of k draws to the best q, then ``samples`` draws for every number.

    log p(x) is estimated by importance sampling from an equal mixture of the encoder's q and the best one found (the
    balance heuristic), a lower bound in expectation. A row's value depends on the row, the seed and the options alone.

    Raises:
        InputError: for a posterior without density or without a module ``net``, and for one whose draws no given noise
            decides.
    """
    parts = []
    with evaluating(vae):
        for at, x, c in batches(data, reference(vae), _TOGETHER, seed):
            vae.check(x, *c, columns=data.columns, first_row=at.start)
            parts.append(_of_rows(vae, x, c, seed, steps, k, samples))
            if progress is not None:
                progress(at.stop, len(data))
    return Gaps(*(torch.cat(t) for t in zip(*parts, strict=True)))


def _of_rows(
    vae: VAE, x: Tensor, c: tuple[Tensor, ...], seed: int, steps: int, k: int, samples: int
) -> Sequence[Tensor]:
    q = vae.posterior(x, *c)
    require_density(q, "a gap of the ELBO")
    require_net(vae.posterior)
    dim = q.event_shape[-1]

    def noise(purpose: str, *shape: int) -> Tensor:
        keys = seeding.row_keys(x, seed, purpose)
        return seeding.normal(keys, (*shape, dim), x).movedim(0, -2)

    value = best_parameters(vae, x, c, noise("refine", steps, k))
    best = freed(vae.posterior, value)(x, *c)
    half = max(1, samples // 2)
    elbos, weights = [torch.zeros(len(x), dtype=torch.float64) for _ in range(2)], LogWeights(len(x), 2 * half)
    piece = max(1, 4096 // len(x))
    for eps in noise("gaps", half).split(piece):
        for i, (own, other) in enumerate(((q, best), (best, q))):
            z = from_standard_normal(own, eps)
            assert z is not None
            draw = vae.at(z, x, *c, q=own, check=False)
            share = len(eps) / half
            elbos[i] += share * (draw.reconstruction - draw.kl).double().cpu()
            both = torch.logaddexp(draw.log_qz.double(), other.log_prob(z).double()) - torch.tensor(2.0).double().log()
            weights.add(draw.log_px.double() + draw.log_pz.double() - both)
    heavy = weights.khat > 0.7 if weights.khat is not None else torch.zeros(len(x), dtype=torch.bool)
    return elbos[0], elbos[1], weights.log_mean, heavy
