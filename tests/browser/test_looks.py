"""How pages look and sound: light and dark, wide and narrow, by ear, under a strict policy."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from .visits import DASHBOARD, DESK, DEVICES, LIST, PHONE, SIZES

#: What the law asks for in many places; Django's search box lacks what is merely advised.
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}
POLICY = "default-src 'self'"
#: Where each page's own content is: the rest of an admin page is Django's.
CONTENT = {
    LIST: "#content",
    DASHBOARD: "#content",
    SIZES: "#content",
    "session": "#content",
    "question": "#content",
    DEVICES: "main",
}
PAGES = tuple(CONTENT)


def open_page(visit, name: str, **options):
    """Sign in and go to a page as a visitor would."""
    staff = visit(**options)
    page = staff.sign_in("admin", name if name.startswith("/") else LIST)
    if name in ("session", "question"):
        staff.click(page.locator("#result_list th.field-name a").nth(1))
    if name == "question":
        staff.click("Delete")
    return staff


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_a_page_fits_and_can_be_read_and_heard(visit, name, scheme, viewport):
    staff = open_page(visit, name, viewport=viewport, color_scheme=scheme)
    page = staff.page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert staff.complaints == []
    found = Axe().run(page, context=CONTENT[name], options=RULES)
    assert found.violations_count == 0, found.generate_report()
    # What it tried out on the page was its own doing.
    staff.complaints.clear()


@pytest.mark.parametrize("name", PAGES)
def test_a_dark_page_is_dark(visit, name):
    light, dark = (
        open_page(visit, name, color_scheme=scheme).page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
        )
        for scheme in ("light", "dark")
    )
    assert max(dark) < 80 < 200 < min(light)


@pytest.mark.parametrize("path", [LIST, DASHBOARD, DEVICES])
def test_a_page_needs_no_inline_code(visit, path):
    staff = visit()
    staff.sign_in("admin")
    response = staff.page.goto(staff.url + path)
    policy = response.headers["content-security-policy"]
    assert POLICY in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("locale", ["de", "ja"])
@pytest.mark.parametrize("path", [LIST, f"{LIST}dashboard/", DEVICES])
def test_a_phone_holds_other_languages(visit, locale, path):
    page = visit(viewport=PHONE, locale=locale).sign_in("admin", path)
    assert page.get_by_text({"de": "angemeldet", "ja": "ログイン"}[locale]).count() > 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_one_s_own_session_is_marked_on_one_line_where_words_have_no_spaces(visit):
    page = visit(viewport=PHONE, locale="ja").sign_in("admin", LIST)
    lines = page.locator("td.field-user strong", has_text="このセッション").evaluate(
        "cell => {"
        " const range = document.createRange();"
        " range.selectNodeContents(cell);"
        " return range.getClientRects().length }"
    )
    assert lines == 1


def test_a_size_stands_on_one_line_with_its_unit(visit):
    page = visit(viewport=PHONE, locale="de").sign_in("admin", SIZES)
    assert "Bytes" in page.locator("td.figure").first.inner_text()
    heights = page.locator("td.figure").evaluate_all(
        "cells => cells.map(cell => {"
        " const range = document.createRange();"
        " range.selectNodeContents(cell);"
        " return range.getClientRects().length })"
    )
    assert set(heights) == {1}


@pytest.mark.parametrize("width", [800, 1024, 1280])
def test_long_names_of_actions_stay_within_the_list(visit, width):
    page = visit(viewport={"width": width, "height": 800}, locale="de").sign_in("admin", LIST)
    select, changes = (
        page.locator(name).first.bounding_box()
        for name in ("#changelist .actions select", "#changelist-form")
    )
    assert select["x"] + select["width"] <= changes["x"] + changes["width"]


@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_last_column_is_seen_beside_the_filters(visit, locale):
    page = visit(locale=locale).sign_in("admin", LIST)
    # A name of a field that somebody made of an address, say.
    cell = page.locator("td.field-weight").first
    cell.evaluate("cell => { cell.lastChild.data = 'k'.repeat(300) }")
    cell, results = (
        page.locator(name).first.bounding_box()
        for name in ("td.field-weight", "#changelist .results")
    )
    assert cell["x"] + cell["width"] <= results["x"] + results["width"]
