"""The admin's live sessions: who sees and ends what, and what nobody ever sees."""

from __future__ import annotations

import html
import re
import secrets

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.db import NotSupportedError, connections
from django.test import Client

from django_elasticache_sessions import live, sizes
from django_elasticache_sessions.conf import CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.models import LiveSession

from .test_devices import take_stores_away

pytestmark = pytest.mark.django_db
LIST = "/admin/django_elasticache_sessions/livesession/"
UNKNOWN_ID = "A" * 22
SECRET = "a very private thing"
AGENT = "<script>alert('x')</script>\x1b[31mRed"


@pytest.fixture
def staff(engine):
    """Sign in a member of the staff who has these permissions."""

    def sign_in(*codenames: str, superuser: bool = False) -> Client:
        user = User.objects.create(
            username=f"staff-{'-'.join(codenames)}", is_staff=True, is_superuser=superuser
        )
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        assert user.user_permissions.count() == len(codenames)
        client = Client(enforce_csrf_checks=False)
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def new(engine):
    """Make a session; its hashed id."""

    def make(user: object = None, **data: object) -> str:
        session = engine()
        session.update(data)
        if user is not None:
            session[SESSION_KEY] = str(user)
        session.save()
        return session.session_id

    return make


def page(client: Client, address: str = LIST, *, status: int = 200, **data: str) -> str:
    response = client.get(address, data)
    assert response.status_code == status, response.content
    return html.unescape(response.content.decode())


def view_of(session_id: str, view: str = "change") -> str:
    return f"{LIST}{quote(session_id)}/{view}/"


def listed(shown: str) -> list[str]:
    return [unquote(pk) for pk in re.findall(r"livesession/([^/]+)/change", shown)]


def search_form(shown: str) -> dict[str, str]:
    """Return what a browser sends with the form of a page's search box."""
    form = re.search(r'<form id="changelist-search".*?</form>', shown, re.DOTALL)[0]
    inputs = r'<input type="(?:text|hidden)"[^>]* name="(\w+)" value="([^"]*)"'
    return dict(re.findall(inputs, form))


def test_the_largest_sessions_and_fields_come_first(staff, new):
    client = staff(superuser=True)
    small, large = new(note="x"), new(basket="".join(secrets.token_hex(2000)))
    page = client.get(f"{LIST}sizes/").content.decode()
    assert page.index(large) < page.index(small)
    assert page.rindex(">basket<") < page.rindex(">note<")
    assert re.search(r">basket</th><td[^>]*>1</td><td[^>]*>\d\.\d\xa0KB<", page)


def test_the_sizes_are_said_to_be_of_all_or_of_a_sample(staff, new, monkeypatch):
    client = staff(superuser=True)
    for _ in range(59):
        new()
    assert "Of all 60 live sessions." in page(client, f"{LIST}sizes/")
    monkeypatch.setattr(sizes, "MOST_SEEN", 55)
    assert "Of 55 live sessions, chosen at random out of 60." in page(client, f"{LIST}sizes/")


def test_the_sizes_are_for_those_who_may_see_sessions(staff, new):
    assert staff("view_livesession").get(f"{LIST}sizes/").status_code == 200
    assert staff("delete_livesession").get(f"{LIST}sizes/").status_code == 403


def test_the_list_shows_sessions_users_and_sizes(staff, new):
    client = staff("view_livesession")
    anna = User.objects.create(username="anna")
    ids = [new(anna.pk, cart=["x" * 100]), new(), new(4711)]
    shown = page(client)
    assert all(session_id in shown for session_id in ids)
    for text in ("anna", "anonymous", "id 4711 (no such user)", "cart (", "4 live sessions"):
        assert text in shown


def test_spaces_of_every_kind_are_shown_as_they_are(staff, new):
    session_id = new(7, note="10\u00a0kg\u3000tea")
    shown = page(staff(superuser=True), view_of(session_id))
    assert "10\u00a0kg\u3000tea" in shown
    assert "\ufffd" not in shown


def test_the_own_session_is_marked(staff):
    assert page(staff("view_livesession")).count("this session") == 1


@pytest.mark.parametrize(
    ("codenames", "sees", "ends", "values"),
    [
        ((), False, False, False),
        (("view_livesession",), True, False, False),
        (("delete_livesession",), False, True, False),
        (("view_session_data",), False, False, False),
        (("view_livesession", "view_session_data"), True, False, True),
    ],
)
def test_each_permission_gives_exactly_what_it_says(staff, new, codenames, sees, ends, values):
    client = staff(*codenames)
    session_id = new(7, note=SECRET)
    assert client.get(LIST).status_code == (200 if sees else 403)
    detail = client.get(view_of(session_id))
    assert detail.status_code == (200 if sees else 403)
    assert (SECRET in html.unescape(detail.content.decode())) == values
    assert ("note" in detail.content.decode()) == sees
    response = client.post(view_of(session_id, "delete"), {"post": "yes"})
    assert response.status_code == (302 if ends else 403)
    assert (live.get(session_id) is None) == ends


@pytest.mark.parametrize("action", ["delete_selected", "end_for_users"])
def test_who_may_only_view_has_no_action(staff, new, action):
    client = staff("view_livesession")
    session_id = new(7)
    client.post(LIST, {"action": action, "_selected_action": [session_id], "post": "yes"})
    assert live.get(session_id)


def test_nobody_adds_or_changes_a_session(staff, new):
    client = staff(superuser=True)
    session_id = new(7)
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(view_of(session_id), {"session_id": UNKNOWN_ID}).status_code == 403
    assert live.get(session_id)


def test_sensitive_values_are_never_shown(staff, new, settings):
    settings.ELASTICACHE_SESSIONS = {"SENSITIVE_FIELDS": ["_auth_user_hash", "*token*", "iban"]}
    client = staff(superuser=True)
    session_id = new(
        7, _auth_user_hash=SECRET, API_Token=SECRET, iban=SECRET, harmless="a harmless thing"
    )
    shown = page(client, view_of(session_id))
    assert SECRET not in shown
    assert "a harmless thing" in shown
    assert shown.count("hidden</pre>") == 3


def test_no_page_holds_a_session_key(staff, engine):
    client = staff(superuser=True)
    session = engine()
    session[SESSION_KEY] = "7"
    session.save()
    keys = (session.session_key, client.session.session_key)
    for address in (LIST, view_of(session.session_id), view_of(session.session_id, "delete")):
        shown = page(client, address)
        assert not any(key in shown for key in keys)
    client.post(view_of(session.session_id, "delete"), {"post": "yes"})
    assert LogEntry.objects.get().object_id == session.session_id


def test_what_visitors_send_is_escaped(staff, new):
    client = staff(superuser=True)
    session_id = new(7, _client={"ip": "192.0.2.1", "agent": AGENT}, **{"<b>": "<i>"})
    for address in (LIST, view_of(session_id)):
        content = client.get(address).content.decode()
        assert "192.0.2.1" in content
        assert "<script>alert" not in content
        assert "<b>" not in content
        assert "<i>" not in content
        assert "\x1b" not in content


def test_a_session_is_ended_after_a_question_and_logged(staff, new):
    client = staff("view_livesession", "delete_livesession")
    session_id = new(7)
    assert session_id in page(client, view_of(session_id, "delete"))
    assert live.get(session_id)
    assert client.post(view_of(session_id, "delete"), {"post": "yes"}).status_code == 302
    assert live.get(session_id) is None
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_id) == (DELETION, session_id)


def test_ending_the_own_session_says_so_first_and_signs_out(staff):
    client = staff(superuser=True)
    own = client.session.session_id
    assert "your own, you will be signed out" in page(client, view_of(own, "delete"))
    client.post(view_of(own, "delete"), {"post": "yes"})
    assert live.get(own) is None
    assert client.get(LIST).status_code == 302


def test_selected_sessions_are_ended_and_each_is_logged(staff, new):
    client = staff(superuser=True)
    ids, kept = [new(7), new(), new(8)], new(9)
    data = {"action": "delete_selected", "_selected_action": ids}
    shown = client.post(LIST, data).content.decode()
    assert all(session_id in shown for session_id in ids)
    assert len(live.page().sessions) == 5
    client.post(LIST, {**data, "post": "yes"})
    assert all(live.get(session_id) is None for session_id in ids)
    assert live.get(kept)
    assert {entry.object_id for entry in LogEntry.objects.all()} == set(ids)


def test_everything_is_never_selected_at_once(staff, new):
    client = staff(superuser=True)
    first, kept = new(7), new(8)
    data = {"action": "delete_selected", "_selected_action": [first], "select_across": "1"}
    client.post(LIST, {**data, "post": "yes"})
    assert live.get(first) is None
    assert live.get(kept)


def test_all_sessions_of_the_selected_users_are_ended(staff, new):
    client = staff(superuser=True)
    anna, berta = (User.objects.create(username=name) for name in ("anna", "berta"))
    selected, *others = new(anna.pk), new(anna.pk), new(anna.pk)
    kept = {new(berta.pk), new()}
    data = {"action": "end_for_users", "_selected_action": [selected]}
    shown = html.unescape(client.post(LIST, data).content.decode())
    assert "These 3 sessions will be ended" in shown
    assert "anna" in shown
    assert live.get(selected)
    shown = client.post(LIST, {**data, "post": "yes"}, follow=True).content.decode()
    assert "3 sessions were ended." in shown
    assert live.for_user(anna) == []
    assert all(map(live.get, kept))
    assert {entry.object_id for entry in LogEntry.objects.all()} == {selected, *others}


def test_anonymous_sessions_have_no_users_to_end(staff, new):
    client = staff(superuser=True)
    data = {"action": "end_for_users", "_selected_action": [new()], "post": "yes"}
    assert "Nobody is signed in" in client.post(LIST, data, follow=True).content.decode()


@pytest.mark.parametrize("action", ["delete_selected", "end_for_users"])
@pytest.mark.parametrize("answer", [{}, {"post": "yes"}])
def test_a_selection_that_has_ended_is_told_and_not_asked_about(staff, new, action, answer):
    client = staff(superuser=True)
    gone = [new(7), new(8)]
    live.end_all(gone)
    data = {"action": action, "_selected_action": gone, **answer}
    response = client.post(LIST, data, follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    assert "There is no such session; it may have ended." in response.content.decode()


def test_a_session_that_ended_between_list_and_click_is_no_error(staff, new):
    client = staff(superuser=True)
    session_id, other = new(7), new(8)
    live.end(session_id)
    assert client.get(view_of(session_id)).status_code == 302
    assert client.post(view_of(session_id, "delete"), {"post": "yes"}).status_code == 302
    data = {"action": "delete_selected", "_selected_action": [session_id, other], "post": "yes"}
    assert client.post(LIST, data).status_code == 302
    assert live.get(other) is None


@pytest.mark.parametrize("pk", [UNKNOWN_ID, "x", "A" * 23, "..%2F", "%00", "é" * 22])
def test_an_id_that_is_none_is_no_error(staff, engine, pk):
    client = staff(superuser=True)
    for address in (view_of(pk), view_of(pk, "delete"), view_of(pk, "history")):
        assert client.get(address).status_code in (302, 404)


def test_a_session_key_in_the_address_is_no_session_and_is_not_echoed(staff, engine):
    client = staff(superuser=True)
    session = engine()
    session["a"] = 1
    session.save()
    for view in ("change", "delete", "history"):
        response = client.get(view_of(session.session_key, view), follow=True)
        assert response.redirect_chain == [("/admin/", 302)]
        assert session.session_key not in response.content.decode()
    assert live.get(session.session_id)


def test_an_id_of_another_prefix_is_no_session(staff, new, settings):
    options = settings.ELASTICACHE_SESSIONS
    settings.ELASTICACHE_SESSIONS = {**options, "KEY_PREFIX": "another"}
    session_id = new(7)
    hash_key = get_configuration().naming.from_sid(session_id).hash_key
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        pytest.skip("rows have no prefix: a database of its own parts them")
    settings.ELASTICACHE_SESSIONS = options
    client = staff(superuser=True)
    for pk in (session_id, hash_key):
        assert client.get(view_of(pk)).status_code == 302
        assert client.post(view_of(pk, "delete"), {"post": "yes"}).status_code == 302
    settings.ELASTICACHE_SESSIONS = {**options, "KEY_PREFIX": "another"}
    assert live.get(session_id)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("anna", {"hers"}),
        ("ANNA-ID", {"hers"}),
        ("SID", {"his"}),
        ("nobody", set()),
        ("%", set()),
    ],
)
def test_search_finds_users_and_ids(staff, new, query, expected):
    client = staff(superuser=True)
    anna = User.objects.create(username="anna")
    ids = {"hers": new(anna.pk), "his": new(4711), "none": new()}
    query = {"ANNA-ID": str(anna.pk), "SID": ids["his"]}.get(query, query)
    shown = page(client, q=query)
    assert {name for name, session_id in ids.items() if view_of(session_id) in shown} == expected


def test_search_for_a_session_key_finds_nothing(staff, engine):
    client = staff(superuser=True)
    session = engine()
    session[SESSION_KEY] = "7"
    session.save()
    assert view_of(session.session_id) not in page(client, q=session.session_key)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("{}", "********"),
        (" {} ", " ******** "),
        ("sessionid={}; theme=dark", "sessionid=********; theme=dark"),
        ("sessionid%3d{}", "sessionid%********"),
        ("{0}{0}", "********"),
    ],
)
def test_a_session_key_that_is_searched_for_is_not_echoed(staff, engine, form, expected):
    client = staff(superuser=True)
    session = engine()
    session[SESSION_KEY] = "7"
    session.save()
    term = form.format(session.session_key)
    shown = page(client, q=term, whose="signed-in")
    assert session.session_key not in shown
    assert listed(shown) == []
    assert f'value="{expected}"' in shown
    assert "Session keys find nothing here and are not shown." in shown


@pytest.mark.parametrize("name", ["whose", "after", "before", "p"])
def test_a_session_key_in_the_query_is_not_echoed(staff, new, name):
    client = staff(superuser=True)
    new()
    session_key = client.session.session_key
    assert session_key not in page(client, **{name: session_key})


def test_a_session_key_among_preserved_filters_is_not_echoed(staff, new):
    client = staff(superuser=True)
    session_id, session_key = new(), client.session.session_key
    for inner in (f"q={session_key}&whose=anonymous", f"q=sessionid%3d{session_key}"):
        for view in ("change", "delete", "history"):
            shown = page(client, view_of(session_id, view), _changelist_filters=inner)
            assert session_key not in shown
    shown = page(client, view_of(session_id), _changelist_filters="q=green tea&whose=anonymous")
    assert "q%3Dgreen+tea%26whose%3Danonymous" in shown
    assert "Session keys" not in shown


def test_an_action_does_not_lead_back_to_a_session_key(staff, new):
    client = staff(superuser=True)
    new()
    session_key = client.session.session_key
    response = client.post(f"{LIST}?q={session_key}", {"action": "delete_selected", "index": "0"})
    assert session_key not in response.headers.get("Location", "")
    assert session_key not in response.content.decode()


def test_a_user_whose_name_looks_like_a_session_key_is_found_and_shown(staff, new):
    client = staff(superuser=True)
    name = secrets.token_hex(16)
    session_id = new(User.objects.create(username=name).pk)
    shown = page(client, q=name)
    assert listed(shown) == [session_id]
    assert f'value="{name}"' in shown
    assert f"q%3D{name}" in shown


@pytest.mark.parametrize("whose", ["signed-in", "anonymous", "mine", "forged"])
def test_the_list_is_filtered(staff, new, whose):
    client = staff(superuser=True)
    own = client.session.session_id
    user, nobody = new(7), new()
    expected = {"signed-in": {own, user}, "anonymous": {nobody}, "mine": {own}}
    found = set(listed(page(client, whose=whose)))
    assert found == expected.get(whose, {own, user, nobody})


@pytest.mark.parametrize(
    ("whose", "query", "expected"),
    [
        ("mine", "anna", set()),
        ("mine", "OWN-SID", {"own"}),
        ("mine", "SID", set()),
        ("anonymous", "anna", set()),
        ("anonymous", "SID", set()),
        ("signed-in", "anna", {"hers"}),
        ("signed-in", "SID", {"hers"}),
    ],
)
def test_the_filter_and_the_search_hold_together(staff, new, whose, query, expected):
    client = staff(superuser=True)
    anna = User.objects.create(username="anna")
    ids = {"own": client.session.session_id, "hers": new(anna.pk), "nobody's": new()}
    query = {"SID": ids["hers"], "OWN-SID": ids["own"]}.get(query, query)
    shown = page(client, whose=whose, q=query)
    assert set(listed(shown)) == {ids[name] for name in expected}
    assert f"{len(expected)} live session" in shown


@pytest.mark.parametrize(
    "query", ["whose=forged", "after=forged", "before=forged", "whose=forged&whose=signed-in"]
)
def test_what_is_no_choice_and_no_place_is_not_repeated(staff, new, query):
    client = staff(superuser=True)
    for _ in range(101):
        new(7)
    shown = page(client, f"{LIST}?{query}")
    older = re.search(r'href="(\?[^"]+)" rel="next"', shown)
    for repeated in (*search_form(shown).values(), older[1]):
        assert "forged" not in repeated


def test_what_the_filter_hides_is_not_ended(staff, new):
    client = staff(superuser=True)
    anonymous, signed_in = new(), new(7)
    data = {
        "action": "delete_selected",
        "_selected_action": [anonymous, signed_in],
        "post": "yes",
    }
    client.post(f"{LIST}?whose=anonymous", data)
    assert live.get(anonymous) is None
    assert live.get(signed_in)


def test_pages_go_older_and_newer(staff, engine):
    client = staff(superuser=True)
    for age in range(1000, 1230):
        session = engine()
        session.set_expiry(age)
        session.save()
    seen = []
    address = LIST
    while address:
        shown = page(client, address)
        seen.append(listed(shown))
        older = re.search(r'href="(\?after=[^"]+)" rel="next"', shown)
        address = LIST + older[1] if older else ""
    assert [len(ids) for ids in seen] == [100, 100, 31]
    assert len({session_id for ids in seen for session_id in ids}) == 231
    newer = re.search(r'href="(\?before=[^"]+)" rel="prev"', shown)
    assert listed(page(client, LIST + newer[1])) == seen[1]


def test_a_search_from_a_later_page_finds_what_is_on_an_earlier_one(staff, new):
    client = staff(superuser=True)
    session_id = new(4711, _session_expiry=10_000_000)
    for _ in range(101):
        new()
    older = re.search(r'href="(\?after=[^"]+)" rel="next"', page(client))
    form = search_form(page(client, LIST + older[1]))
    assert listed(page(client, **{**form, "q": "4711"})) == [session_id]


@pytest.mark.parametrize("place", ["after", "before"])
def test_a_forged_place_shows_the_first_page(staff, new, place):
    client = staff(superuser=True)
    session_id = new(7)
    shown = page(client, LIST, **{place: "forged"})
    assert session_id in shown
    assert "That page does not exist" in shown


@pytest.mark.parametrize("query", ["", "7"])
@pytest.mark.parametrize("place", ["after", "before"])
def test_a_page_whose_sessions_have_gone_is_the_first_one(staff, new, place, query):
    client = staff(superuser=True)
    session_id = new(7)
    expires = {"after": "0", "before": "999999999999"}[place]
    shown = page(client, q=query, **{place: f"a{expires}.{UNKNOWN_ID}"})
    assert session_id in listed(shown)
    assert "That page does not exist" in shown


@pytest.mark.parametrize(
    "query", ["?nonsense=1", "?session_id=x", "?e=1", "?p=99", "?all=", "?o=3"]
)
def test_an_odd_address_is_no_error(staff, engine, query):
    client = staff(superuser=True)
    assert client.get(LIST + query, follow=True).status_code == 200


def test_the_pages_work_where_numbers_have_commas(staff, new, settings):
    settings.LANGUAGE_CODE = "de"
    settings.USE_THOUSAND_SEPARATOR = True
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    client = staff(superuser=True)
    session_id = new(1234, cart=secrets.token_hex(2000))
    for _ in range(101):
        new(4711)
    shown = page(client)
    assert "1234" in page(client, q="1234")
    older = re.search(r'href="(\?after=[^"]+)" rel="next"', shown)
    assert len(listed(page(client, LIST + older[1]))) == 3
    detail = page(client, view_of(session_id))
    assert re.search(r"\d,\d\sK", detail)
    assert client.post(view_of(session_id, "delete"), {"post": "yes"}).status_code == 302
    assert live.get(session_id) is None


def test_selected_sessions_are_looked_up_in_one_round_trip(relay, new_session, settings):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 4}
    ids = [new_session(a=n).session_id for n in range(100)]
    live.get_all(ids)
    with relay.recording() as tape:
        assert {session.pk for session in LiveSession.objects.filter(pk__in=ids)} == set(ids)
    assert tape.round_trips == 1


def test_a_user_with_thousands_of_sessions_is_paged(staff, new):
    client = staff(superuser=True)
    for _ in range(250):
        new(4711)
    shown = page(client, q="4711")
    assert "250 live sessions" in shown
    assert len(listed(shown)) == 100
    older = re.search(r'href="(\?after=[^"]+)" rel="next"', shown)
    assert "q=4711" in older[1]
    assert len(listed(page(client, LIST + older[1]))) == 100


@pytest.mark.parametrize(
    "address", [LIST, *(view_of(UNKNOWN_ID, view) for view in ("change", "delete", "history"))]
)
def test_a_store_that_is_away_is_told_and_is_not_empty(staff, monkeypatch, address):
    client = staff(superuser=True)

    def away(*args, **kwargs):
        raise SessionStoreUnavailable("The session store did not serve.")

    for name in ("page", "get", "get_all", "count", "for_user", "end"):
        monkeypatch.setattr(live, name, away)
    shown = page(client, address, status=503)
    assert "does not serve" in shown
    assert "0 live sessions" not in shown


@pytest.mark.parametrize(
    "address",
    [
        LIST,
        f"{LIST}dashboard/",
        f"{LIST}sizes/",
        *(view_of(UNKNOWN_ID, view) for view in ("change", "delete", "history")),
    ],
)
def test_without_the_store_it_is_503_under_django_s_middleware_too(staff, settings, address):
    django_s = "django.contrib.sessions.middleware.SessionMiddleware"
    settings.MIDDLEWARE = [django_s, *settings.MIDDLEWARE[1:]]
    client = staff(superuser=True)
    take_stores_away(settings)
    response = client.get(address)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert settings.SESSION_COOKIE_NAME not in response.cookies


@pytest.mark.parametrize("action", ["delete_selected", "end_for_users"])
def test_what_a_store_that_is_lost_did_not_end_is_not_logged(staff, new, monkeypatch, action):
    client = staff(superuser=True)
    session_id = new(7)

    def lose(*args, **kwargs):
        raise SessionStoreUnavailable("The session store did not serve.")

    data = {"action": action, "_selected_action": [session_id], "post": "yes"}
    with monkeypatch.context() as lost:
        lost.setattr(live, "end_all", lose)
        assert client.post(LIST, data).status_code == 503
    assert live.get(session_id)
    assert not LogEntry.objects.exists()


def test_one_session_that_a_lost_store_did_not_end_is_not_logged(staff, new, monkeypatch):
    client = staff(superuser=True)
    session_id = new(7)

    def lose(*args, **kwargs):
        raise SessionStoreUnavailable("The session store did not serve.")

    with monkeypatch.context() as lost:
        lost.setattr(live, "end", lose)
        assert client.post(view_of(session_id, "delete"), {"post": "yes"}).status_code == 503
    assert not LogEntry.objects.exists()


def test_get_changes_nothing(staff, new):
    client = staff(superuser=True)
    session_id = new(7)
    client.get(view_of(session_id, "delete"), {"post": "yes"})
    client.get(LIST, {"action": "delete_selected", "_selected_action": session_id, "post": "yes"})
    assert live.get(session_id)


def test_a_post_without_the_csrf_token_changes_nothing(staff, new, engine):
    client = staff(superuser=True)
    session_id = new(7)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(view_of(session_id, "delete"), {"post": "yes"}).status_code == 403
    assert live.get(session_id)


def test_pages_have_no_inline_script_or_style(staff, new):
    client = staff(superuser=True)
    session_id = new(7, cart=[1])
    selection = {"action": "end_for_users", "_selected_action": [session_id]}
    pages = [client.get(address) for address in (LIST, view_of(session_id))]
    for response in (*pages, client.post(LIST, selection)):
        content = response.content.decode()
        assert not re.search(r"\sstyle=|\son\w+=|<style", content)
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", content)


def test_a_page_of_the_list_costs_few_queries(staff, new, settings, django_assert_max_num_queries):
    client = staff(superuser=True)
    for user in range(30):
        new(user)
    with django_assert_max_num_queries(4):
        page(client)


@pytest.mark.parametrize(
    "question",
    [
        lambda sessions: sessions.filter(created=1),
        lambda sessions: sessions.values("pk"),
        lambda sessions: sessions.exclude(pk=1),
        lambda sessions: sessions.delete(),
        lambda sessions: sessions.update(saved=1),
        lambda sessions: list(sessions),
        lambda sessions: sessions.aggregate(),
    ],
)
def test_what_cannot_be_asked_is_refused(engine, question):
    with pytest.raises(NotSupportedError):
        question(LiveSession.objects.all())


def test_the_model_has_no_table(engine):
    alias = get_configuration().options.fallback_database
    assert LiveSession._meta.db_table not in connections[alias].introspection.table_names()
