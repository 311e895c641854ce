"""demo: the whole way in under a minute, on the digits that scikit-learn ships."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from reparam.cli.common import prepare, say
from reparam.cli.evaluate import measure, table
from reparam.cli.options import DemoOptions, TrainOptions
from reparam.cli.train import build, clear, finish, resolve
from reparam.data import read
from reparam.errors import InputError
from reparam.run import CONFIG
from reparam.train import fit, threads_for


def demo(options: DemoOptions) -> int:
    """``reparam demo``: four fifths of the digits to train and choose the best epoch, one fifth to test."""
    prepare()
    started = time.monotonic()
    folder = Path(options.out)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CONFIG).exists())):
        raise InputError(f"{folder} holds other files: choose a new folder for --out")
    source = read("digits")
    plan, schema, _ = resolve(
        TrainOptions(
            data="digits", out=options.out, likelihood="bernoulli", binarize="threshold", latent_dim=2,
            hidden=[256, 128], activation="silu", epochs=150, batch_size=64, lr=3e-3,
            validation=0.1, patience=30, seed=options.seed,
        ),
        source,
    )  # fmt: skip
    data = schema.dataset(source)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(options.seed))
    test, rest = data[order[: len(data) // 5]], data[order[len(data) // 5 :]]
    say(f"{len(rest)} digits of 8 x 8 pixels to train on, {len(test)} to test, 2 latent dimensions")
    vae, objective = build(plan, rest)
    plan = replace(plan, threads=threads_for(vae, plan.batch_size))
    torch.set_num_threads(plan.threads or 1)
    history = fit(
        vae, rest, objective=objective, epochs=plan.epochs or 0, batch_size=plan.batch_size, lr=plan.lr,
        seed=plan.seed, validation=plan.validation, patience=plan.patience, out=folder, schema=schema,
        config={"options": asdict(plan)}, progress=True,
        on_start=lambda: clear(folder),
    )  # fmt: skip
    if history.stopped == "interrupted":
        say(f"interrupted; {folder} holds the best weights so far")
        return 130
    numbers = measure(vae, test, schema, 1000, "auto", plan.seed)
    print(table(numbers, len(test)))
    finish(folder, vae, test, history, schema, {**numbers, "data": f"{len(test)} digits that training never saw"})
    say(f"done in {time.monotonic() - started:.0f} s")
    return 0
