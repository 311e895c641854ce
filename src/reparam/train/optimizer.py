"""The optimiser of training, and what it has learned as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from reparam.vae import VAE


def adam(vae: VAE) -> torch.optim.Adam:
    """The optimiser of :func:`reparam.fit`, which sets its learning rate at each step."""
    return torch.optim.Adam(vae.parameters(), fused=True)


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser has learned of each weight, under flat names."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": t.detach().clone() for i, table in state.items() for name, t in table.items()}


def put_moments(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Give the optimiser what :func:`moments` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
