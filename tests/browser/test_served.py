"""The page from the server: the same page, computed here, for what a file cannot hold too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page
from watching import Watched

import reparam as rp
from reparam import web
from reparam.cli.common import dataset
from reparam.explorer import look, server
from reparam.run import open_run

CLOSE = 1e-5


class Serving:
    """A run that is served, and its page."""

    def __init__(self, folder: Path, data: str) -> None:
        run = open_run(folder / "run")
        assert run.schema is not None
        token = web.check_binding("127.0.0.1", None)
        view = look(run, run.schema, dataset(run.schema, data, None, None), rows=400, name="served", doctor=False)
        self.vae, self.socket = run.vae, web.bind("127.0.0.1", 0)
        self.server, self.address = (
            server.server(view, token, "127.0.0.1"),
            web.address("127.0.0.1", self.socket, f"{token}/"),
        )
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.socket]), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


@pytest.fixture
def serve(watched: Callable[..., Watched]) -> Iterator[Callable[[Path, str], tuple[Serving, Page]]]:
    opened: list[tuple[Serving, Watched]] = []

    def start(folder: Path, data: str) -> tuple[Serving, Page]:
        serving, seen = Serving(folder, data), watched()
        opened.append((serving, seen))
        return serving, seen.open(serving.address)

    yield start
    for serving, seen in opened:
        seen.page.wait_for_timeout(100)
        assert seen.errors == []
        assert [r for r in seen.requests if not r.startswith((serving.address, "blob:"))] == []
        serving.close()


def decoded(serving: Serving, page: Page) -> tuple[torch.Tensor, torch.Tensor]:
    """(what the page shows at its point, what torch gives there)."""
    page.wait_for_timeout(400)
    z = torch.tensor([page.evaluate("Array.from(reparam.state.z)")], dtype=next(serving.vae.parameters()).dtype)
    with torch.no_grad():
        expected = serving.vae.likelihood(z).mean[0].flatten().double()
    return torch.tensor(page.evaluate("Array.from(reparam.decoded)"), dtype=torch.float64), expected


def test_digits_are_walked_in_pinned_and_interpolated(digits: Path, serve) -> None:
    serving, page = serve(digits, "digits")
    page.locator(".slider input").first.fill("1.3")
    shown, expected = decoded(serving, page)
    assert (shown - expected).abs().max() <= CLOSE
    page.evaluate("reparam.pinRow(3); reparam.pinRow(8)")
    page.get_by_role("tab", name="Between pins").click()
    page.locator("#panel-interpolation .tile").nth(4).click()
    shown, expected = decoded(serving, page)
    assert (shown - expected).abs().max() <= CLOSE
    for tab in ("Traversals", "Samples", "How good it is", "Manifold"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)


def test_an_image_of_ones_own_is_scored_by_the_server(digits: Path, serve) -> None:
    serving, page = serve(digits, "digits")
    page.get_by_role("tab", name="Your own datum").click()
    page.evaluate("reparam.model.rows([7]).then((x) => reparam.showOwn(x))")
    page.wait_for_selector("#own-logp")
    x = torch.tensor(page.evaluate("Array.from(reparam.ownDatum)")).reshape(1, 8, 8)
    truth = rp.evaluate.log_likelihood(serving.vae, x, 1000, seed=7).value
    assert f"{truth:.1f}".replace("-", "\u2212") in page.inner_text("#own-logp") or abs(
        float(page.inner_text("#own-logp").split()[0].replace("\u2212", "-")) - truth) < 0.02  # fmt: skip


def test_a_mixed_table_and_a_line_are_served(mixed: Path, counts: Path, serve) -> None:
    serving, page = serve(mixed, str(mixed / "table.csv"))
    page.locator(".slider input").first.fill("0.7")
    page.wait_for_timeout(300)
    text = page.inner_text(".here table.rows")
    assert "Lyon" in text or "Bonn, old" in text or "Turin" in text
    classes = page.evaluate("reparam.model.classes(reparam.state.z, null, [0, 2, 8])")
    assert [len(p) for p in classes] == [2, 3, 2]
    assert np.allclose([sum(p) for p in classes], 1, atol=1e-5)
    page.get_by_role("tab", name="Your own datum").click()
    page.locator("form.fields").get_by_label("age", exact=True).fill("")
    page.get_by_role("button", name="Read it").click()
    page.wait_for_selector("#own-logp")
    serving, page = serve(counts, str(counts / "counts.npy"))
    page.locator(".slider input").first.fill("0.7")
    shown, expected = decoded(serving, page)
    assert ((shown - expected).abs() / (1 + expected)).max() <= CLOSE


def test_a_page_of_another_site_learns_nothing(digits: Path, serve, tmp_path: Path, watched) -> None:
    """From a file, a request to the server with its token is refused, and its answer cannot be read."""
    serving, _ = serve(digits, "digits")
    page = watched().page
    (tmp_path / "evil.html").write_text("<!doctype html><title>evil</title>")
    page.goto((tmp_path / "evil.html").as_uri())
    told = page.evaluate(f"fetch({serving.address!r} + 'points').then((r) => r.text(), (e) => 'refused')")
    assert told == "refused"
