"""The first thing that a person runs."""

from __future__ import annotations

import reparam as rp
from reparam.cli.main import main


def test_the_demo_trains_a_model_of_digits_and_leaves_a_report(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert main(["demo", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    value = float(next(line for line in printed.splitlines() if "log-likelihood" in line).split()[1])
    # independent pixels, each at its mean over the data, give -25.1 nats; two latent dimensions must say much more
    assert -20 < value < -16
    assert {p.name for p in (folder / "figures").iterdir()} >= {
        "curves.png",
        "latent.png",
        "manifold.png",
        "samples.png",
    }
    assert rp.load(folder).sample(3).shape == (3, 8, 8)
    assert main(["demo", "--out", str(tmp_path)]) == 2  # a folder of other files is not overwritten
