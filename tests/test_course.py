"""The course runs: every page in small sizes, with its exact statements; in full, with all of them, by ``make course``.

The assertions stand in the pages. Those about samples hold within 4.5 standard errors or more, one failure in 150,000
draws each, and the generators are seeded, so that a page that passes once passes again.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")
COURSE = Path(__file__).parents[1] / "docs" / "course"
PAGES = sorted(COURSE.glob("[0-9]*.py"))


@pytest.fixture
def small(monkeypatch):
    """Small sizes, pictures that nobody sees, and the course's folder to import from, as when a page is run."""
    import matplotlib as mpl

    monkeypatch.setenv("REPARAM_QUICK", "1")
    monkeypatch.syspath_prepend(str(COURSE))
    monkeypatch.delitem(sys.modules, "common", raising=False)
    with mpl.rc_context():
        mpl.use("Agg")
        from matplotlib import pyplot as plt

        shown: list[int] = []

        def show() -> None:
            shown.append(len(plt.get_fignums()))
            plt.close("all")

        monkeypatch.setattr(plt, "show", show)
        yield shown
        plt.close("all")
    sys.modules.pop("common", None)


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_what_it_states_exactly_holds(page, small, capsys):
    runpy.run_path(str(page), run_name="__main__")
    assert small
    assert set(small) == {1}, "a cell draws one figure"
    assert "nan" not in re.findall(r"[a-z]+", capsys.readouterr().out)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_in_percent_format(page):
    """Prose in markdown cells, every formula closed, and a first line that is the page's title with its number."""
    text = page.read_text()
    cells = re.split(r"^# %%(.*)$", text, flags=re.MULTILINE)
    assert cells[0] == ""
    kinds, bodies = cells[1::2], cells[2::2]
    assert set(kinds) <= {"", " [markdown]"}
    assert bodies[0].strip().startswith(f"# # {int(page.stem[:2])}. ")
    for kind, body in zip(kinds, bodies, strict=True):
        if kind:
            assert all(line.startswith("#") for line in body.splitlines() if line), body
            assert body.count("$$") % 2 == 0
            assert body.replace("$$", "").count("$") % 2 == 0
        else:
            compile(body, page.name, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_in_full(page):
    """As a reader runs it: all its assertions, those about trained models too."""
    environment = {**os.environ, "REPARAM_QUICK": "0", "MPLBACKEND": "Agg"}
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(page)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stderr
