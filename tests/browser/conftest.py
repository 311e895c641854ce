"""A real browser, pages of small models, and what every page must keep: no error, no request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

import reparam as rp
from reparam import networks
from reparam.cli.main import main

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


class Watched:
    """A page with everything that it asked for and everything that it complained of."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        context.on("request", lambda r: self.requests.append(r.url))

    def open(self, address: str) -> Page:
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        self.page.wait_for_timeout(300)  # what is drawn when the page is quiet
        return self.page


@pytest.fixture
def watched(browser: Browser) -> Iterator[Callable[..., Watched]]:
    contexts: list[BrowserContext] = []

    def make(**options: object) -> Watched:
        contexts.append(browser.new_context(viewport={"width": 1300, "height": 1000}, **options))
        return Watched(contexts[-1])

    yield make
    for context in contexts:
        context.close()


def explored(folder: Path, data: str, *more: str) -> str:
    """The address of the run's page as a file."""
    file = folder / "page.html"
    assert main(["explore", str(folder / "run"), data, "--html", str(file), "--no-doctor", *more]) == 0
    return file.as_uri()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the bundled digits with dimensions in use and one that is not."""
    folder = tmp_path_factory.mktemp("digits")
    words = "train digits --likelihood continuous_bernoulli --latent-dim 3 --hidden 48 --epochs 8 --seed 1".split()
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="session")
def digits_page(digits: Path) -> str:
    return explored(digits, "digits")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table with a real column, a count, a binary column and classes, beside its data as CSV."""
    folder = tmp_path_factory.mktemp("table")
    generator = np.random.default_rng(0)
    n = 200
    x = np.stack([generator.normal(size=n), generator.poisson(4, n), generator.integers(0, 2, n),
                  generator.integers(0, 3, n)], 1).astype(np.float64)  # fmt: skip
    torch.manual_seed(0)
    parts = [
        (lambda net: rp.likelihoods.Gaussian(net, "shared"), [0]), (rp.likelihoods.Poisson, [1]),
        (rp.likelihoods.Bernoulli, [2]), (lambda net: rp.likelihoods.Categorical(net, 3), [3]),
    ]  # fmt: skip
    size = rp.likelihoods.Mixed(torch.nn.Identity(), parts).outputs((4,))[0]
    vae = rp.VAE(
        rp.priors.Mixture(2, 3),
        rp.likelihoods.Mixed(networks.mlp(2, size, (16,), "gelu", residual=True), parts),
        rp.posteriors.FullGaussian(networks.mlp(4, 5, (16,), "silu", norm="layer")),
    )
    names = ["height (m)", "visits", "smokes", "kind"]
    rp.fit(vae, rp.Dataset(x, columns=names), epochs=2, out=folder / "run", seed=0)
    lines = [",".join(names), *(",".join(f"{v:g}" for v in row) for row in x)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def table_page(table: Path) -> str:
    return explored(table, str(table / "table.csv"))
