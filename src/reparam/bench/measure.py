"""Times of one case: the library and what stands beside it, in strictly alternating rounds of two processes."""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from reparam.bench import whole
from reparam.bench.beside import ROW_BY_ROW, Beside
from reparam.bench.cases import Case
from reparam.data import Dataset
from reparam.engine.peak import product_rate, product_seconds
from reparam.evaluate import log_likelihood
from reparam.train import fit


def measure(case: Case, compiled: bool, precision: str, rounds: int) -> dict[str, Any]:
    """Samples per second of the library in this form and of everything beside it, and their ratios by round.

    The first round of each is thrown away: compilers, caches and allocators settle in it.
    """
    if case.whole:
        return whole.measure(case, rounds)
    errors: dict[str, float] = {}
    with Beside(case, torch.get_num_threads()) as others:
        seconds: dict[str, list[float]] = {name: [] for name in ("reparam", *others.names)}

        def beside() -> None:
            for name in others.names:
                seconds[name].append(others.seconds(name))

        if case.evaluation:
            errors = _evaluate(case, compiled, precision, rounds + 1, seconds["reparam"], beside)
        else:
            _train(case, compiled, precision, rounds + 1, seconds["reparam"], beside)
    kept = {name: times[1 : rounds + 1] for name, times in seconds.items()}
    rows = {name: case.few if name == ROW_BY_ROW else case.rows for name in kept}
    rates = {name: rows[name] / statistics.median(times) for name, times in kept.items()}
    ratios = {
        name: statistics.median(
            theirs / rows[name] * case.rows / ours for theirs, ours in zip(times, kept["reparam"], strict=True)
        )
        for name, times in kept.items()
        if name != "reparam"
    }
    return {
        "case": case.name, "compiled": compiled, "precision": precision, "rounds": rounds,
        "samples_per_second": {n: round(r, 1) for n, r in rates.items()},
        "ratio": {n: round(r, 3) for n, r in ratios.items()},
        "peak_mb": peak_mb(), "data_mb": round(case.rows * math.prod(case.shape) * 4 / 2**20, 1), **errors,
        **_shares(case, rates["reparam"], precision),
    }  # fmt: skip


def _train(
    case: Case, compiled: bool, precision: str, rounds: int, seconds: list[float], beside: Callable[[], None]
) -> None:
    """``fit`` itself, an epoch to a round; the others run between two of its epochs."""
    began = time.perf_counter()

    def on_epoch(record: dict[str, Any]) -> None:
        nonlocal began
        seconds.append(time.perf_counter() - began)
        beside()
        began = time.perf_counter()

    torch.manual_seed(0)
    fit(
        case.vae(), Dataset(case.data()), objective=case.objective(), epochs=rounds, batch_size=case.batch,
        compile=compiled, precision=precision, progress=False, on_epoch=on_epoch,
    )  # fmt: skip


def _evaluate(
    case: Case, compiled: bool, precision: str, rounds: int, seconds: list[float], beside: Callable[[], None]
) -> dict[str, float]:
    """The error of a row's value is that against the same samples weighed eagerly in float32, in nats, of a model that
    is trained.
    """
    torch.manual_seed(0)
    vae, x = case.vae(), case.data()
    fit(vae, Dataset(x), epochs=20, compile=False, progress=False)
    found = None
    for _ in range(rounds):
        began = time.perf_counter()
        found = log_likelihood(vae, x, case.k, compile=compiled, precision=precision)
        seconds.append(time.perf_counter() - began)
        beside()
    assert found is not None
    plain = log_likelihood(vae, x[: case.few], case.k, compile=False, precision="float32")
    error = found.per_datum[: case.few] - plain.per_datum
    return {"error_mean": round(float(error.mean()), 6), "error_sd": round(float(error.std()), 6)}


def peak_mb() -> float:
    """The most memory that this process held, in MB."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _shares(case: Case, rate: float, precision: str) -> dict[str, float]:
    """The arithmetic of the step, as a share of the same products alone and of a large one, 2048 cubed."""
    if case.evaluation:
        return {}
    products = case.products(case.batch)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    flops = sum(2 * m * n * k for m, n, k in products)
    alone = sum(product_seconds(m, n, k, dtype) for m, n, k in products)
    large = product_rate(dtype)
    achieved = flops * rate / case.batch
    return {
        "gflops": round(achieved / 1e9, 1),
        "share_of_own_products": round(achieved / (flops / alone), 3),
        "share_of_2048": round(achieved / large, 3),
    }
