"""A visitor of the shop: a cart that lives in the session, and the devices signed in."""

from __future__ import annotations

import re

from .visits import DEVICES, FIREFOX, PHONE

LATER = "tests' own phone/1.0"


def devices(page):
    return page.locator("ul.devices > li")


def test_a_cart_follows_its_browser_through_the_login(visit):
    shopper, stranger = visit(), visit()
    page = shopper.go("/")
    shopper.click(page.get_by_role("button", name=re.compile("Add to cart.*Sencha")))
    shopper.sign_in("shopper", "/cart/")
    assert "Sencha" in page.inner_text("main")
    assert "Your cart is empty" in stranger.go("/cart/").inner_text("main")
    shopper.click("Your session")
    assert "Time to live" in page.inner_text("main")


def test_the_menu_leads_to_the_devices(visit):
    shopper = visit(user_agent=FIREFOX)
    page = shopper.sign_in("shopper")
    shopper.click("Your devices")
    assert "Firefox on Linux" in devices(page).first.inner_text()
    assert "This device" in devices(page).first.inner_text()
    assert page.get_by_text("This device").count() == 1


def test_a_device_is_signed_out_by_mouse(visit):
    phone, desk = visit(viewport=PHONE, user_agent=LATER), visit()
    phone.sign_in("staff", DEVICES)
    page = desk.sign_in("staff", DEVICES)
    desk.click(devices(page).filter(has_text=LATER).get_by_role("button"))
    assert page.get_by_role("status").inner_text() == "The device was signed out."
    assert devices(page).filter(has_text=LATER).count() == 0
    assert "/login/" in phone.go(DEVICES).url


def test_all_other_devices_are_signed_out_by_keyboard(visit):
    phone, desk = visit(viewport=PHONE, user_agent=LATER), visit()
    phone.sign_in("staff", DEVICES)
    page = desk.sign_in("staff", DEVICES)
    desk.press_enter(page.get_by_role("button", name="Sign out all other devices"))
    assert page.get_by_role("status").inner_text().endswith("signed out.")
    assert devices(page).count() == 1
    assert "This device" in devices(page).inner_text()
    assert "/login/" in phone.go(DEVICES).url


def test_signing_out_this_device_is_a_logout(visit):
    shopper = visit()
    page = shopper.sign_in("shopper", DEVICES)
    shopper.click(devices(page).first.get_by_role("button"))
    assert page.get_by_role("link", name="Log in").count() == 1
