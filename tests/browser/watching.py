"""Pages of runs, and a page that is watched: what it asks for, and what it complains of."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import BrowserContext, Page

from reparam.cli.main import main


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


def explored(folder: Path, data: str, *more: str) -> str:
    """The address of the run's page as a file."""
    file = folder / f"page{len(more)}.html"
    assert main(["explore", str(folder / "run"), data, "--html", str(file), "--no-doctor", *more]) == 0
    return file.as_uri()
