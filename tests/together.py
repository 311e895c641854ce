"""Trains in one process and in two, which divide each batch, and keeps what came of it.

python together.py FOLDER NAME... trains each case alone and by two processes, and writes FOLDER/NAME-1.npz and
FOLDER/NAME-2-RANK.npz.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

import reparam as rp
from reparam.errors import InputError, NonFiniteError

ROWS = 33  # batches of 8 leave one row, which is less than two processes
FIT: dict[str, Any] = {
    "epochs": 2, "batch_size": 8, "seed": 3, "validation": 0.25, "precision": "float64", "compile": False,
}  # fmt: skip


def grey(binarize: str | None = "dynamic") -> rp.Dataset:
    x = torch.randint(0, 256, (44, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return rp.Dataset(x, binarize=binarize)


def model(**options: Any) -> rp.VAE:
    torch.manual_seed(0)
    return rp.recipes.vae((8, 8), 2, **{"hidden": (16,), **options})


def stored(folder: Path) -> rp.Dataset:
    path = folder / f"x{os.getpid()}.npy"
    np.save(path, grey().x.numpy())
    return rp.open(path, binarize="dynamic", buffer=0.001)


def case(name: str, folder: Path) -> dict[str, Any]:
    """The model, data and options of a training."""
    iwae = {"objective": rp.objectives.IWAE(5)}
    cases: dict[str, dict[str, Any]] = {
        "mlp": {},
        "iwae": iwae,
        "conv": {"vae": model(network="conv", channels=(4, 8)), **iwae},
        "flow": {"vae": model(posterior="flow")},
        "bernoulli": {"vae": model(posterior="bernoulli")},
        "stored": {"x": stored(folder)},
        "options": {"clip": 0.1, "ema": 0.9, "accumulate": 3, "optimizer": "sgd"},
        "denoising": {"objective": rp.objectives.Denoising(rp.objectives.ELBO(), noise=0.1, masked=0.2)},
        "stopped": {"out": folder / "stopped"},
        "lost": {"vae": model(likelihood="gaussian"), "x": huge(), "validation": None},
        "refused": {"objective": rp.recipes.RECIPES["factor_vae"]((8, 8), 2).objective},
    }
    return {"vae": None, "x": grey(), **FIT, **cases[name]}


def huge() -> rp.Dataset:
    """Row 30 is so far that its square is not finite."""
    x = torch.zeros(32, 8, 8, dtype=torch.float64)
    x[:] = torch.randn(32, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[30] = 1e200
    return rp.Dataset(x)


def result(name: str, folder: Path, rank: int | None) -> dict[str, Any]:
    options = case(name, folder)
    vae, x = options.pop("vae") or model(), options.pop("x")
    if name == "stopped" and rank is None:
        options.pop("out")  # never stopped
    elif name == "stopped":

        def stop(record: dict[str, Any]) -> None:  # at one of them
            if rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        stopped = rp.fit(vae, x, on_epoch=stop, **options)
        told = [len(stopped), stopped.records[-1]["step"]]
        vae = model()
        history = rp.fit(vae, x, resume=True, **options)
        return {**weights(vae), "objective": history["train_objective"], "said": f"{stopped.stopped} {told}"}
    try:
        history = rp.fit(vae, x, **options)
    except (NonFiniteError, InputError) as error:
        return {"said": str(error)}
    kept = {n: history[n] for n in ("train_objective", "validation_objective", "grad_norm") if n in history.records[0]}
    return {**weights(vae), **kept}


def weights(vae: rp.VAE) -> dict[str, Any]:
    return {f"weights.{n}": t.double().numpy() for n, t in vae.state_dict().items()}


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for name in names:
        np.savez(folder / f"{name}-1.npz", **result(name, folder, None))
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    child = os.fork()
    rank = 0 if child else 1
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    for name in names:
        np.savez(folder / f"{name}-2-{rank}.npz", **result(name, folder, rank))
    dist.destroy_process_group()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
