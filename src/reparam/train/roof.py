"""What share of the machine's matrix products a run reaches, for its progress line."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from reparam import seeding
from reparam.data import Dataset
from reparam.engine.peak import product_rate
from reparam.evaluate.draws import evaluating
from reparam.objectives import Objective
from reparam.vae import VAE, reference

_AFTER, _SIZE = 5.0, 1024  # short runs measure nothing; the product takes some milliseconds


class Roof:
    """The share of the machine's products that a rate is: both are measured when it is first asked, after 5 s."""

    def __init__(self, vae: VAE, objective: Objective, data: Dataset, precision: str) -> None:
        self.vae, self.objective, self.data, self.precision = vae, objective, data, precision
        self.began = time.monotonic()
        self.rows_per_second: float | None = None

    def words(self, rate: float) -> str:
        """For so many rows a second: "41% of matrix-product peak", or nothing where that is not known yet."""
        if time.monotonic() - self.began < _AFTER:
            return ""
        if self.rows_per_second is None:
            like = reference(self.vae)
            dtype = torch.bfloat16 if self.precision == "bfloat16" else like.dtype
            flops = flops_of_row(self.vae, self.objective, self.data)
            self.rows_per_second = product_rate(dtype, like.device, _SIZE) / flops if flops else float("inf")
        return f"{rate / self.rows_per_second:.0%} of matrix-product peak"


class _Counter(TorchDispatchMode):
    """Counts by torch's own table. torch's own counter does more, and imports torch's compiler for it."""

    flops = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function itself, counted."""
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def flops_of_row(vae: VAE, objective: Objective, data: Dataset) -> float:
    """Multiplications and additions in the products of a step for each row, forward and backward.

    It leaves the model, its gradients and torch's generator as they were.
    """
    rows = data.x[: min(2, len(data))]
    like, weights = reference(vae), [p for p in vae.parameters() if p.requires_grad]
    with seeding.unmoved(), evaluating(vae), _Counter() as counter, torch.enable_grad():
        x, c = data.visit(rows, like), data.contexts_of(slice(0, len(rows)), like)
        loss = objective.bound(objective.draw(vae, x, *c)).mean()
        torch.autograd.grad(loss, weights, allow_unused=True)
    return counter.flops / len(rows)
