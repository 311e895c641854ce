"""Reports: one file, complete and safe, that says every number."""

import math
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import reparam as rp
from reparam.data import Schema
from reparam.errors import MissingExtraError
from reparam.plots import style
from reparam.report import write_report
from reparam.report.words import Facts, model_rows, training_rows
from reparam.run import describe
from reparam.train import History

NUMBERS = {
    "elbo": -24.381, "elbo_stderr": 0.2034, "reconstruction": -22.004, "kl": 2.377, "log_likelihood": -23.962,
    "stderr": 0.1812, "method": "importance", "k": 1234, "ess": 110.67, "bits_per_dim": 0.5402, "active_units": 1,
    "latent_dim": 2, "n": 397, "seconds": 3.25,
}  # fmt: skip


def history(epochs=3, kl=1.0):
    made = [
        {"epoch": e, "step": 10 * e, "seconds": e / 2, "rows_per_second": 5120}
        | {f"{kind}_{term}": v for kind in ("train", "validation")
           for term, v in (("objective", -30.0 + e), ("reconstruction", -29.0 + e), ("kl", kl))}
        for e in range(1, epochs + 1)
    ]  # fmt: skip
    return History(made, best_epoch=epochs, stopped="early")


def images(n=50):
    x = torch.randint(0, 17, (n, 6, 5), dtype=torch.uint8)
    return rp.Dataset(x, pixel_max=16, binarize="dynamic", labels=np.arange(n) % 3)


def table(n=50):
    return rp.Dataset(torch.randn(n, 3) * 9, columns=["a<b", "b", "c"])


def write(folder, vae, data, **options):
    config = {"train": {"epochs": 9, "lr": 1e-3, "batch_size": 64, "objective": "ELBO{'k': 1}"}}
    given = {"history": history(), "config": config | {"model": describe(vae)}, "evaluation": NUMBERS, **options}
    files = write_report(folder, vae, data, **given)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert files[-1] == folder / "report.html"
    assert all(path.stat().st_size > 0 for path in files)
    return page, {path.name for path in files}


def plain(page):
    """The words of the page, with a plain minus and x for the signs."""
    text = unescape(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2]))
    return " ".join(text.replace("\u2212", "-").replace("\u00d7", "x").split())


class Tags(HTMLParser):
    """Checks that elements close in order, and gathers them with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_report_of_images_holds_all_its_pictures_and_asks_for_nothing(tmp_path):
    page, names = write(tmp_path, rp.recipes.vae((6, 5), 2, hidden=(8,)), images())
    assert names == {
        "curves.png", "samples.png", "reconstructions.png", "latent.png", "manifold.png", "report.html",
    }  # fmt: skip
    tags = Tags(page).tags
    assert not re.search(r"https?://|url\(|@import|<script|<link", page)
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert len(pictures) == 5
    assert all(a["src"].startswith("data:image/png;base64,") and a["alt"] for a in pictures)
    assert all(tag == "img" for tag, attributes in tags if "src" in attributes)
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(a.get("scope") in ("row", "col") for t, a in tags if t == "th")
    assert [t for t, _ in tags].count("h1") == 1
    assert {p.name for p in tmp_path.iterdir()} == {"figures", "report.html"}


def test_every_number_is_said(tmp_path):
    page, _ = write(tmp_path, rp.recipes.vae((6, 5), 2, hidden=(8,)), images())
    said = plain(page)
    for text in (
        "-23.96 ± 0.18 nats", "-24.38 ± 0.20 nats", "-22.00 nats", "2.38 nats", "0.540", "1 of 2", "1,234 draws",
        "110.7", "397", "3.2 s", "5,120 rows per second", "3 of 9; stopped early", "epoch 3", "-27.00",
        "ELBO (k = 1)", "0.001", "standard normal", "Bernoulli", "6 x 5 → 8 → 4, relu", "2 → 8 → 6 x 5, relu",
        "lower bound",
    ):  # fmt: skip
        assert text in said, text
    parameters = sum(p.numel() for p in rp.recipes.vae((6, 5), 2, hidden=(8,)).parameters())
    assert f"{parameters:,}, float32" in said


def test_strings_are_escaped(tmp_path):
    evil = "<script>alert('x')</script>\"&"
    vae = rp.recipes.vae(3, 2, likelihood="gaussian", hidden=(8,))
    page, _ = write(tmp_path, vae, table(), evaluation={**NUMBERS, "data": evil, evil: 1.5}, title=evil)
    Tags(page)
    assert "<script" not in page
    assert plain(page).count("<script>alert('x')</script>\"&") == 3


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_report_of_a_table_compares_columns(tmp_path, dim):
    data = table()
    loc, spread = data.x.mean(0), data.x.std(0)
    vae = rp.recipes.vae(
        3, dim, likelihood="gaussian", scale="elementwise", loc=loc, spread=spread, hidden=(8,), posterior="full"
    )
    page, names = write(tmp_path, vae, data, history=history().records, evaluation=None)
    assert names == {"curves.png", "marginals.png", "reconstructions.png", "latent.png", "report.html"}
    said = plain(page)
    assert "reparam evaluate" in said
    assert "Gaussian, a learned scale for each element, of standardised data" in said
    assert "on standardised inputs" in said
    assert "ended before its last epoch" in said


def test_an_autoencoder_is_told_to_have_no_bound(tmp_path):
    vae = rp.recipes.autoencoder((6, 5), 2, hidden=(8,))
    numbers = {**NUMBERS, "elbo": None, "elbo_stderr": None, "kl": math.nan, "method": "prior"}
    page, _ = write(tmp_path, vae, images(), evaluation=numbers, history=history(kl=math.nan))
    said = plain(page)
    assert "no bound on log p(x)" in said
    assert "a point: a conventional autoencoder" in said
    assert "plain sampling of z from the prior" in said
    assert "nan" not in said


def test_convolutions_colours_and_real_values(tmp_path):
    vae = rp.recipes.vae((3, 8, 8), 2, likelihood="gaussian", scale="shared", network="conv", channels=(4,))
    data = rp.Dataset(torch.randn(20, 3, 8, 8) * 5, labels=np.linspace(0, 1, 20))
    page, names = write(tmp_path, vae, data)
    assert "manifold.png" in names
    assert "convolutions of stride 2, 3 x 8 x 8 → 4 → 4, relu" in plain(page)
    assert "density" in plain(page)


def test_a_part_of_ones_own_is_named(tmp_path):
    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 4)

        def forward(self, x):
            return self.layer(x)

    posterior = rp.posteriors.DiagonalGaussian(Mine())
    likelihood = rp.likelihoods.Gaussian(torch.nn.Linear(2, 3), 0.5)
    vae = rp.VAE(rp.priors.StandardNormal(2), likelihood, posterior)
    page, _ = write(tmp_path, vae, table(), config={}, history=[])
    assert "Mine" in plain(page)
    assert "Gaussian, scale 0.5" in plain(page)


def test_the_same_run_gives_the_same_bytes_and_leaves_generators_and_mode_alone(tmp_path):
    vae, data = rp.recipes.vae((6, 5), 2, hidden=(8,)).train(), images()
    state = torch.get_rng_state()
    first, _ = write(tmp_path, vae, data, title="same")
    assert torch.equal(torch.get_rng_state(), state)
    assert vae.training
    assert write(tmp_path, vae, data, title="same")[0] == first


def test_without_matplotlib_the_report_is_written_and_says_what_to_install(tmp_path, monkeypatch):
    def require(module, extra, purpose):
        raise MissingExtraError(f"{purpose} needs the package 'matplotlib': pip install 'reparam[{extra}]'")

    monkeypatch.setattr(style, "require", require)
    page, names = write(tmp_path, rp.recipes.vae((6, 5), 2, hidden=(8,)), images())
    assert names == {"report.html"}
    assert not (tmp_path / "figures").exists()
    assert "pip install 'reparam[plot]'" in plain(page)
    assert "<img" not in page
    assert "-23.96 ± 0.18 nats" in plain(page)


def test_the_best_epoch_of_an_upper_bound_is_the_least_and_notes_are_shown(tmp_path):
    made = history()
    made.best_epoch, made.sign, made.notes = 1, -1, ["training ended too soon"]
    text = plain(write(tmp_path, rp.recipes.vae((6, 5), 3), images(), history=made)[0])
    assert "those of epoch 1, validation objective -29.00" in text
    assert "training ended too soon" in text
    assert "The objective is what training lowers. Where validation rises while training still falls" in text
    records = [r | {"best_epoch": 1} for r in history().records]  # without a History, the run's own word counts
    assert "those of epoch 1," in plain(write(tmp_path, rp.recipes.vae((6, 5), 3), images(), history=records)[0])
    assert "those of epoch 3," in plain(
        write(tmp_path, rp.recipes.vae((6, 5), 3), images(), history=history().records)[0]
    )


def test_schedules_are_told_with_their_values(tmp_path):
    made = history()
    for i, record in enumerate(made.records):
        record["scheduled_beta"] = (i + 1) / 3
    text = plain(write(tmp_path, rp.recipes.vae((6, 5), 3), images(), history=made)[0])
    assert "Schedule of beta 0.3333 in epoch 1, 1 in the last one" in text


def test_what_wraps_a_part_is_told_in_words_and_not_by_its_class():
    """Of tables: a likelihood for each kind of column, of what is seen, and a network of cells."""
    parts = [(rp.likelihoods.Gaussian, [0]), (rp.likelihoods.Poisson, [1]), (rp.likelihoods.Gaussian, [2])]
    size = rp.likelihoods.Mixed(torch.nn.Identity(), parts).outputs((3,))[0]
    mixed = rp.likelihoods.Mixed(rp.networks.mlp(2, size, (8,)), parts)
    read = rp.networks.Cells(rp.networks.mlp(6, 4, (8,)), [0, 1, 0], torch.zeros(3), torch.ones(3))
    vae = rp.VAE(
        rp.priors.VampPrior(rp.posteriors.DiagonalGaussian(read), 5, (3,)),
        rp.likelihoods.Observed(mixed),
        rp.posteriors.DiagonalGaussian(read),
    )
    facts = Facts(vae, Schema.of(table()), {"train": {"objective": "IWAE(k=5)"}}, [], [], {})
    told = {row.name: row.value for row in (*model_rows(facts), *training_rows(facts))}
    assert told["Prior p(z)"] == "VampPrior, a mixture of the posteriors of learned data"
    assert told["Likelihood p(x|z)"] == "by the kind of column: Gaussian or Poisson; what is missing is left out"
    assert told["Encoder"] == "fully connected, 6 → 8 → 4, relu, on columns as numbers, with what is missing marked"
    assert told["Decoder"] == f"fully connected, 2 → 8 → {size}, relu"
    assert told["Objective"] == "IWAE (k = 5)"
