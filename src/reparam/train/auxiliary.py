"""What trains beside the model: an objective's adversaries, each with an optimiser of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reparam.objectives import Adversary, Objective
from reparam.vae import Draw


class Auxiliary:
    """The adversaries of an objective in training, moved to where the model computes (``like``)."""

    def __init__(self, objective: Objective, like: Tensor) -> None:
        self.adversaries = objective.adversaries()
        self.optimizers = [_optimizer(a, like) for a in self.adversaries]

    def step(self, draw: Draw) -> bool:
        """One step of each on a draw of the model; False, with the rest untouched, where a loss is not finite."""
        for adversary, optimizer in zip(self.adversaries, self.optimizers, strict=True):
            if draw.z.shape[1] < adversary.least_rows:
                continue
            loss = adversary.loss(draw)
            if not math.isfinite(loss.detach()):
                return False
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return True

    def state(self) -> dict[str, Tensor]:
        """Weights and optimisers, for a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for i, (adversary, optimizer) in enumerate(zip(self.adversaries, self.optimizers, strict=True)):
            tensors |= {f"{i}.weights.{n}": t for n, t in adversary.net.state_dict().items()}
            tensors |= {f"{i}.optimizer.{n}": t for n, t in optimizer_tensors(optimizer).items()}
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of ``state``."""
        for i, (adversary, optimizer) in enumerate(zip(self.adversaries, self.optimizers, strict=True)):
            adversary.net.load_state_dict(_under(tensors, f"{i}.weights."))
            load_optimizer(optimizer, _under(tensors, f"{i}.optimizer."))


def _optimizer(adversary: Adversary, like: Tensor) -> torch.optim.Optimizer:
    adversary.net.to(device=like.device, dtype=like.dtype).train()
    return torch.optim.Adam(adversary.net.parameters(), lr=adversary.lr, betas=adversary.betas, fused=True)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as tensors by name: ``index.key``."""
    states = optimizer.state_dict()["state"]
    return {f"{i}.{n}": t for i, state in states.items() for n, t in state.items() if t is not None}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The reverse of ``optimizer_tensors``; learning rates stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
