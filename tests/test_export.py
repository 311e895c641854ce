"""A run as ONNX gives what torch gives, on any number of rows, and its example runs without reparam."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas
import pytest
import torch
from torch import nn

import reparam as rp
from cells import write as write_cells
from reparam import networks
from reparam.cli.main import main
from reparam.data import Schema, read
from reparam.distributions import from_standard_normal
from reparam.errors import InputError
from reparam.export import export
from reparam.run import Run, open_run

pytestmark = pytest.mark.thorough

RUNS = {
    "perceptron": "train digits --latent-dim 3 --hidden 16,16 --gated --residual --norm layer",
    "convolution": "train digits --latent-dim 3 --network conv --channels 8,8 --prior mixture --residual --norm group",
    "full": "train digits --latent-dim 3 --posterior full",
    "conditional": "train d.npz --latent-dim 2 --context kind,dose",
    "counts": "train counts.npy --latent-dim 2",
    "cells": "train cells.h5ad --latent-dim 2 --batch batch",
    "table": "train table.csv --latent-dim 3",
    "grouped": "train table.csv --latent-dim 3 --context city",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    rng, n = np.random.default_rng(0), 200
    digits = read("digits", None, [])
    np.savez(folder / "d.npz", x=digits.x, kind=digits.labels, dose=np.arange(len(digits.x)) / 100)
    np.save(folder / "counts.npy", rng.poisson(4, (n, 20)))
    write_cells(folder / "cells.h5ad", rng.poisson(4, (n, 20)).astype(np.float32), {"batch": rng.choice(["a", "b"], n)})
    frame = pandas.DataFrame({
        "city": rng.choice(["Lyon", "Bonn", "Turin"], n), "age": rng.integers(18, 80, n), "smokes": rng.random(n) < 0.3,
        "income": rng.lognormal(7, 0.5, n), "visits": rng.poisson(2, n), "share": rng.beta(2, 3, n).round(4),
    })  # fmt: skip
    frame.loc[::9, "income"] = np.nan
    frame.to_csv(folder / "table.csv", index=False)
    return folder


def exported(folder: Path, name: str) -> Path:
    """The folder of the run's export, once, by the command in a process of its own: without the checks of the tests."""
    out = folder / f"{name}-onnx"
    if out.exists():
        return out
    words = [w if not (folder / w).is_file() else str(folder / w) for w in RUNS[name].split()]
    assert main([*words, "--epochs", "1", "--seed", "0", "--out", str(folder / name)]) == 0
    command = [sys.executable, "-m", "reparam", "export", str(folder / name), "--onnx", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return out


ALONE = """
import runpy, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("reparam", "torch", "onnx", "onnxscript", "pandas", "scipy"):
            raise ModuleNotFoundError(f"{name} cannot be imported here")

sys.meta_path.insert(0, Refused())
try:
    import reparam
except ModuleNotFoundError:
    runpy.run_path(sys.argv[1], run_name="__main__")
else:
    raise SystemExit("reparam can be imported: this shows nothing")
"""  # the example where numpy and onnxruntime are all there is


@pytest.mark.parametrize("name", RUNS)
def test_onnxruntime_gives_what_torch_gives_on_any_number_of_rows(folder: Path, name: str) -> None:
    out = exported(folder, name)
    run = open_run(folder / name)
    vae, schema = run.vae.eval(), run.schema
    assert schema is not None
    encoder, decoder = (onnxruntime.InferenceSession(out / f"{n}.onnx") for n in ("encoder", "decoder"))
    wide = {i.name: i.shape[1] for i in decoder.get_inputs()}.get("context")
    for rows in (1, 3, 17, 500):
        z, noise = torch.randn(rows, wide_of(vae)), torch.randn(rows, wide_of(vae))
        c = () if wide is None else (torch.nn.functional.one_hot(torch.randint(wide, (rows,)), wide).float(),)
        context = {} if wide is None else {"context": c[0].numpy()}
        if schema.exposed:
            c = (*c, torch.rand(rows, 1) + 0.5)
            context["size"] = c[-1].numpy()
        with torch.no_grad():
            px = vae.likelihood(z, *c)
            x = px.sample().float()
            if schema.table is not None:
                x[torch.rand_like(x) < 0.3] = torch.nan
            q = vae.posterior(x, *c)
            expected = [q.mean, q.stddev, from_standard_normal(q, noise)]
        found = encoder.run(None, {"x": x.numpy(), "noise": noise.numpy(), **context})
        for got, want in zip(found, expected, strict=True):
            assert np.abs(got - want.numpy()).max() <= 1e-5 * max(1, want.abs().max())
        decoded = decoder.run(["mean"], {"z": z.numpy(), **context})[0]
        assert np.abs(decoded - px.mean.numpy()).max() <= 1e-5 * max(1, px.mean.abs().max())
        assert decoded.shape == (rows, *schema.event_shape)
    code = (out / "example.py").read_text()
    assert "reparam" not in code.partition('"""\n')[2]
    words = [sys.executable, "-c", ALONE, "example.py"]
    done = subprocess.run(words, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "reconstructions (3" in done.stdout
    assert len(code.splitlines()) <= 24
    assert Schema.from_json((out / "schema.json").read_text()) == schema


def wide_of(vae: rp.VAE) -> int:
    with torch.no_grad():
        return int(vae.prior().event_shape[0])


def test_likeliest_cells_of_a_table_are_the_most_probable_classes(folder: Path) -> None:
    out = exported(folder, "table")
    run = open_run(folder / "table")
    z = torch.randn(40, 3)
    found = onnxruntime.InferenceSession(out / "decoder.onnx").run(["likeliest"], {"z": z.numpy()})[0]
    with torch.no_grad():
        d = run.vae.likelihood(z).base
    table = run.schema.table  # type: ignore[union-attr]
    i = table.places["city"]
    (part, at), *_ = [(p, c.tolist().index(i)) for p, c in zip(d.parts, d.columns, strict=True) if i in c]
    assert (found[:, i] == part.mode[:, at].numpy()).all()
    age = table.places["age"]
    assert np.abs(found[:, age] - d.mean[:, age].numpy()).max() < 1e-5


class Branch(nn.Module):
    """A layer that looks at its numbers, which no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inside(x) if bool(x.sum() > 0) else x


def test_what_onnx_cannot_hold_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    encoder = nn.Sequential(nn.Linear(4, 4), Branch())
    vae = rp.VAE(
        rp.priors.StandardNormal(2), rp.likelihoods.Gaussian(networks.mlp(2, 4, (5,))),
        rp.posteriors.DiagonalGaussian(encoder),
    )  # fmt: skip
    data = rp.Dataset(np.zeros((5, 4), np.float32))
    with pytest.raises(InputError, match=r"ONNX cannot hold the layer Branch \(posterior.net.1\)"):
        export(Run(tmp_path, vae, {}, None), Schema.of(data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "said"), [([], "--onnx DIR"), (["--onnx", __file__], "is a file")])
def test_wrong_use_is_said_in_words(folder: Path, capsys, words: list[str], said: str) -> None:
    assert main(["export", str(folder / "table"), *words]) == 2
    assert said in capsys.readouterr().err
