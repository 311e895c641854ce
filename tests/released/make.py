"""Makes the small runs of a version, each with a few rows and their scores: python tests/released/make.py.

Run it once when a version is released, and never again for that version: what it made must load for ever.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas
import torch

import reparam as rp
from reparam.card import write_card
from reparam.cli.common import dataset
from reparam.cli.main import main
from reparam.data import read
from reparam.run import open_run

HERE = Path(__file__).parent
K = 20
RUNS = {
    "bernoulli": "digits --binarize threshold --likelihood bernoulli --latent-dim 2 --hidden 8",
    "convolution": "digits --likelihood continuous_bernoulli --latent-dim 2 --network conv --channels 4,4 "
    "--prior mixture",
    "counts": "counts.npy --likelihood negative_binomial --latent-dim 2 --hidden 6 --posterior full",
    "table": "table.csv --latent-dim 2 --hidden 6",
}


def scores(folder: Path, rows: Path) -> list[float]:
    """ELBO of each row by K draws, in double precision: what another machine computes to 1e-9."""
    run = open_run(folder)
    assert run.schema is not None
    data = dataset(run.schema, str(rows))
    return rp.evaluate.elbo(run.vae.double(), data, K, seed=0).per_datum.tolist()


def make(version: str) -> None:
    """The runs of this version, in a folder of its own."""
    out, rng = HERE / version, np.random.default_rng(0)
    if out.exists():
        sys.exit(f"{out} exists: what a version has made stays as it is")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        counts = rng.poisson(rng.gamma(2, 2, (200, 6)))
        table = pandas.DataFrame({
            "city": rng.choice(["Lyon", "Bonn", "Turin"], 200), "age": rng.normal(50, 9, 200).round(1),
            "smokes": rng.random(200) < 0.3, "income": rng.lognormal(7, 0.5, 200).round(2),
            "visits": rng.poisson(2, 200),
        })  # fmt: skip
        table.loc[::9, "income"] = np.nan
        np.save(work / "counts.npy", counts)
        table.to_csv(work / "table.csv", index=False)
        for name, words in RUNS.items():
            first, *rest = words.split()
            data = first if first == "digits" else str(work / first)
            made = work / name
            assert main(["train", data, *rest, "--epochs", "3", "--seed", "0", "--out", str(made)]) == 0
            run = open_run(made)
            assert run.schema is not None
            write_card(run, run.schema, out / name, name=name)  # the run without paths of this machine
            for more in ("figures", "README.md", "history.jsonl"):
                path = out / name / more
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            rows = out / name / ("rows.csv" if name == "table" else "rows.npy")
            if name == "table":
                table.head(8).to_csv(rows, index=False)
            else:
                np.save(rows, np.asarray(read("digits", None, []).x[:8]) if first == "digits" else counts[:8])
            (out / name / "scores.json").write_text(json.dumps(scores(out / name, rows), indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    make(rp.__version__)
