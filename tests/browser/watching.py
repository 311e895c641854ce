"""A page that is watched: what it asks for, and what it complains of."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page


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
