"""A Chromium in front of a running demo, and visitors with profiles of their own in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

LIST = "/admin/django_elasticache_sessions/livesession/"
DASHBOARD = f"{LIST}dashboard/"
SIZES = f"{LIST}sizes/"
DEVICES = "/devices/"
PASSWORD = "leaf-and-kettle"
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of the Chromium that `CHROMIUM` names or that is on PATH, else `None`."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a Chromium until the block ends."""
    with sync_playwright() as playwright:
        # Containers lack the privileges that its sandbox needs; it visits nothing but the demo.
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Visit:
    """One visitor: a profile of its own, and what the browser complained of."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        """Open a profile; `options` are Playwright's, such as `viewport` or `color_scheme`."""
        self.url = url
        self.complaints: list[str] = []
        self.context = browser.new_context(**{"viewport": DESK, **options})
        self.page: Page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str) -> Page:
        """Visit an address below the demo's."""
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, username: str, path: str = "/") -> Page:
        """Sign in on the shop's page, and go on to a path."""
        self.go(f"/login/?next={path}")
        self.page.fill("#id_username", username)
        self.page.fill("#id_password", PASSWORD)
        self.click(self.page.locator("main button"))
        return self.page

    def click(self, target: str | Locator) -> None:
        """Click on what leads to another page (found by its text), and wait for that page."""
        found = self.page.get_by_text(target, exact=True) if isinstance(target, str) else target
        with self.page.expect_navigation():
            found.click()

    def press_enter(self, target: Locator) -> None:
        """Go to a control with the Tab key, press Enter there, and wait for the next page."""
        for _ in range(200):
            self.page.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                break
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def close(self) -> None:
        """Forget the profile."""
        self.context.close()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location['url']})")
