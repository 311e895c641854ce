"""log p(x) without sampling: in closed form, by quadrature, or as a sum over all values of z."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset
from reparam.distributions import Codes, codes_of
from reparam.errors import InputError
from reparam.evaluate.affine import gaussian_marginal
from reparam.evaluate.annealing import require_real
from reparam.evaluate.draws import batches, evaluating, rows_per_call
from reparam.evaluate.estimate import Estimate
from reparam.evaluate.quadrature import log_integral
from reparam.evaluate.weights import Progress
from reparam.vae import VAE, reference

_VALUES = 1 << 20  # of a discrete z, at most
_LOCATE = 4096  # samples of the prior, by whose quartiles the integral is placed


class Exact:
    """log p(x) to rounding for linear-Gaussian models and discrete latents of up to a million values, and to 1e-6 nats
    for latent spaces of one or two dimensions.

    All are computed in float64 from the model's parameters, whatever their dtype. A model is linear-Gaussian if its
    structure shows it, with contexts and missing elements or without: see
    :func:`reparam.evaluate.affine.gaussian_marginal`.

    Raises:
        InputError: when called for another model, or where the quadrature does not settle, naming the row.
    """

    def __call__(
        self, vae: VAE, data: Dataset, k: int, seed: int, stream: str, chunk: int | None, progress: Progress | None
    ) -> Estimate:
        """The value for each row; ``stream`` plays no part, and k and seed only in grey data that are binarised."""
        call = rows_per_call(vae, data) if chunk is None else chunk
        with evaluating(vae):
            marginal = None if data.contexts else gaussian_marginal(vae)
            values = []  # of a conditional model, the marginal differs from row to row
            for at, x, c in batches(data, reference(vae), 256, seed):
                vae.check(x, *c, columns=data.columns, first_row=at.start)
                if c:
                    marginal = gaussian_marginal(vae, *c)
                if marginal is not None:
                    values.append(marginal.log_prob(x.double().cpu().flatten(1)))
                else:
                    values.append(_integrated(vae, x, c, at.start, call))
                if progress is not None:
                    progress(at.stop, len(data))
        return Estimate.of(torch.cat(values), 1, "exact")


def _integrated(vae: VAE, x: Tensor, c: tuple[Tensor, ...], first_row: int, call: int) -> Tensor:
    """log p(x) of each row, (B,), in a copy of the model in float64, by quadrature or as a sum over all z."""
    if (codes := codes_of(vae.prior(*c))) is not None:
        return _sum(_double(vae), codes, *_doubles(x, c), call)
    dim = vae.prior(*c).event_shape[-1]
    if dim > 2:
        raise InputError(
            "exact answers exist for linear-Gaussian models (an affine decoder, a Gaussian prior and a Gaussian "
            "likelihood whose scale the decoder does not predict), for discrete latents, and for latent spaces of one "
            f"or two dimensions; this one has {dim}: choose method='ais' or 'importance'"
        )
    exact, (rows, contexts) = _double(vae), _doubles(x, c)
    values = []
    for i in range(len(rows)):
        try:
            values.append(_log_p(exact, rows[i : i + 1], tuple(t[i : i + 1] for t in contexts), call))
        except InputError as error:
            raise InputError(f"row {first_row + i}: {error}") from error
    return torch.tensor(values, dtype=torch.float64)


def _double(vae: VAE) -> VAE:
    return copy.deepcopy(vae).double()


def _doubles(x: Tensor, c: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    return x.double(), tuple(t.double() if t.is_floating_point() else t for t in c)


def _sum(vae: VAE, codes: Codes, x: Tensor, c: tuple[Tensor, ...], call: int) -> Tensor:
    """log Σ_z p(z) p(x|z) of each row, (B,)."""
    if codes.count > _VALUES:
        raise InputError(
            f"an exact answer sums over all values of z, up to {_VALUES}, and these latents have {codes.count}: choose "
            "method='importance'"
        )
    total = x.new_full((len(x),), -torch.inf)
    p, together = vae.prior(*c), max(1, call // len(x))
    for start in range(0, codes.count, together):
        z = codes.values(start, min(start + together, codes.count), x).unsqueeze(1).expand(-1, len(x), -1)
        p_x = vae.likelihood(z, *(t.expand(len(z), *t.shape) for t in c))
        total = torch.logaddexp(total, (p.log_prob(z) + p_x.log_prob(x)).logsumexp(0))
    return total.cpu()


def _log_p(vae: VAE, x: Tensor, c: tuple[Tensor, ...], call: int) -> float:
    p = vae.prior(*c)
    require_real(p, "quadrature")

    def log_joint(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.unsqueeze(1).to(x.device)
        p_x = vae.likelihood(z, *(t.expand(len(z), *t.shape) for t in c))
        log_pz, log_px = (t.squeeze(1).double().cpu() for t in (p.log_prob(z), p_x.log_prob(x)))
        return log_pz, log_px

    with seeding.seeded(0):
        z = p.sample((_LOCATE,)).double().cpu().reshape(_LOCATE, -1)
    low, middle, high = torch.quantile(z, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), 0)
    return log_integral(log_joint, middle, (high - low).clamp_min(1e-6), call)
