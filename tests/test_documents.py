"""The documents tell the truth: their code runs, their commands parse, their pictures and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from building.cells import of_markdown, of_script, smaller, title
from building.run import Page
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


PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    return [cell.source for cell in of_markdown(text) if cell.kind == "code" and cell.language == language]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (code,) = blocks(README, "python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "nats, importance, k=1000" in capsys.readouterr().out
    assert names["images"].shape == (16, 8, 8)
    assert names["latents"].shape == (297, 8)
    assert reparam.load(tmp_path / "digits-run").sample(1).shape == (1, 8, 8)


# Training, reports and the doctor by the command, some 15 s each; the build of the site runs these pages too.
LONG = ("failures.md", "first-steps.md", "own-images.md", "scale.md")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow if page.name in LONG else pytest.mark.thorough], id=page.name)
        for page in PAGES
    ],
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """The blocks of a page one after the other, as a reader types them, with few epochs; their pictures are drawn."""
    monkeypatch.chdir(tmp_path)
    shared = Page(page.name)
    for i, cell in enumerate(of_markdown(page.read_text())):
        if cell.runs:
            shared.run(cell.language, smaller(cell.source), f"{page.name}, block {i}")


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_a_block_that_is_not_run_says_why(page):
    """Code is python or shell, and runs; else it says why not. What is neither has a language of its own."""
    cells = [cell for cell in of_markdown(page.read_text()) if cell.kind == "code"]
    assert all(cell.language for cell in cells), "a fence without a language"
    for cell in cells:
        assert cell.why_not is None or len(cell.why_not) > 5, cell.source
        if cell.language not in ("python", "shell"):
            assert cell.language in ("text", "toml", "yaml", "json", "makefile"), cell.language
    lines = page.read_text().splitlines()
    assert not [line for line in lines if line.startswith("    reparam ")], "a command outside a block"


def test_cells_of_markdown_and_of_scripts():
    text = "# A\n\n<!-- not run: it waits -->\n```shell\nsleep 9\n```\nb\n```python\n1 + 1\n```\n~~~text\nx\n~~~\n"
    kinds = [(c.kind, c.language, c.runs, c.why_not) for c in of_markdown(text) if c.source.strip()]
    assert kinds == [
        ("text", "", False, None),
        ("code", "shell", False, "it waits"),
        ("text", "", False, None),
        ("code", "python", True, None),
        ("code", "text", False, None),
    ]
    script = '"""Not shown."""\n# %% [markdown]\n# # A\n#\n# $x$\n# %% first\nx = 1\n\n# %%\nx\n'
    assert [c.source for c in of_script(script)] == ["# A\n\n$x$\n", "x = 1\n", "x\n"]
    assert title(of_script(script)) == "A"
    code = "fit(x, epochs=60, k=7, score_k=900)\nreparam train x --epochs 20 --k 100 --rank 60"
    assert smaller(code) == "fit(x, epochs=4, k=7, score_k=50)\nreparam train x --epochs 4 --k 50 --rank 60"


def test_what_a_cell_shows(tmp_path):
    page = Page("a page", tmp_path)
    assert page.run("python", "import matplotlib\nx = 2\nprint('one')\nx", "a") == [
        ("text", "one", ""),
        ("text", "2", ""),
    ]
    assert page.run("python", "x;\n", "b") == []
    drawing = "from matplotlib.figure import Figure\nf = Figure()\nf.subplots().set_title('Alt')\nf"
    assert page.run("python", drawing, "c") == [("figure", "1.png", "Alt")]
    assert (tmp_path / "1.png").read_bytes()[:4] == b"\x89PNG"
    assert page.run("shell", "echo two  # words\nreparam --version", "d")[0].value.startswith("two\nreparam ")
    with pytest.raises(ChildProcessError, match="status 2 of: reparam evaluate"):
        page.run("shell", "reparam evaluate nowhere \\\n  nothing", "e")


def test_the_commands_of_the_readme_parse():
    lines = [line for block in blocks(README, "shell") for line in block.splitlines() if line.startswith("reparam ")]
    assert len(lines) >= 4
    for line in lines:
        _, names, *words = line.split()
        for name in names.split("|"):
            parse(name, COMMANDS[name][0], words)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in PAGES)])
def test_links_and_pictures_exist(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        made = target in ("reference/command.md", "changelog.md", "contributing.md")
        assert made or target.startswith("https://") or ((ROOT / page).parent / target).exists(), target


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
