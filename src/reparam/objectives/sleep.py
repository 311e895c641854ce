"""Objectives whose encoder learns from samples as they are: by their weights ("wake") or from dreams ("sleep")."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam.distributions import Quantized
from reparam.errors import InputError
from reparam.objectives.base import Objective, require_density, sample_count
from reparam.objectives.gradients import log_joint_weighing, log_q_by_parameters
from reparam.vae import VAE, Draw


class _Dreaming(Objective):
    """Steps whose samples carry no gradient, and which may dream: a pair (z, x) of the model for each row's context."""

    sleep: float = 1.0

    def draw(self, vae: VAE, x: Tensor, *c: Tensor, seen: Tensor | None = None) -> Draw:
        """The draw of the data, with z as given, and where there is sleep a dream beside it."""
        q = vae.posterior(x if seen is None else seen, *c)
        if isinstance(q, Quantized):
            raise InputError(
                f"{type(self).__name__} teaches the encoder by log q(z|x), which is 0 for a quantised code: train it "
                "by an objective whose gradient passes through the code, such as ELBO"
            )
        draw = vae.at(q.sample((self.k,)).detach(), x, *c, q=q, check=False)
        if self.sleep:
            draw.dream = vae.dream(len(x), *c)
        return draw


class WakeSleep(_Dreaming):
    """The wake-sleep algorithm (Hinton et al. 1995; Dayan et al. 1995), both of its phases in each step.

    Awake, prior and likelihood follow the gradient of the ELBO at samples of q(z|x), and the encoder none. Asleep, the
    encoder follows that of log q(z|x) at pairs (z, x) dreamt by the model: it lessens E_p(x) KL(p(z|x) || q(z|x)), on
    the model's data and not on one's own. No sample needs to be reparameterized. The value is the ELBO, which the
    encoder does not climb. A parameter that encoder and model share gets the sum of both.

    Raises:
        InputError: for k < 1; at the first draw, where q has no density.
    """

    def __init__(self, k: int = 1) -> None:
        self.k = sample_count(k)

    def bound(self, draw: Draw) -> Tensor:
        """The evidence lower bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return draw.reconstruction - draw.kl

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """What has the two gradients, (B,): row i asleep is dream i and not datum i."""
        share = torch.full_like(draw.log_px, 1 / len(draw.z)).detach()
        return log_joint_weighing(draw, model=share, path=torch.zeros_like(share)) + _asleep(draw)


class ReweightedWakeSleep(_Dreaming):
    """IWAE for the model, and for the encoder log q of the samples by their weights (Bornschein & Bengio 2015).

    The encoder follows the "wake" update, Σ w~ ∂ log q(z|x), which lessens KL(p(z|x) || q(z|x)) and gets better with k
    (Le et al. 2019); no sample needs to be reparameterized. A share ``sleep`` of its gradient is that of the sleep
    phase instead, log q(z|x) of pairs dreamt by the model. The value is the IWAE bound.

    Raises:
        InputError: for k < 1 or a share outside 0 to 1; at the first draw, where q has no density.
    """

    def __init__(self, k: int, sleep: float = 0.0) -> None:
        if not 0 <= sleep <= 1:
            raise InputError(f"sleep is a share of the encoder's gradient, from 0 to 1, not {sleep}")
        self.k, self.sleep = sample_count(k), float(sleep)

    def bound(self, draw: Draw) -> Tensor:
        """The importance-weighted lower bound, (B,), in nats."""
        require_density(draw.q, type(self).__name__)
        return draw.log_mean_exp(draw.log_w)

    def surrogate(self, draw: Draw, bound: Tensor) -> Tensor:
        """What has the two gradients, (B,)."""
        share = draw.weights
        model = log_joint_weighing(draw, model=share, path=torch.zeros_like(share))
        awake = (share * log_q_by_parameters(draw)).sum(0)
        return model + (awake if self.sleep == 0 else (1 - self.sleep) * awake + self.sleep * _asleep(draw))


def _asleep(draw: Draw) -> Tensor:
    """log q(z|x) of the dreams, (B,)."""
    if draw.dream is None:
        raise InputError("a sleep phase needs dreams, which the objective's own draw(vae, x, *c) makes")
    return draw.dream.log_qz[0]
