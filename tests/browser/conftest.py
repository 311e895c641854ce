"""A real browser, pages of small models, and what every page must keep: no error, no request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from watching import Watched, explored

import reparam as rp
from reparam import networks
from reparam.cli.main import main
from reparam.data import read

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.exit(f"no browser at {CHROMIUM}: apt-get install chromium, or name one by CHROMIUM=path", returncode=1)
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Callable[..., Watched]]:
    contexts: list[BrowserContext] = []

    def make(**options: object) -> Watched:
        contexts.append(browser.new_context(viewport={"width": 1300, "height": 1000}, **options))
        return Watched(contexts[-1])

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the bundled digits with dimensions in use and one that is not."""
    folder = tmp_path_factory.mktemp("digits")
    words = "train digits --likelihood continuous_bernoulli --latent-dim 3 --hidden 48 --epochs 8 --seed 1"
    assert main([*words.split(), "--out", str(folder / "run")]) == 0
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


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of TabularVAE on columns of every kind, with holes, beside its data as CSV."""
    folder = tmp_path_factory.mktemp("mixed")
    generator = np.random.default_rng(0)
    n = 300
    frame = pandas.DataFrame({
        "sex": generator.choice(["F", "M"], n), "age": generator.integers(18, 80, n).astype(float),
        "city": generator.choice(["Lyon", "Bonn, old", "Turin"], n), "income": generator.lognormal(7, 0.5, n).round(2),
        "visits": generator.poisson(3, n), "share": generator.beta(2, 3, n).round(4),
        "peaks": np.where(generator.random(n) < 0.5, -9, 9) + generator.normal(size=n),
        "since": pandas.Timestamp("2020-01-01") + pandas.to_timedelta(generator.integers(0, 900, n), unit="D"),
        "agrees": generator.random(n) < 0.5,
    })  # fmt: skip
    frame.mask(generator.random(frame.shape) < 0.1).to_csv(folder / "table.csv", index=False)
    words = f"train {folder / 'table.csv'} --latent-dim 3 --epochs 10 --seed 0 --out {folder / 'run'}".split()
    assert main(words) == 0
    return folder


@pytest.fixture(scope="session")
def mixed_page(mixed: Path) -> str:
    return explored(mixed, str(mixed / "table.csv"))


@pytest.fixture(scope="session")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits that is told which digit it is, and a number: with convolutions and a mixture prior."""
    folder = tmp_path_factory.mktemp("conditional")
    data = read("digits", None, [])
    np.savez(folder / "d.npz", x=data.x, kind=data.labels, dose=np.asarray(data.labels) * 1.5 + 3)
    words = f"train {folder / 'd.npz'} --context kind,dose --network conv --channels 8,8 --prior mixture --latent-dim 3"
    assert main([*words.split(), "--epochs", "2", "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="session")
def conditional_page(conditional: Path) -> str:
    return explored(conditional, str(conditional / "d.npz"))


@pytest.fixture(scope="session")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on rows of 64 counts, which are shown as lines."""
    folder = tmp_path_factory.mktemp("counts")
    rate = np.exp(np.sin(np.linspace(0, 6, 64) + np.random.default_rng(0).normal(size=(300, 1))) + 1)
    np.save(folder / "counts.npy", np.random.default_rng(1).poisson(rate))
    words = f"train {folder / 'counts.npy'} --latent-dim 2 --epochs 3 --seed 0 --out {folder / 'run'}".split()
    assert main(words) == 0
    return folder


@pytest.fixture(scope="session")
def counts_page(counts: Path) -> str:
    return explored(counts, str(counts / "counts.npy"))
