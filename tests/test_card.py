"""The folder of a hub: it loads with the same bits, and says what the evaluation found."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import reparam as rp
from reparam.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    np.save(folder / "secret-place.npy", np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32))
    words = f"train {folder / 'secret-place.npy'} --latent-dim 2 --hidden 6 --epochs 2 --seed 0 --out {folder / 'run'}"
    assert main(words.split()) == 0
    return folder


def test_a_card_loads_with_the_same_bits_and_holds_the_numbers(folder: Path, capsys) -> None:
    data, card = folder / "secret-place.npy", folder / "hub"
    assert main(["evaluate", str(folder / "run"), str(data), "--k", "30", "--json"]) == 0
    out = capsys.readouterr().out
    words = ["export", str(folder / "run"), str(data), "--card", str(card), "--k", "30", "--license", "mit"]
    assert main(words) == 0
    x = torch.randn(20, 3)
    scored = [rp.evaluate.log_likelihood(rp.load(f), x, 50).per_datum for f in (folder / "run", card)]
    assert torch.equal(*scored)
    text = (card / "README.md").read_text()
    front = text.split("---\n")[1]
    assert "library_name: reparam\n" in front
    assert 'license: "mit"' in front
    found = re.search(r'"log_likelihood": (-?[\d.]+)', out)
    stated = re.search(r"type: log_likelihood\n.*\n      value: (-?[\d.]+)", front)
    assert found is not None
    assert stated is not None
    assert float(stated[1]) == pytest.approx(float(found[1]), rel=1e-5)
    assert f"{float(found[1]):.3f} ±" in text
    for picture in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (card / picture).is_file()
    for file in card.rglob("*"):  # where the data were is nobody's business
        if file.suffix in (".md", ".toml", ".json", ".jsonl"):
            assert str(folder) not in file.read_text()


def test_a_card_without_data_says_nothing_of_quality(folder: Path, capsys) -> None:
    assert main(["export", str(folder / "run"), "--card", str(folder / "plain")]) == 0
    text = (folder / "plain" / "README.md").read_text()
    assert "model-index" not in text
    assert "How good" not in text
    assert "did not see" in capsys.readouterr().err


def test_wrong_use_is_said_in_words(folder: Path, capsys) -> None:
    run = str(folder / "run")
    for words, said in (
        (["--card", run], "is the run itself"), (["--card", str(folder / "secret-place.npy")], "is a file"),
        ([], "--card DIR"), ([str(folder / "secret-place.npy"), "--onnx", str(folder / "o")], "leave DATA out"),
    ):  # fmt: skip
        assert main(["export", run, *words]) == 2
        assert said in capsys.readouterr().err
