"""Every behaviour that Django promises of a session, through the sync and the async methods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import django
import pytest
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.contrib.sessions.serializers import JSONSerializer
from django.core import signing
from django.core.management import call_command
from django.utils import timezone

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import (
    SessionStore as CachedDatabaseSessionStore,
)
from django_elasticache_sessions.conf import get_configuration

from ..contents import stored_keys
from ..servers.databases import VENDORS
from .face import Face

Open = Callable[..., Face]
TWO_WEEKS = 14 * 86_400
UNKNOWN_KEY = "a-key-that-names-no-session-at-all"


@pytest.fixture(params=["cache", *VENDORS])
def engine(request, valkey) -> Iterator[type[SessionBase]]:
    """The session store of the `cache` engine, and of `cached_db` on each database there is."""
    if request.param == "cache":
        yield SessionStore
        return
    request.getfixturevalue("fallback_database")(request.param)
    yield CachedDatabaseSessionStore


@pytest.fixture(params=["sync", "async"])
def open_session(request, engine) -> Iterator[Open]:
    """Open a session by its key, or a new one; its methods are called in the parameter's way."""
    if request.param == "sync":
        yield lambda session_key=None, store=engine: Face(store(session_key), None)
        return
    with asyncio.Runner() as runner:
        yield lambda session_key=None, store=engine: Face(store(session_key), runner)


@pytest.fixture
def session(open_session: Open) -> Face:
    """A new session, not saved."""
    return open_session()


@pytest.fixture
def saved(open_session: Open) -> Face:
    """A saved session with `{"a": 1, "b": 2}`."""
    session = open_session()
    session.update({"a": 1, "b": 2})
    session.save()
    session.pretend_untouched()
    return session


@pytest.fixture(params=[True, False], ids=["USE_TZ", "no USE_TZ"])
def time_zones(request, settings) -> bool:
    """Dates with and without time zones."""
    settings.USE_TZ = request.param
    return request.param


def nothing_is_left(valkey) -> bool:
    """Tell whether the store holds nothing of any session; `cached_db` leaves a mark of an end."""
    return all(valkey.hgetall(key) == {b"~": b"x p"} for key in stored_keys(valkey))


def stored_ttl(valkey, session: Face) -> int:
    return valkey.ttl(get_configuration().naming.session(session.session_key).hash_key)


class TestANewSession:
    def test_is_neither_accessed_nor_modified(self, session):
        assert session.touched == ""

    def test_has_no_session_key(self, session):
        assert session.session_key is None

    def test_is_empty(self, session):
        assert session.is_empty()

    def test_is_no_longer_empty_with_data_in_it(self, session):
        session.set("a", 1)
        assert not session.is_empty()

    def test_is_stored_by_nothing_but_a_save(self, session, valkey):
        session.get("a")
        session.set("a", 1)
        session.set_expiry(10)
        session.get_expiry_age()
        assert nothing_is_left(valkey)

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="sessions have a truth since Django 6.1")
    def test_is_false_until_it_holds_data(self, session):
        assert not session.session
        session.set("a", 1)
        assert session.session


class TestData:
    def test_get_of_a_missing_key_gives_none(self, session):
        assert session.get("a") is None

    def test_get_of_a_missing_key_gives_the_default(self, session):
        assert session.get("a", "default") == "default"

    def test_get_marks_the_session_as_accessed_only(self, session):
        session.get("a")
        assert session.touched == "accessed"

    def test_a_value_that_was_set_is_read_back(self, session):
        session.set("a", 1)
        assert session.get("a") == 1

    def test_setting_marks_the_session_as_modified(self, session):
        session.set("a", 1)
        assert session.touched == "accessed modified"

    def test_pop_returns_the_value_and_removes_it(self, saved):
        assert saved.pop("a") == 1
        assert not saved.has_key("a")

    def test_pop_marks_the_session_as_modified(self, saved):
        saved.pop("a")
        assert saved.touched == "accessed modified"

    def test_pop_of_a_missing_key_gives_the_default_and_modifies_nothing(self, session):
        assert session.pop("a", 7) == 7
        assert session.touched == "accessed"

    def test_the_default_of_pop_may_be_named(self, session):
        assert session.pop("a", default=None) is None
        assert session.touched == "accessed"

    def test_pop_of_a_missing_key_without_a_default_is_a_key_error(self, session):
        with pytest.raises(KeyError):
            session.pop("a")

    def test_a_popped_key_is_gone_after_a_save(self, saved, open_session):
        saved.pop("a")
        saved.save()
        assert open_session(saved.session_key).content() == {"b": 2}

    def test_setdefault_sets_a_missing_key(self, session):
        assert session.setdefault("a", 1) == 1
        assert session.get("a") == 1
        assert session.touched == "accessed modified"

    def test_setdefault_leaves_a_key_that_is_there(self, saved):
        assert saved.setdefault("a", 9) == 1
        assert saved.get("a") == 1
        assert saved.touched == "accessed"

    def test_update_sets_every_pair(self, saved):
        saved.update({"a": 9, "c": 3})
        assert saved.content() == {"a": 9, "b": 2, "c": 3}
        assert saved.touched == "accessed modified"

    def test_has_key_tells_what_is_there_and_modifies_nothing(self, saved):
        assert saved.has_key("a") is True
        assert saved.has_key("z") is False
        assert saved.touched == "accessed"

    @pytest.mark.parametrize(
        ("view", "expected"),
        [("keys", ["a", "b"]), ("values", [1, 2]), ("items", [("a", 1), ("b", 2)])],
    )
    def test_a_view_lists_everything_and_modifies_nothing(
        self, saved, open_session, view, expected
    ):
        for session in (saved, open_session(saved.session_key)):
            assert sorted(getattr(session, view)()) == expected
            assert session.touched == "accessed"

    def test_the_views_of_a_new_session_are_empty(self, session):
        assert [*session.keys(), *session.values(), *session.items()] == []

    def test_clear_empties_the_session_without_loading_it(self, saved, open_session):
        request = open_session(saved.session_key)
        request.clear()
        assert request.touched == "accessed modified"
        assert request.content() == {}

    def test_what_was_cleared_is_gone_after_a_save(self, saved, open_session):
        request = open_session(saved.session_key)
        request.clear()
        request.save()
        assert open_session(saved.session_key).content() == {}
        assert open_session().exists(saved.session_key)

    def test_the_test_cookie_works_once_it_is_set(self, session):
        assert session.test_cookie_worked() is False
        session.set_test_cookie()
        assert session.test_cookie_worked() is True

    def test_the_test_cookie_can_be_deleted(self, session):
        session.set_test_cookie()
        session.delete_test_cookie()
        assert not session.has_key(SessionBase.TEST_COOKIE_NAME)


class TestIndexing:
    """Square brackets and `in`, which have no async form."""

    def test_a_missing_key_is_a_key_error(self, valkey):
        with pytest.raises(KeyError):
            SessionStore()["a"]

    def test_deleting_a_missing_key_is_a_key_error_and_modifies_nothing(self, valkey):
        session = SessionStore()
        with pytest.raises(KeyError):
            del session["a"]
        assert session.modified is False

    def test_a_deleted_key_is_gone_after_a_save(self, new_session):
        session = SessionStore(new_session(a=1, b=2).session_key)
        del session["a"]
        assert session.modified is True
        session.save()
        assert dict(SessionStore(session.session_key).items()) == {"b": 2}

    def test_in_modifies_nothing(self, new_session):
        session = SessionStore(new_session(a=1).session_key)
        assert "a" in session
        assert "z" not in session
        assert (session.accessed, session.modified) == (True, False)


class TestWhatIsStored:
    """Sessions come back as `SESSION_SERIALIZER`, JSON, would give them back in one piece."""

    @pytest.mark.parametrize(
        "data",
        [
            {7: "int", 2.5: "float", True: "bool", None: "none", "text": "str"},
            {1: "first", "1": "second"},
            {"1": "first", 1: "second"},
            {"": "an empty name", " ": "a space", "~v": "metadata's name", "~~v": "twice"},
            {"ключ": "значение", "\U0001f511": "\U0001f375", "\ud800": "\udfff"},
            {"nested": {1: {"deep": [1, 2.5, None, True, {"x": []}]}}, "tuple": (1, (2,))},
            {"none": None, "false": False, "empty": "", "list": [], "dict": {}},
            {"big": 2**200, "small": -(2**63), "real": 1e300, "endless": float("inf")},
            {"nul": "\x00\x01", "line": "a\r\nb", "quotes": "\"'\\", "long": "x" * 100_000},
        ],
        ids=lambda data: next(iter(data)) and str(next(iter(data))).encode("ascii", "replace"),
    )
    def test_data_comes_back_as_json_gives_it_back(self, session, open_session, data):
        session.update(data)
        session.save()
        expected = JSONSerializer().loads(JSONSerializer().dumps(data))
        assert open_session(session.session_key).content() == expected

    def test_a_key_that_is_no_string_is_itself_until_the_session_is_loaded_again(
        self, session, open_session
    ):
        session.set(1, "one")
        session.save()
        assert session.get(1) == "one"
        request = open_session(session.session_key)
        assert (request.get(1), request.get("1")) == (None, "one")

    def test_a_key_set_as_a_number_replaces_the_one_stored_as_text(self, session, open_session):
        session.set("1", "old")
        session.save()
        request = open_session(session.session_key)
        request.get("1")
        request.set(1, "new")
        request.save()
        assert open_session(session.session_key).content() == {"1": "new"}

    @pytest.mark.parametrize("key", [(1, 2), b"bytes"])
    def test_a_key_that_json_objects_cannot_have_is_a_type_error(self, session, valkey, key):
        session.set(key, 1)
        with pytest.raises(TypeError):
            session.save()
        assert nothing_is_left(valkey)

    def test_a_value_that_json_cannot_hold_is_a_type_error(self, session, valkey):
        session.set("a", object())
        with pytest.raises(TypeError):
            session.save()
        assert nothing_is_left(valkey)

    def test_the_serialiser_is_the_one_in_the_settings(self, settings, open_session):
        settings.SESSION_SERIALIZER = f"{__name__}.{Mirrored.__name__}"
        session = open_session()
        session.set("a", [1, 2])
        session.save()
        assert open_session(session.session_key).get("a") == [1, 2]
        settings.SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"
        assert open_session(session.session_key).get("a") != [1, 2]


class Mirrored(JSONSerializer):
    """JSON backwards."""

    def dumps(self, obj):
        return super().dumps(obj)[::-1]

    def loads(self, data):
        return super().loads(data[::-1])


class TestSave:
    def test_gives_a_new_session_a_key_under_which_it_exists(self, session, open_session):
        session.save()
        assert open_session().exists(session.session_key) is True

    def test_makes_keys_that_fit_into_djangos_table(self, session):
        session.save()
        assert len(session.session_key) == 40
        assert session.session_key.isalnum()

    def test_keeps_the_data_at_hand(self, session):
        session.set("a", 1)
        session.save()
        assert session.get("a") == 1

    def test_stores_what_another_request_reads(self, session, open_session):
        session.set("a", 1)
        session.save()
        assert open_session(session.session_key).get("a") == 1

    def test_keeps_the_session_key(self, saved):
        before = saved.session_key
        saved.set("a", 9)
        saved.save()
        assert saved.session_key == before

    def test_of_a_changed_session_stores_the_change(self, saved, open_session):
        request = open_session(saved.session_key)
        request.set("a", 9)
        request.save()
        assert open_session(saved.session_key).content() == {"a": 9, "b": 2}

    def test_without_a_change_puts_off_the_end(self, saved, open_session, valkey):
        valkey.expire(get_configuration().naming.session(saved.session_key).hash_key, 100)
        request = open_session(saved.session_key)
        request.save()
        assert stored_ttl(valkey, request) == pytest.approx(TWO_WEEKS, abs=5)
        assert open_session(saved.session_key).content() == {"a": 1, "b": 2}

    def test_that_must_create_stores_a_new_session(self, session, open_session):
        session.set("a", 1)
        session.save(must_create=True)
        assert open_session(session.session_key).get("a") == 1

    def test_that_must_create_refuses_a_key_that_is_taken(self, saved, open_session):
        request = open_session(saved.session_key)
        with pytest.raises(CreateError):
            request.save(must_create=True)
        assert open_session(saved.session_key).content() == {"a": 1, "b": 2}

    def test_after_a_logout_elsewhere_is_an_update_error_and_resurrects_nothing(
        self, saved, open_session
    ):
        open_session(saved.session_key).delete()
        saved.set("a", 9)
        with pytest.raises(UpdateError):
            saved.save()
        assert open_session().exists(saved.session_key) is False
        assert saved.load() == {}

    def test_of_an_unknown_session_key_makes_a_new_one(self, open_session):
        session = open_session(UNKNOWN_KEY)
        session.set("a", 1)
        session.save()
        assert session.session_key != UNKNOWN_KEY
        assert open_session().exists(UNKNOWN_KEY) is False
        assert open_session(session.session_key).get("a") == 1

    def test_of_an_unknown_session_that_was_cleared_unseen_is_an_update_error(
        self, open_session, valkey
    ):
        session = open_session(UNKNOWN_KEY)
        session.clear()
        with pytest.raises(UpdateError):
            session.save()
        assert nothing_is_left(valkey)

    def test_of_an_invalid_session_key_makes_a_new_one(self, open_session):
        session = open_session("1")
        session.save()
        assert len(session.session_key) == 40
        assert session.get("a") is None


class TestCreate:
    def test_stores_an_empty_session_under_a_new_key(self, session, open_session):
        session.create()
        assert open_session().exists(session.session_key) is True
        assert open_session(session.session_key).content() == {}

    def test_marks_the_session_as_modified(self, session):
        session.create()
        assert session.modified is True

    def test_gives_another_key_each_time(self, session):
        keys = set()
        for _ in range(5):
            session.create()
            keys.add(session.session_key)
        assert len(keys) == 5

    def test_can_be_followed_by_a_save(self, session, open_session):
        session.create()
        before = session.session_key
        session.set("a", 1)
        session.save()
        assert session.session_key == before
        assert open_session(before).get("a") == 1

    def test_takes_the_data_along(self, session, open_session):
        session.set("a", 1)
        session.create()
        assert open_session(session.session_key).get("a") == 1


class TestLoad:
    def test_gives_the_stored_data(self, saved, open_session):
        assert open_session(saved.session_key).load() == {"a": 1, "b": 2}

    def test_gives_something_that_dict_takes(self, saved, open_session):
        assert dict(open_session(saved.session_key).load()) == {"a": 1, "b": 2}

    def test_gives_what_encode_takes(self, saved, open_session):
        request = open_session(saved.session_key)
        assert request.decode(request.encode(request.load())) == {"a": 1, "b": 2}

    def test_of_an_unknown_session_key_makes_no_record_and_drops_the_key(
        self, open_session, valkey
    ):
        session = open_session(UNKNOWN_KEY)
        assert session.load() == {}
        assert session.session_key is None
        assert nothing_is_left(valkey)

    def test_of_an_overlong_session_key_gives_nothing(self, open_session):
        assert open_session("0123456789" * 1000).load() == {}

    def test_happens_at_the_first_access_only(self, saved, open_session, valkey):
        request = open_session(saved.session_key)
        assert request.get("a") == 1
        valkey.flushall()
        assert request.get("b") == 2


class TestExists:
    def test_is_false_for_none(self, session):
        assert session.exists(None) is False

    @pytest.mark.parametrize("session_key", [UNKNOWN_KEY, "", "1", "*", "long" * 1000])
    def test_is_false_for_a_key_that_names_no_session(self, saved, session_key):
        assert saved.exists(session_key) is False

    def test_does_not_access_the_session(self, saved, open_session):
        request = open_session(saved.session_key)
        request.exists(saved.session_key)
        assert request.touched == ""


class TestDelete:
    def test_ends_the_session(self, saved, open_session):
        session_key = saved.session_key
        saved.delete()
        assert open_session().exists(session_key) is False

    def test_ends_another_session_by_its_key(self, saved, open_session):
        other = open_session()
        other.save()
        saved.delete(other.session_key)
        assert open_session().exists(other.session_key) is False
        assert open_session().exists(saved.session_key) is True

    def test_leaves_nothing_in_the_store(self, saved, valkey):
        saved.delete()
        assert nothing_is_left(valkey)

    @pytest.mark.parametrize("session_key", [None, UNKNOWN_KEY, "", "1"])
    def test_of_what_is_not_there_is_harmless(self, session, valkey, session_key):
        session.delete(session_key)
        session.delete(session_key)
        assert nothing_is_left(valkey)


class TestFlush:
    def test_ends_the_session_and_forgets_key_and_data(self, saved, open_session):
        session_key = saved.session_key
        saved.flush()
        assert open_session().exists(session_key) is False
        assert saved.session_key is None
        assert saved.content() == {}

    def test_marks_the_session_as_modified_and_leaves_it_empty(self, saved):
        saved.flush()
        assert saved.touched == "accessed modified"
        assert saved.is_empty()

    def test_is_followed_by_a_session_of_another_key(self, saved, open_session):
        before = saved.session_key
        saved.flush()
        saved.set("c", 3)
        saved.save()
        assert saved.session_key != before
        assert open_session(saved.session_key).content() == {"c": 3}

    def test_of_a_new_session_is_harmless(self, session, valkey):
        session.flush()
        assert session.session_key is None
        assert nothing_is_left(valkey)


class TestCycleKey:
    def test_moves_the_data_to_a_new_key(self, saved, open_session):
        before = saved.session_key
        saved.cycle_key()
        assert saved.session_key != before
        assert saved.content() == {"a": 1, "b": 2}
        assert open_session(saved.session_key).content() == {"a": 1, "b": 2}

    def test_ends_the_old_key(self, saved, open_session):
        before = saved.session_key
        saved.cycle_key()
        assert open_session().exists(before) is False
        assert open_session(before).content() == {}

    def test_leaves_the_old_key_no_power_over_the_session(self, saved, open_session):
        before = saved.session_key
        late = open_session(before)
        assert late.get("a") == 1
        saved.cycle_key()
        late.delete()
        open_session().delete(before)
        open_session(before).flush()
        with pytest.raises(UpdateError):
            late.set("a", 9) or late.save()
        assert open_session(saved.session_key).content() == {"a": 1, "b": 2}

    def test_keeps_the_id_that_staff_and_logs_name_the_session_by(self, saved, open_session):
        before = saved.session_id
        saved.cycle_key()
        assert saved.session_id == before
        assert open_session(saved.session_key).session_id == before

    def test_marks_the_session_as_modified(self, saved):
        saved.cycle_key()
        assert saved.modified is True

    def test_works_before_anything_was_loaded(self, saved, open_session):
        request = open_session(saved.session_key)
        request.cycle_key()
        assert open_session(request.session_key).content() == {"a": 1, "b": 2}

    def test_takes_unsaved_changes_along(self, saved, open_session):
        saved.set("c", 3)
        saved.pop("a")
        saved.cycle_key()
        assert open_session(saved.session_key).content() == {"b": 2, "c": 3}

    def test_of_a_new_session_stores_it(self, session, open_session):
        session.set("a", 1)
        session.cycle_key()
        assert open_session(session.session_key).get("a") == 1

    def test_of_an_unknown_session_key_adopts_neither_it_nor_a_record(self, open_session):
        session = open_session(UNKNOWN_KEY)
        session.cycle_key()
        assert session.session_key != UNKNOWN_KEY
        assert open_session().exists(UNKNOWN_KEY) is False


class TestSessionKey:
    @pytest.mark.parametrize("session_key", ["", "1", "1" * 29, None])
    def test_an_empty_or_short_one_is_none(self, session_key):
        assert SessionStore(session_key).session_key is None

    def test_thirty_characters_are_enough(self):
        assert SessionStore("1" * 30).session_key == "1" * 30

    def test_cannot_be_set(self):
        with pytest.raises(AttributeError):
            SessionStore().session_key = UNKNOWN_KEY

    def test_alone_makes_a_session_that_is_not_empty(self):
        assert not SessionStore(UNKNOWN_KEY).is_empty()

    def test_is_asked_for_without_accessing_the_session(self):
        session = SessionStore(UNKNOWN_KEY)
        assert session.session_key
        assert not session.is_empty()
        assert session.accessed is False


@pytest.mark.usefixtures("time_zones")
class TestExpiry:
    def test_is_the_cookies_age_by_default(self, session, settings):
        settings.SESSION_COOKIE_AGE = 1234
        assert session.get_expiry_age() == 1234

    def test_of_zero_is_the_cookies_age(self, session):
        session.set_expiry(0)
        assert session.get_expiry_age() == TWO_WEEKS

    def test_in_seconds_counts_from_the_last_modification(self, session):
        modification = timezone.now() - timedelta(seconds=3)
        session.set_expiry(10)
        assert session.get_expiry_age(modification=modification) == 10
        assert session.get_expiry_date(modification=modification) == modification + timedelta(
            seconds=10
        )

    def test_as_a_timedelta_counts_from_now(self, session, monkeypatch):
        now = timezone.now()
        monkeypatch.setattr(timezone, "now", lambda: now)
        session.set_expiry(timedelta(hours=1))
        assert session.get_expiry_age() == 3600
        assert session.get_expiry_date() == now + timedelta(hours=1)

    def test_as_a_date_is_that_date(self, session):
        date = timezone.now() + timedelta(hours=1)
        session.set_expiry(date)
        assert session.get_expiry_date() == date
        assert session.get_expiry_age(modification=date - timedelta(seconds=10)) == 10

    def test_as_a_naive_date_is_of_the_projects_time_zone(
        self, saved, settings, time_zones, valkey
    ):
        settings.TIME_ZONE = "America/New_York"
        date = datetime.now(ZoneInfo("America/New_York")) + timedelta(hours=1)
        saved.set_expiry(date.replace(tzinfo=None))
        assert saved.get_expiry_age() == pytest.approx(3600, abs=5)
        expected = date if time_zones else date.replace(tzinfo=None)
        assert saved.get_expiry_date() == expected
        saved.save()
        assert stored_ttl(valkey, saved) == pytest.approx(3600, abs=5)

    def test_as_a_date_with_a_time_zone_is_that_date_in_projects_without(
        self, saved, settings, time_zones, valkey
    ):
        date = datetime.now(ZoneInfo("Asia/Tokyo")) + timedelta(hours=1)
        saved.set_expiry(date)
        assert saved.get_expiry_age() == pytest.approx(3600, abs=5)
        saved.save()
        assert stored_ttl(valkey, saved) == pytest.approx(3600, abs=5)

    def test_of_none_goes_back_to_the_default(self, session):
        session.set_expiry(None)
        session.set_expiry(10)
        session.set_expiry(None)
        assert session.get_expiry_age() == TWO_WEEKS

    @pytest.mark.parametrize("expiry", [0, None])
    def test_that_is_passed_in_is_used_without_loading(self, open_session, expiry):
        session = open_session(UNKNOWN_KEY)
        assert session.get_expiry_age(expiry=expiry) == TWO_WEEKS
        now = timezone.now()
        date = session.get_expiry_date(modification=now, expiry=expiry)
        assert date == now + timedelta(seconds=TWO_WEEKS)
        assert session.touched == ""

    @pytest.mark.parametrize("as_text", [False, True])
    def test_that_is_passed_in_may_be_a_date(self, session, as_text):
        now = timezone.now()
        date = now + timedelta(seconds=90)
        expiry = date.isoformat() if as_text else date
        assert session.get_expiry_age(modification=now, expiry=expiry) == 90
        assert session.get_expiry_date(expiry=expiry) == date

    def test_as_a_date_is_kept_over_a_save_and_by_the_store(self, session, open_session, valkey):
        date = timezone.now() + timedelta(hours=1)
        session.set_expiry(date)
        session.save()
        assert open_session(session.session_key).get_expiry_date() == date
        assert stored_ttl(valkey, session) == pytest.approx(3600, abs=5)

    def test_in_seconds_is_kept_over_a_save_and_by_the_store(self, session, open_session, valkey):
        session.set_expiry(100)
        session.save()
        assert open_session(session.session_key).get_expiry_age() == 100
        assert stored_ttl(valkey, session) == pytest.approx(100, abs=5)

    @pytest.mark.parametrize("in_the_past", ["seconds", "timedelta", "date"])
    def test_in_the_past_ends_the_session_at_its_save(
        self, saved, open_session, valkey, in_the_past
    ):
        expiry: int | timedelta | datetime = {
            "seconds": -10,
            "timedelta": timedelta(seconds=-10),
            "date": timezone.now() - timedelta(seconds=10),
        }[in_the_past]
        session_key = saved.session_key
        saved.set_expiry(expiry)
        saved.save()
        assert open_session(session_key).has_key("a") is False
        assert open_session().exists(session_key) is False
        assert nothing_is_left(valkey)

    def test_default_age_can_be_a_subclasss_own(self, open_session, valkey):
        session = open_session(store=BriefSessionStore)
        session.set("a", 1)
        session.save()
        assert session.get_expiry_age() == 60
        assert stored_ttl(valkey, session) == pytest.approx(60, abs=5)

    @pytest.mark.parametrize("by_default", [True, False])
    @pytest.mark.parametrize("expiry", [10, 0, None])
    def test_at_browser_close_is_zero_or_the_default(self, session, settings, by_default, expiry):
        settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = by_default
        session.set_expiry(expiry)
        expected = by_default if expiry is None else expiry == 0
        assert session.get_expire_at_browser_close() is expected


class BriefSessionStore(SessionStore):
    """Sessions of a minute."""

    def get_session_cookie_age(self) -> int:
        return 60


class TestEncoding:
    def test_what_is_encoded_is_decoded(self):
        session = SessionStore()
        assert session.decode(session.encode({"a": [1, "two"]})) == {"a": [1, "two"]}

    def test_other_engines_of_django_read_it_and_write_it(self):
        ours, theirs = SessionStore(), DatabaseSessionStore()
        assert theirs.decode(ours.encode({"a": 1})) == {"a": 1}
        assert ours.decode(theirs.encode({"a": 1})) == {"a": 1}

    @pytest.mark.parametrize("text", ["", "nonsense", "bad:encoded:value", "\u2603:1:x"])
    def test_what_was_not_signed_is_nothing_and_is_logged(self, caplog, text):
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert SessionStore().decode(text) == {}
        assert "corrupted" in caplog.text

    def test_what_was_signed_with_another_secret_is_nothing(self, settings):
        encoded = SessionStore().encode({"a": 1})
        settings.SECRET_KEY = "another secret key, which secures nothing either"
        assert SessionStore().decode(encoded) == {}

    def test_what_the_serialiser_cannot_read_is_nothing(self):
        session = SessionStore()
        signed = signing.TimestampSigner(salt=session.key_salt).sign("not JSON")
        assert session.decode(signed) == {}


class TestClearingExpired:
    @pytest.fixture
    def expired(self, saved, valkey) -> str:
        """An entry of the live index whose session the server has expired."""
        name = get_configuration().naming.session(saved.session_key)
        valkey.zadd(name.index_key, {"expired": 1})
        return name.index_key

    def test_drops_what_has_expired_and_keeps_what_lives(
        self, saved, open_session, expired, valkey
    ):
        saved.clear_expired()
        assert valkey.zscore(expired, "expired") is None
        assert open_session(saved.session_key).content() == {"a": 1, "b": 2}

    def test_is_what_djangos_command_does(self, saved, open_session, expired, valkey):
        call_command("clearsessions")
        assert valkey.zscore(expired, "expired") is None
        assert open_session(saved.session_key).content() == {"a": 1, "b": 2}

    def test_of_an_empty_store_is_harmless(self, session, valkey):
        session.clear_expired()
        assert nothing_is_left(valkey)


class TestTheCacheAlias:
    @pytest.mark.parametrize("engine", ["cache"], indirect=True)
    def test_is_djangos_setting(self, session, settings, server, open_session):
        settings.CACHES = {
            **settings.CACHES,
            "others": settings.CACHES["sessions"] | {"LOCATION": f"{server.administrators_url}/5"},
        }
        settings.SESSION_CACHE_ALIAS = "others"
        session.set("a", 1)
        session.save()
        assert open_session(session.session_key).get("a") == 1
        settings.SESSION_CACHE_ALIAS = "sessions"
        assert open_session(session.session_key).get("a") is None
