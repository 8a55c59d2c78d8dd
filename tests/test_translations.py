"""The catalogues: whole, compiled, and used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from gettext import translation as compiled_translation
from pathlib import Path

import django
import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from django.utils.translation import gettext, ngettext
from html5lib import HTMLParser

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.texts import translated

from .catalogues import LOCALES, compiled, extracted, po_file, read
from .conftest import point_sessions_at
from .servers.valkey import Valkey

LIST = "/admin/django_elasticache_sessions/livesession/"
DJANGO = [
    Path(django.__file__).parent / name
    for name in (
        "conf/locale",
        "contrib/admin/locale",
        "contrib/auth/locale",
        "contrib/sessions/locale",
    )
]


@pytest.mark.parametrize("locale", LOCALES)
def test_every_string_is_translated_and_none_is_left_over(locale):
    catalogue = read(locale)
    ids = {(message.id, message.context) for message in catalogue if message.id}
    assert ids == {(message.id, message.context) for message in extracted() if message.id}
    unfinished = [
        message.id
        for message in catalogue
        if message.id and (message.fuzzy or not all(_texts(message)))
    ]
    assert unfinished == []
    assert catalogue.obsolete == {}


@pytest.mark.parametrize("locale", LOCALES)
def test_translations_take_the_values_that_the_strings_take(locale):
    assert [(message.id, errors) for message, errors in read(locale).check()] == []


@pytest.mark.parametrize("locale", LOCALES)
def test_the_compiled_catalogue_is_that_of_the_text(locale):
    assert po_file(locale).with_suffix(".mo").read_bytes() == compiled(read(locale))


@pytest.mark.parametrize("locale", LOCALES)
def test_django_speaks_the_language(locale):
    english = "The session store does not serve, so nobody can tell which sessions live."
    with translation.override(translation.to_language(locale)):
        assert gettext(english) != english
        many = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", 2)
        assert "%(count)d" in many
        assert many != "%(count)d sessions were ended."


@pytest.mark.parametrize("locale", LOCALES)
def test_words_that_django_has_too_are_translated_as_django_does(locale):
    # All catalogues become one: ours must not change the pages of others.
    ours = {message.id: message.string for message in read(locale) if not message.context}
    for place in DJANGO:
        django_s = compiled_translation("django", place, [locale])
        known = {text: django_s.gettext(text) for text in ours if isinstance(text, str) and text}
        changed = {text for text, said in known.items() if said not in (text, ours[text])}
        assert changed == set()


@pytest.fixture
def staff(valkey, db, settings) -> Client:
    """Sign in a member of the staff, in a browser that was told nothing of languages yet."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    client = Client()
    client.force_login(User.objects.create(username="anna", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def session_id(staff) -> str:
    """Return the id of a session of a user who is gone; others are anonymous."""
    sessions = [SessionStore() for _ in range(3)]
    for session, user in zip(sessions, ("4711", None, None), strict=True):
        session["cart"] = ["tea"]
        if user:
            session[SESSION_KEY] = user
            session["_client"] = {"ip": "192.0.2.7", "agent": ""}
        session.save()
    return sessions[0].session_id


@pytest.mark.parametrize("language", ["de", "ja"])
@pytest.mark.parametrize(
    "path",
    [LIST, f"{LIST}{{}}/change/", f"{LIST}{{}}/delete/", f"{LIST}dashboard/", "/devices/"],
    ids=["list", "session", "question", "dashboard", "devices"],
)
def test_a_page_is_in_the_language_of_its_reader(staff, session_id, path, language):
    address = path.format(quote(session_id))
    response = staff.get(address, headers={"accept-language": language})
    assert english_in(response, language) == set()
    # So the page does have words of ours, and they would be found.
    assert english_in(staff.get(address, headers={"accept-language": "en"}), language)


@pytest.mark.parametrize("language", ["de", "ja"])
def test_messages_and_questions_are_in_the_language_of_their_reader(staff, session_id, language):
    def end_all(**more: str):
        data = {"action": "end_for_users", "_selected_action": [session_id], **more}
        return staff.post(LIST, data, follow=True, headers={"accept-language": language})

    assert english_in(end_all(), language) == set()
    assert english_in(end_all(post="yes"), language) == set()
    others = staff.post("/devices/end-others/", follow=True, headers={"accept-language": language})
    assert english_in(others, language) == set()


@pytest.mark.parametrize("language", LOCALES)
def test_why_a_store_does_not_serve_is_in_the_language_of_its_reader(
    staff, settings, fallback_database, caplog, language
):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    fallback_database("sqlite")
    tag = translation.to_language(language)
    staff.force_login(User.objects.get())
    with Valkey("9") as server:
        point_sessions_at(settings, server.url)
    dashboard = staff.get(f"{LIST}dashboard/", headers={"accept-language": tag})
    assert english_in(dashboard, language) == set()
    with translation.override(tag):
        reason = gettext("nobody listens there; correct host and port in LOCATION, or start it.")
        # As it is asked again at once.
        problem = translated(live.stats().problems["cache"])
    assert reason in problem
    assert problem in "".join(_shown(HTMLParser().parse(dashboard.content.decode())))
    # Logs are for those who search them.
    [record] = [record for record in caplog.records if "is unavailable" in record.getMessage()]
    assert (
        "did not serve: no connection to it (ConnectionRefusedError): nobody" in record.getMessage()
    )


def english_in(response, language: str, *, status: int = 200) -> set[str]:
    """Return those of our strings that the reader of a page sees in English."""
    assert response.status_code == status
    shown = "\n".join(
        _shown(HTMLParser(namespaceHTMLElements=False).parse(response.content.decode()))
    )
    ours = {text for message in read(language) for text in _english(message)}
    return {
        text for text in ours if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", shown, re.IGNORECASE)
    }


def _texts(message) -> tuple[str, ...]:
    return message.string if isinstance(message.string, tuple) else (message.string,)


def _english(message) -> set[str]:
    """Return a message's words without the values, but no short ones: "User-Agent" is German."""
    ids = message.id if isinstance(message.id, tuple) else (message.id,)
    return {
        part.strip()
        for text in ids
        if text not in _texts(message)
        for part in re.split(r"%\(\w+\)[sd]|%%", text)
        if len(part.strip()) > 4
    }


def _shown(element) -> Iterator[str]:
    """Return what a page says to eyes and ears."""
    if element.tag in ("script", "style"):
        return
    yield from (element.get(name, "") for name in ("aria-label", "title", "value", "placeholder"))
    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str):
            yield from _shown(child)
        yield child.tail or ""
