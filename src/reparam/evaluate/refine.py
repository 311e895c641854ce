"""Semi-amortised inference: q(z|x) of each datum improved by gradient steps, from where the encoder puts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import seeding
from reparam.conditional import Conditional
from reparam.distributions import from_standard_normal
from reparam.errors import InputError
from reparam.evaluate.draws import evaluating, rows_of
from reparam.objectives import require_density
from reparam.posteriors.base import Posterior
from reparam.vae import VAE, Draw, reference

_SAMPLES = 16  # of each gradient: pairs eps and -eps
_JUDGES = 64  # samples by which the end of a row is compared with its start


class Refined(Conditional):
    """A posterior whose parameters each datum may choose for itself: see :func:`refined`."""

    def __init__(self, vae: VAE, steps: int, lr: float, seed: int) -> None:
        super().__init__()
        self.prior, self.likelihood, self.posterior = vae.prior, vae.likelihood, _readable(vae)
        self.steps, self.lr, self.seed = steps, lr, seed

    def forward(self, x: Tensor, *c: Tensor) -> Distribution:
        """Batch (B,), event (D,)."""
        with torch.no_grad():
            start: Tensor = self.posterior.net(x, *c)
        require_density(self.posterior.read(start), "refinement")
        out = self._climb(start, x, c)
        with torch.no_grad():
            gain = self._elbo(out, x, c, "judges", _JUDGES) - self._elbo(start, x, c, "judges", _JUDGES)
        better = (gain > 0).reshape(-1, *[1] * (out.dim() - 1))  # a row that gained nothing keeps the encoder's answer
        return self.posterior.read(torch.where(better, out, start))

    def _climb(self, start: Tensor, x: Tensor, c: tuple[Tensor, ...]) -> Tensor:
        """Adam on the net's output: elementwise, so that no row feels another. The rate falls to zero by a cosine."""
        out = start.clone().requires_grad_()
        first, second = torch.zeros_like(start), torch.zeros_like(start)
        for step in range(1, self.steps + 1):
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self._elbo(out, x, c, f"step {step}", _SAMPLES).sum(), out)
            slope = slope.nan_to_num(0.0, 0.0, 0.0)
            first, second = first.lerp(slope, 0.1), second.lerp(slope.square(), 0.001)
            rate = self.lr * (1 + math.cos(math.pi * (step - 1) / self.steps)) / 2
            move = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            out = (out.detach() + rate * move).requires_grad_()
        return out.detach()

    def _elbo(self, out: Tensor, x: Tensor, c: tuple[Tensor, ...], purpose: str, k: int) -> Tensor:
        """The evidence lower bound of each row, (B,), by noise that belongs to the row."""
        q, p = self.posterior.read(out), self.prior(*c)
        z = _draws(self.posterior, out, q, seeding.row_keys(x, self.seed, f"refine {purpose}"), k)
        p_x = self.likelihood(z, *(t.expand(k, *t.shape) for t in c))
        draw = Draw(q, p, z, p_x.log_prob(x))
        return draw.reconstruction - draw.kl


def _draws(posterior: Posterior, out: Tensor, q: Distribution, keys: list[int], k: int) -> Tensor:
    """k reparameterized samples (k, B, D): of pairs of noise, or of a generator for each row where no noise decides."""
    half = seeding.normal(keys, (k // 2, q.event_shape[-1]), out).movedim(0, 1)
    z = from_standard_normal(q, torch.cat([half, -half]))
    if z is not None:
        return z
    if not q.has_rsample:
        raise InputError(f"samples of {type(q).__name__} carry no gradient, which refinement needs")
    rows = []
    for i, key in enumerate(keys):
        with seeding.seeded(key):
            rows.append(posterior.read(out[i : i + 1]).rsample((k,)))
    return torch.cat(rows, 1)


def _readable(vae: VAE) -> Posterior:
    if not isinstance(vae.posterior, Posterior):
        raise InputError(
            f"refinement moves the output of the encoder's net, and {type(vae.posterior).__name__} does not tell how "
            "that becomes a distribution: use one of reparam.posteriors, or derive yours from "
            "reparam.posteriors.base.Posterior"
        )
    return vae.posterior


def refined(vae: VAE, steps: int = 20, lr: float = 0.1, seed: int = 0) -> VAE:
    """The same model with q(z|x) refined: for every datum ``steps`` of Adam on its ELBO, from the encoder's answer on.

    What moves is the output of the encoder's net for this datum alone; weights stay as they are (Kim et al. 2018;
    Cremer et al. 2018). What is left of log p(x) less the ELBO is then the gap of the family of q, and what the
    refinement gained was that of amortisation. Everything in ``evaluate`` reads the result as it reads any
    model; bounds by it are bounds all the same, as their samples are drawn afresh after q is settled.

    ``lr``, the rate of Adam, falls to zero over the steps. The refined q of a row depends on the model, the row, steps,
    lr and seed alone; a row whose ELBO did not rise, by 64 samples, keeps the encoder's q.

    Raises:
        InputError: for steps below 1, an lr that is not positive, or a posterior that is not a
            ``posteriors.base.Posterior``; at the first call, for one without density (Point) or
            without reparameterization.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"the steps of a refinement must be a whole number of at least 1, not {steps!r}")
    if not 0 < lr < math.inf:
        raise InputError(f"lr, the rate of refinement, must be positive, not {lr}")
    return VAE(vae.prior, vae.likelihood, Refined(vae, steps, float(lr), seed))


def refine(
    vae: VAE, x: Any, steps: int = 20, lr: float = 0.1, seed: int = 0, *, contexts: Sequence[Tensor] = ()
) -> Distribution:
    """q(z|x) of these data after refinement, batch (N,), event (D,): see :func:`refined`.

    Raises:
        InputError: as ``refined`` does, and for data outside the likelihood's support.
    """
    data, model, like = rows_of(vae, x, contexts), refined(vae, steps, lr, seed), reference(vae)
    with evaluating(model):
        rows, given = data.fixed(data.x, like, seed), tuple(t.to(like.device) for t in data.contexts)
        model.check(rows, *given, columns=data.columns)
        q: Distribution = model.posterior(rows, *given)
    return q
