"""What the machine can do at most: how fast it multiplies matrices, to hold other work against it."""

from __future__ import annotations

import time

import torch


def product_seconds(m: int, n: int, k: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> float:
    """Seconds of one product (m, k) by (k, n): the best of several timings."""
    a, b = torch.ones(m, k, dtype=dtype, device=device), torch.ones(n, k, dtype=dtype, device=device)
    repeats = min(1000, max(1, int(2e8 / (m * n * k))))
    best = float("inf")
    for _ in range(6):  # the first settles threads and caches, and is never the best
        _wait(a)
        began = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, b.t())
        _wait(a)
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


def product_rate(dtype: torch.dtype, device: torch.device | str = "cpu", size: int = 2048) -> float:
    """Multiplications and additions a second of a large product, size cubed."""
    return 2 * size**3 / product_seconds(size, size, size, dtype, device)


def _wait(t: torch.Tensor) -> None:
    if t.is_cuda:
        torch.cuda.synchronize(t.device)
