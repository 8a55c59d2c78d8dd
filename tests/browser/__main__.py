"""Take the documentation's screenshots: `python -m tests.browser docs/screenshots`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser

from tests.example.conftest import start_demo

from .visits import DASHBOARD, DESK, DEVICES, FIREFOX, LIST, PHONE, Visit, chromium


class Picture(NamedTuple):
    """A page to be looked at: where it is, whose, and how."""

    name: str
    path: str
    user: str = "admin"
    #: Clicked on before the picture is taken.
    link: str = ""
    viewport: dict[str, int] = DESK
    scheme: str = "light"
    whole: bool = False


PICTURES = (
    Picture("live-sessions", f"{LIST}?whose=signed-in", viewport={"width": 1280, "height": 700}),
    Picture("live-session", LIST, link="#result_list tr:nth-child(2) th a", whole=True),
    Picture("dashboard", DASHBOARD, viewport={"width": 1280, "height": 700}, whole=True),
    Picture("live-sessions-phone", LIST, viewport=PHONE, scheme="dark"),
    Picture("session", "/session/", user="shopper", viewport={"width": 1000, "height": 640}),
    Picture("devices", DEVICES, user="shopper", viewport={"width": 1000, "height": 700}),
)


def main(folder: Path) -> None:
    """Start the demo, look at its pages, and write what there is to see."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, chromium() as browser:
        demo = start_demo(Path(data), "--port", "0")
        try:
            for picture in PICTURES:
                take(picture, browser, demo.url, folder)
        finally:
            demo.stop()


def take(picture: Picture, browser: Browser, url: str, folder: Path) -> None:
    """Sign in, go there, and write the picture."""
    options: dict[str, Any] = {"viewport": picture.viewport, "color_scheme": picture.scheme}
    visit = Visit(browser, url, user_agent=FIREFOX, **options)
    # The admin's list of models takes room from what there is to see.
    visit.page.add_init_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    page = visit.sign_in(picture.user, picture.path)
    if picture.link:
        visit.click(page.locator(picture.link))
    page.screenshot(path=folder / f"{picture.name}.png", full_page=picture.whole)
    visit.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots"))
