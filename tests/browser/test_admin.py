"""Staff looks at live sessions and ends them."""

from __future__ import annotations

import re

import pytest

from .visits import FIREFOX, LIST

ROWS = "#result_list tbody tr"
IDS = f"{ROWS} th.field-name a"
YES = "#content form input[type=submit]"


def ids(page) -> list[str]:
    return page.locator(IDS).all_inner_texts()


def message(page) -> str:
    return page.locator("ul.messagelist").inner_text()


def run(visit, page, action: str) -> None:
    page.select_option("select[name=action]", action)
    visit.click(page.locator("button[name=index]"))


def test_staff_finds_a_users_sessions_and_ends_them_all(visit):
    for _ in range(2):
        visit().sign_in("shopper")
    staff = visit()
    page = staff.sign_in("admin", LIST)
    page.fill("#searchbar", "shopper")
    staff.click(page.locator("#changelist-search [type=submit]"))
    count = len(ids(page))
    assert count >= 2
    assert set(page.locator("td.field-user").all_inner_texts()) == {"shopper"}
    page.locator(ROWS).first.locator("input.action-select").check()
    run(staff, page, "end_for_users")
    assert f"These {count} sessions will be ended" in page.inner_text("#content")
    staff.click(page.get_by_role("button", name="Yes, end them"))
    assert message(page) == f"{count} sessions were ended."
    assert "shopper" not in page.locator("td.field-user").all_inner_texts()


def test_staff_filters_the_list(visit):
    staff = visit()
    page = staff.sign_in("admin", LIST)
    staff.click("Anonymous")
    assert set(page.locator("td.field-user").all_inner_texts()) == {"anonymous"}
    staff.click("Signed in")
    assert "anonymous" not in page.locator("td.field-user").all_inner_texts()
    staff.click("Your own")
    users = page.locator("td.field-user").all_inner_texts()
    assert {text.split("\n")[0] for text in users} == {"admin"}
    assert sum("this session" in text for text in users) == 1


def test_staff_looks_at_a_session_and_ends_it_after_a_question(visit):
    staff = visit()
    page = staff.sign_in("admin", f"{LIST}?whose=anonymous")
    session_id = ids(page)[0]
    staff.click(page.locator(IDS).first)
    assert session_id in page.inner_text("#content")
    assert page.get_by_role("row", name="cart").count() == 2
    staff.click("Delete")
    assert session_id in page.inner_text("#content")
    staff.click(page.locator(YES))
    assert "was deleted successfully" in message(page)
    assert session_id not in ids(page)


def test_staff_ends_the_selected_sessions(visit):
    staff = visit()
    page = staff.sign_in("admin", f"{LIST}?whose=anonymous")
    ended, kept = ids(page)[:2], ids(page)[2]
    for row in range(2):
        page.locator(ROWS).nth(row).locator("input.action-select").check()
    run(staff, page, "delete_selected")
    assert all(session_id in page.inner_text("#content") for session_id in ended)
    staff.click(page.locator(YES))
    assert "Successfully deleted 2 live sessions." in message(page)
    assert not set(ended) & set(ids(page))
    assert kept in ids(page)


def test_staff_takes_a_step_back_from_the_question(visit):
    staff = visit()
    page = staff.sign_in("admin", f"{LIST}?whose=anonymous")
    session_id = ids(page)[0]
    staff.click(page.locator(IDS).first)
    staff.click("Delete")
    staff.click("No, take me back")
    assert session_id in ids(staff.go(f"{LIST}?whose=anonymous"))


def test_ending_the_own_session_asks_first_and_signs_out(visit):
    staff = visit()
    page = staff.sign_in("admin", f"{LIST}?whose=mine")
    own = page.locator(ROWS).filter(has_text="this session")
    staff.click(own.locator("th.field-name a"))
    staff.click("Delete")
    assert "your own, you will be signed out" in page.inner_text("#content")
    staff.click(page.locator(YES))
    assert "/admin/login/" in page.url


def test_pages_go_older_and_newer_by_mouse_and_by_keyboard(visit):
    staff = visit()
    page = staff.sign_in("admin", f"{LIST}?whose=anonymous")
    first = ids(page)
    assert len(first) == 100
    staff.click("Older")
    second = ids(page)
    assert not set(first) & set(second)
    assert "whose=anonymous" in page.url
    staff.press_enter(page.get_by_role("link", name="Newer"))
    assert ids(page) == first


@pytest.mark.parametrize("name", ["Dashboard", "Largest sessions"])
def test_breadcrumbs_lead_back_to_the_list(visit, name):
    staff = visit()
    page = staff.sign_in("admin", LIST)
    staff.click(name)
    breadcrumbs = page.get_by_role("navigation", name="Breadcrumbs")
    assert "ElastiCache sessions" in breadcrumbs.inner_text()
    staff.click(breadcrumbs.get_by_role("link", name="Live sessions"))
    assert ids(page)


def test_each_end_is_in_the_log(visit):
    staff = visit()
    page = staff.sign_in("admin", f"{LIST}?whose=anonymous")
    session_id = ids(page)[0]
    staff.click(page.locator(IDS).first)
    staff.click("Delete")
    staff.click(page.locator(YES))
    assert session_id in staff.go("/admin/").locator("#recent-actions-module").inner_text()


def test_who_may_not_look_finds_nothing(visit):
    page = visit(user_agent=FIREFOX).sign_in("shopper", "/admin/")
    assert not re.search("live sessions", page.inner_text("body"), re.IGNORECASE)


def test_who_may_not_see_values_sees_none(visit):
    staff = visit(user_agent=FIREFOX)
    page = staff.sign_in("staff", f"{LIST}?whose=anonymous")
    staff.click(page.locator(IDS).first)
    # Its size alone; who may see values finds a second row.
    assert page.get_by_role("row", name="cart").count() == 1


def test_staff_reads_the_figures_on_the_dashboard(visit):
    staff = visit()
    page = staff.sign_in("admin", LIST)
    staff.click("Dashboard")
    assert "Live sessions" in page.inner_text("dl.chief")
    staff.click(page.get_by_role("link", name="Last 24 hours"))
    assert "Last 24 hours" in page.inner_text("nav.span [aria-current]")
    page.locator("#created-and-ended summary").click()
    assert page.locator("#created-and-ended tbody tr").count() == 24
