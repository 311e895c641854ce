"""The processes that train one model together: how a batch is divided, and what they tell each other.

A batch is that of one process, divided by rows; noise is drawn for all of it by every process, of which each keeps that
of its rows (:mod:`reparam.train.noise`); gradients are summed by their share of rows. So N processes do what one does,
to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from reparam.errors import InputError, nearest


class Share(NamedTuple):
    """Of ``total`` rows those from ``first`` on, as many as ``rows``, of which ``counted`` count: all, or none where
    there are more processes than rows and one of them reads the first row to keep step with the others.
    """

    total: int
    first: int
    rows: int
    counted: int

    @property
    def weight(self) -> float:
        """The share of the rows that count."""
        return self.counted / self.total

    def part(self, begin: int, end: int) -> tuple[slice, Share]:
        """Of the rows ``begin`` to ``end`` of all: which of these are here, counted from ``first``, and their share."""
        low, high = max(self.first, begin), min(self.first + self.counted, end)
        if low < high:
            return slice(low - self.first, high - self.first), Share(end - begin, low - begin, high - low, high - low)
        return slice(0, 1), Share(end - begin, 0, 1, 0)


class Crew:
    """``size`` processes, of which this is number ``rank``; the first one writes and speaks."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._flags: tuple[Callable[[], bool], ...] = ()
        self._heard: list[bool] = []

    @staticmethod
    def here() -> Crew:
        """All processes of torch.distributed, where it has been started; else this one alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return Crew()
        return Crew(dist.get_rank(), dist.get_world_size())

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """What this process does of so many rows."""
        first, end = total * self.rank // self.size, total * (self.rank + 1) // self.size
        return Share(total, first, end - first, end - first) if end > first else Share(total, 0, 1, 0)

    def ask(self, *flags: Callable[[], bool]) -> None:
        """What each process knows for itself and all must agree on: read at every step, and true where one says so."""
        self._flags, self._heard = flags, [False] * len(flags)

    def heard(self, flag: int) -> bool:
        """Whether that was true of any of them at the last step; of one process alone, whether it is true now."""
        return self._flags[flag]() if self.alone else self._heard[flag]

    def meet(self, values: Tensor) -> Tensor:
        """The sums of these values over the processes; at the same time all hear the flags."""
        if self.alone:
            return values
        told = [float(flag()) for flag in self._flags]
        both = torch.cat([values.double(), torch.tensor(told, dtype=torch.float64, device=values.device)])
        dist.all_reduce(both)
        split = len(both) - len(told)
        self._heard = [v > 0 for v in both[split:].tolist()]
        return both[:split]

    def gradients(self, parameters: Sequence[Tensor]) -> None:
        """Each gradient becomes the sum over the processes; a parameter has none where no process has one."""
        present = [p for p in parameters if p.grad is not None]
        here = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(g.reshape(-1).to(parts[0].dtype) for g in parts), here.to(parts[0].dtype)])
        dist.all_reduce(flat)
        *sums, counts = flat.split([*(p.numel() for p in parameters), len(parameters)])
        used = [True] * len(parameters) if len(present) == len(parameters) else (counts > 0).tolist()
        for p, total, wanted in zip(parameters, sums, used, strict=True):
            p.grad = total.view_as(p).to(p.dtype) if wanted else None

    def means(self, values: dict[str, float], counted: int) -> dict[str, float]:
        """The means over the processes by the rows that each has counted."""
        if self.alone:
            return values
        sums = [v * counted if counted else 0.0 for v in values.values()]
        both = self._sum(torch.tensor([*sums, float(counted)], dtype=torch.float64))
        return {name: v / float(both[-1]) for name, v in zip(values, both.tolist(), strict=False)}

    def any(self, flag: bool) -> bool:
        """Whether it is true of any process."""
        return flag if self.alone else bool(self._sum(torch.tensor([float(flag)]))[0] > 0)

    def send(self, content: bytes | None, sender: int = 0) -> bytes | None:
        """The bytes of one process, or None, for all of them."""
        if self.alone:
            return content
        mine = content is not None and self.rank == sender
        length = self._sum(torch.tensor([len(content) + 1.0 if mine and content is not None else 0.0]).double())
        count = int(length[0]) - 1
        if count < 0:
            return None
        buffer = (
            torch.frombuffer(bytearray(content), dtype=torch.uint8) if mine and content else torch.empty(count).byte()
        )
        if count:
            buffer = buffer.to(_device())
            dist.broadcast(buffer, sender)
        return bytes(buffer.cpu().numpy().tobytes())

    def texts(self, mine: str) -> list[str]:
        """What each process has to say, in their order."""
        found = [self.send(mine.encode(), sender) for sender in range(self.size)]
        return [(text or b"").decode() for text in found]

    def _sum(self, values: Tensor) -> Tensor:
        there = values.to(_device())
        dist.all_reduce(there)
        return there.cpu()


def _device() -> Any:
    """Where the processes meet: nccl has only its own memory."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def start(device: torch.device) -> Crew:
    """The processes that torchrun has started, on nccl where they compute on CUDA, else on gloo; without it, this one.

    Raises:
        InputError: where they cannot find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        except (ValueError, RuntimeError) as error:
            raise InputError(f"the processes do not find each other: start them by torchrun ({error})") from error
    return Crew.here()


def restarted() -> bool:
    """Whether torchrun has started this process in place of one that was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def device_of(name: str) -> torch.device:
    """The device of this name; of CUDA that of the process among those of its machine. "auto" is CUDA where it is.

    Raises:
        InputError: for a name that is none, or a device that is not there, or has no float64.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    if name == "auto":
        name = "cuda" if there["cuda"] else "cpu"
    if name == "mps":
        raise InputError("mps has no float64, in which bounds are summed: choose cpu")
    if name not in there:
        raise InputError(f"unknown device {name!r}: {nearest(name, ('auto', *there))}")
    if not there[name]:
        raise InputError(f"there is no device {name!r} here, or torch was built without it: choose auto or cpu")
    if name == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device(name)
