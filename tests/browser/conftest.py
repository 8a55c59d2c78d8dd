"""A demo with pages of live sessions, a Chromium, and visitors whom no page may upset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.example.conftest import Demo, start_demo

from .visits import Browser, Visit, chromium, find_chromium


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The shop with three pages of live sessions."""
    if find_chromium() is None:
        pytest.skip("this machine has no Chromium: install one, or name it in CHROMIUM")
    running = start_demo(tmp_path_factory.mktemp("demo"), "--port", "0", "--sessions", "230")
    yield running
    running.stop()


# Not longer: while it runs, its event loop is in the way of tests that run their own.
@pytest.fixture(scope="module")
def browser(demo: Demo) -> Iterator[Browser]:
    """A Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, demo: Demo) -> Iterator[Callable[..., Visit]]:
    """Open a profile of a visitor's own; afterwards the console must be empty."""
    visits: list[Visit] = []

    def open_profile(**options: Any) -> Visit:
        visits.append(Visit(browser, demo.url, **options))
        return visits[-1]

    yield open_profile
    for each in visits:
        each.close()
    assert [complaint for each in visits for complaint in each.complaints] == []
