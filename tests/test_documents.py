"""The documents tell the truth: their code runs, their commands parse, their pictures and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

import reparam
from models import Constant
from reparam.cli.options import COMMANDS
from reparam.cli.parser import parse
from reparam.likelihoods import Likelihood
from reparam.numerics import scale_from_log

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))


def blocks(text: str, language: str) -> list[str]:
    inside = text.split("```")[1::2]
    return [block.removeprefix(f"{language}\n") for block in inside if block.startswith(f"{language}\n")]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (code,) = blocks(README, "python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "nats, importance, k=1000" in capsys.readouterr().out
    assert names["images"].shape == (16, 8, 8)
    assert names["latents"].shape == (297, 8)
    assert reparam.load(tmp_path / "digits-run").sample(1).shape == (1, 8, 8)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    """The blocks of a page one after the other, as a reader types them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for i, code in enumerate(blocks(page.read_text(), "python")):
        exec(compile(code, f"{page.name}, block {i}", "exec"), names)


def test_the_commands_of_the_readme_parse():
    lines = [line for block in blocks(README, "") for line in block.splitlines() if line.startswith("reparam ")]
    assert len(lines) >= 4
    for line in lines:
        _, names, *words = line.split()
        for name in names.split("|"):
            parse(name, COMMANDS[name][0], words)


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/sklearn.md", "docs/explorer.md", "docs/evaluation.md"]
)
def test_links_and_pictures_exist(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or ((ROOT / page).parent / target).exists(), target


def test_the_likelihood_of_the_contributing_guide_is_one():
    """Its density integrates to one: 20000 points on 12 widths, a midpoint rule for a smooth density."""
    (code,) = blocks(CONTRIBUTING, "python")
    names = {
        "Likelihood": Likelihood,
        "Tensor": Tensor,
        "Distribution": Distribution,
        "torch": torch,
        "scale_from_log": scale_from_log,
    }
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    d = names["Rayleigh"](Constant(torch.zeros(1)))(torch.zeros(1, 2))
    step = 12 / 20000
    points = (torch.arange(20000) + 0.5) * step
    assert float(d.log_prob(points[:, None, None]).exp().sum().detach() * step) == pytest.approx(1, abs=1e-4)


def test_the_rooms_of_the_contributing_guide_are_the_folder():
    named = set(re.findall(r"(\w+)(?:\.py|/)", "\n".join(CONTRIBUTING.split("```")[1].splitlines()[2:])))
    found = {p.stem for p in (ROOT / "src" / "reparam").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert found - {"__init__", "__main__", "version"} == named
