"""The `cached_db` engine: what an outage of either store may not do."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.db import connections

from django_elasticache_sessions import breaker, fallback, homes, outbox, rows
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.handing_over import hand_over

from .conftest import point_sessions_at
from .servers.databases import VENDORS
from .servers.relay import Relay
from .servers.valkey import Valkey
from .stepping import answer, finish


@pytest.fixture(params=VENDORS)
def alias(request, fallback_database) -> str:
    """The alias of an empty database of each vendor."""
    return fallback_database(request.param)


@pytest.fixture
def own_server(settings, alias, monkeypatch):
    """A Valkey to be stopped, which is tried again at once when it was."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 1e-6)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 1e-6)
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        yield server


@pytest.fixture
def database_fails(alias, monkeypatch):
    """Make the database refuse everything, and serve again."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 1e-6)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 1e-6)
    described = connections[alias].settings_dict

    def switch(*, fails: bool) -> None:
        table = "django_elasticache_sessions_fallbacksession"
        names = (table, "away") if fails else ("away", table)
        with connections[described["NAME"] and alias].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")

    return switch


@pytest.fixture
def impatient(relay, settings) -> Relay:
    """A way to the cache, for which nobody waits long."""
    point_sessions_at(settings, relay.url, SOCKET_TIMEOUT=0.5, SOCKET_CONNECT_TIMEOUT=0.5)
    return relay


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def content(session_key: str) -> dict[str, object]:
    return dict(SessionStore(session_key).items())


def change(session_key: str, **data: object) -> None:
    session = SessionStore(session_key)
    session.update(data)
    session.save()


def stall(relay: Relay, session_key: str, *, times: int = 1) -> None:
    """Have so many requests for a session wait for the cache in vain."""
    relay.delay(2)
    for _ in range(times):
        with pytest.raises(SessionStoreUnavailable):
            content(session_key)
    relay.heal()


def handed_over() -> int:
    """Bring over all that waits for the database; return how many sessions that was."""
    naming = get_configuration().naming
    operation = outbox.drain_all(homes.get_homes(), naming, batch_size=100)
    return sync.get_driver("sessions").run(operation)


def elsewhere(metadata: bytes) -> bytes:
    """Return the metadata of a hash as if it had been filled in at another server."""
    return re.sub(rb"@\S+", b"@0ddba11e.1", metadata)


def hash_key(session_key: str) -> str:
    return get_configuration().naming.session(session_key).hash_key


def test_a_session_survives_the_loss_of_the_cache(valkey, alias):
    key = saved(a=1)
    valkey.flushall()
    assert content(key) == {"a": 1}
    assert valkey.exists(hash_key(key))


def test_sessions_are_read_written_made_rotated_and_ended_while_the_cache_is_down(own_server):
    key, other = saved(a=1), saved(a=1)
    own_server.stop()
    session = SessionStore(key)
    session["b"] = 2
    session.save()
    session.cycle_key()
    SessionStore(other).flush()
    assert content(str(session.session_key)) == {"a": 1, "b": 2}
    assert content(saved(c=3)) == {"c": 3}
    assert content(other) == {}
    # Refused, but its cookie stays: the cache, which cannot be asked, may know of a rotation to it.
    with pytest.raises(SessionStoreUnavailable):
        content(key)


def test_what_was_written_during_an_outage_is_read_after_it(own_server):
    key = saved(a=1)
    own_server.freeze()
    point = sync.get_driver("sessions").pool.connection_kwargs
    point["socket_timeout"] = point["socket_connect_timeout"] = 0.2
    sync.get_driver("sessions").close()
    session = SessionStore(key)
    session["a"] = 2
    session.save()
    own_server.thaw()
    assert content(key) == {"a": 2}
    assert content(key) == {"a": 2}


def test_a_logout_during_an_outage_is_not_undone_after_it(own_server):
    key = saved(a=1)
    own_server.freeze()
    point = sync.get_driver("sessions").pool.connection_kwargs
    point["socket_timeout"] = point["socket_connect_timeout"] = 0.2
    sync.get_driver("sessions").close()
    late = SessionStore(key)
    late["b"] = 2
    SessionStore(key).delete(key)
    own_server.thaw()
    assert content(key) == {}
    with pytest.raises(UpdateError):
        late.save()
    assert content(key) == {}


def test_two_saves_of_different_keys_both_win(valkey, alias):
    key = saved(a=1)
    first, second = SessionStore(key), SessionStore(key)
    first["b"], second["c"] = 2, 3
    first.save()
    second.save()
    assert content(key) == {"a": 1, "b": 2, "c": 3}


def test_a_hash_of_another_primary_is_checked_against_its_row(valkey, alias):
    key = saved(a=1)
    assert content(key) == {"a": 1}
    before = valkey.dump(hash_key(key))
    change(key, a=2)
    # As after a promotion of a replica, or a restart from a snapshot, that lacks the last write.
    valkey.restore(hash_key(key), 60_000, before, replace=True)
    valkey.hset(hash_key(key), "~", elsewhere(valkey.hget(hash_key(key), "~")))
    assert content(key) == {"a": 2}
    assert content(key) == {"a": 2}


def test_an_ended_session_in_an_old_snapshot_stays_ended(valkey, alias):
    key = saved(a=1)
    text = elsewhere(valkey.hget(hash_key(key), "~"))
    before = valkey.dump(hash_key(key))
    SessionStore(key).delete(key)
    valkey.restore(hash_key(key), 60_000, before)
    valkey.hset(hash_key(key), "~", text)
    assert content(key) == {}
    assert not valkey.exists(hash_key(key))


def test_an_ended_session_in_an_old_snapshot_that_waited_for_the_database_stays_ended(
    valkey, alias, database_fails
):
    key = saved(a=1)
    database_fails(fails=True)
    change(key, a=2)
    before, waiting = valkey.dump(hash_key(key)), valkey.keys("*:pending")
    assert waiting
    name = get_configuration().naming.session(key)
    database_fails(fails=False)
    assert handed_over() == 1
    SessionStore(key).delete(key)
    valkey.restore(hash_key(key), 60_000, before)
    valkey.sadd(waiting[0], name.sid)
    handed_over()
    assert content(key) == {}
    assert not valkey.exists(hash_key(key))
    with connections[alias].cursor() as cursor:
        # Long after: not even its tombstone is there.
        cursor.execute("DELETE FROM django_elasticache_sessions_fallbacksession")
    valkey.restore(hash_key(key), 60_000, before)
    valkey.sadd(waiting[0], name.sid)
    handed_over()
    assert content(key) == {}
    assert not valkey.exists(hash_key(key))


def test_a_read_that_a_write_overtook_does_not_fill_the_cache(valkey, alias):
    key = saved(a=1)
    valkey.flushall()
    name = get_configuration().naming.session(key)
    slow = fallback.load(name, tuple)
    step = next(slow)
    while isinstance(step, tuple) or step.function is not rows.load:
        step = slow.send(answer(step))
    found = answer(step)
    session = SessionStore(key)
    session["a"] = 2
    session.save()
    fill = slow.send(found)
    assert answer(fill) == [0]
    assert content(key) == {"a": 2}


def test_a_session_in_the_cache_is_read_and_written_while_the_database_is_down(
    valkey, alias, database_fails
):
    key = saved(a=1, gone=1)
    assert content(key) == {"a": 1, "gone": 1}
    database_fails(fails=True)
    session = SessionStore(key)
    session["b"] = 2
    del session["gone"]
    session.save()
    new = saved(c=3)
    assert content(key) == {"a": 1, "b": 2}
    with pytest.raises(SessionStoreUnavailable):
        content("k" * 40)
    database_fails(fails=False)
    assert handed_over() == 2
    valkey.flushall()
    assert content(key) == {"a": 1, "b": 2}
    assert content(new) == {"c": 3}


def test_a_cache_that_refused_once_is_mended_by_the_next_request(relay, server, alias, settings):
    there = settings.CACHES["sessions"]
    settings.CACHES = settings.CACHES | {"elsewhere": there | {"LOCATION": server.url}}
    key, other = saved(a=1), saved(b=1)
    settings.SESSION_CACHE_ALIAS = "elsewhere"
    assert content(key) == {"a": 1}
    settings.SESSION_CACHE_ALIAS = "sessions"
    session = SessionStore(key)
    session["a"] = 2
    relay.inject_reply_once(
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", on="EVALSHA"
    )
    session.save()
    assert content(other) == {"b": 1}
    # Another process, which looks for itself only now and then.
    settings.SESSION_CACHE_ALIAS = "elsewhere"
    assert content(key) == {"a": 2}


def test_without_the_cache_a_database_that_came_back_just_now_is_not_believed(
    server, relay, alias, database_fails, settings
):
    point_sessions_at(settings, server.url)
    there = settings.CACHES["sessions"]
    settings.CACHES = settings.CACHES | {"elsewhere": there | {"LOCATION": relay.url}}
    key = saved(a=1)
    database_fails(fails=True)
    relay.refuse()
    session = SessionStore(key)
    session["a"] = 2
    session.save()
    new = saved(c=3)
    # Another process, which can reach neither.
    settings.SESSION_CACHE_ALIAS = "elsewhere"
    with pytest.raises(SessionStoreUnavailable):
        content(key)
    database_fails(fails=False)
    for session_key in (key, new):
        with pytest.raises(SessionStoreUnavailable, match="may not hold all"):
            content(session_key)
    relay.heal()
    assert content(key) == {"a": 2}
    assert content(new) == {"c": 3}


def test_without_the_cache_the_database_is_believed_a_while_after_it_came_back(
    own_server, database_fails, monkeypatch
):
    key = saved(a=1)
    own_server.stop()
    database_fails(fails=True)
    with pytest.raises(SessionStoreUnavailable):
        content(key)
    database_fails(fails=False)
    monkeypatch.setattr(homes, "DATABASE_AFTERMATH_SECONDS", 0)
    assert content(key) == {"a": 1}
    assert content("k" * 40) == {}


@pytest.mark.parametrize("is_back", [False, True], ids=["away", "back just now"])
def test_a_cache_that_stalls_once_is_asked_again_where_the_database_is_no_help(
    impatient, alias, database_fails, monkeypatch, is_back
):
    key = saved(a=1)
    database_fails(fails=True)
    with pytest.raises(SessionStoreUnavailable):
        content("k" * 40)
    monkeypatch.setattr(homes, "DATABASE_AFTERMATH_SECONDS", 60)
    if is_back:
        database_fails(fails=False)
        assert content("k" * 40) == {}
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 60)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 60)
    stall(impatient, key)
    assert content(key) == {"a": 1}
    # Not for ever: who comes next waits in vain too.
    stall(impatient, key, times=2)
    with pytest.raises(SessionStoreUnavailable):
        content(key)


def test_a_cache_that_stalls_once_is_left_alone_until_the_database_is_no_help(
    impatient, alias, database_fails, monkeypatch
):
    key = saved(a=1)
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 60)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 60)
    impatient.delay(2)
    assert content(key) == {"a": 1}
    asked = len(impatient.requests)
    assert content(key) == {"a": 1}
    assert len(impatient.requests) == asked
    database_fails(fails=True)
    impatient.heal()
    with pytest.raises(SessionStoreUnavailable):
        content(key)
    assert content(key) == {"a": 1}


@pytest.mark.parametrize("is_visited", [False, True])
def test_a_logout_while_the_database_is_down_reaches_it(valkey, alias, database_fails, is_visited):
    key = saved(a=1)
    database_fails(fails=True)
    SessionStore(key).delete(key)
    assert content(key) == {}
    database_fails(fails=False)
    # By whoever asks for it next, or by a pass.
    if is_visited:
        assert content(key) == {}
    else:
        assert handed_over() == 1
    assert not valkey.keys("*:pending")
    valkey.flushall()
    assert content(key) == {}


@pytest.mark.parametrize("is_login", [False, True])
def test_what_a_request_began_without_the_database_it_goes_on_with_when_that_is_back(
    valkey, alias, database_fails, is_login
):
    session = SessionStore(saved(a=1) if is_login else None)
    session["b"] = 2
    database_fails(fails=True)
    session.cycle_key()
    database_fails(fails=False)
    session["c"] = 3
    session.save()
    expected = {"b": 2, "c": 3} | ({"a": 1} if is_login else {})
    assert content(str(session.session_key)) == expected
    valkey.flushall()
    assert content(str(session.session_key)) == expected


def test_what_waits_is_handed_over_by_whoever_reads_it(valkey, alias, database_fails):
    key = saved(a=1)
    database_fails(fails=True)
    change(key, a=2)
    database_fails(fails=False)
    # The process that saved it is gone.
    homes.get_homes().give_another_chance()
    assert len(homes.get_homes().take_waiting(100)) == 1
    assert content(key) == {"a": 2}
    assert not valkey.keys("*:pending")
    valkey.flushall()
    assert content(key) == {"a": 2}


def test_a_hand_over_that_was_held_up_puts_no_older_value_over_a_newer(
    valkey, alias, database_fails
):
    key = saved(a=1, gone=1)
    database_fails(fails=True)
    change(key, a=2)
    database_fails(fails=False)
    name = get_configuration().naming.session(key)
    slow = hand_over(homes.get_homes(), get_configuration().naming, [name])
    found = answer(next(slow))
    for value in (3, 4):
        session = SessionStore(key)
        session["a"] = value
        session.pop("gone", None)
        session.save()
    # It is done twice: its reply was lost.
    again = hand_over(homes.get_homes(), get_configuration().naming, [name])
    assert answer(next(again))
    for late in (slow, again):
        finish(late, late.send(found))
    assert content(key) == {"a": 4}
    valkey.flushall()
    assert content(key) == {"a": 4}


def test_a_rotation_keeps_what_another_tab_saves_meanwhile(valkey, alias):
    key = saved(a=1)
    login, tab = SessionStore(key), SessionStore(key)
    login["a"], tab["a"]
    tab["b"] = 2
    tab.save()
    login.cycle_key()
    login["c"] = 3
    login.save()
    assert content(key) == {}
    assert content(str(login.session_key)) == {"a": 1, "b": 2, "c": 3}
    valkey.flushall()
    assert content(str(login.session_key)) == {"a": 1, "b": 2, "c": 3}
    assert content(key) == {}


def test_a_tab_that_still_has_the_old_key_after_a_rotation_saves_nothing(valkey, alias):
    key = saved(a=1)
    login, tab = SessionStore(key), SessionStore(key)
    tab["a"] = 2
    login.cycle_key()
    with pytest.raises(UpdateError):
        tab.save()
    SessionStore(key).delete(key)
    assert content(str(login.session_key)) == {"a": 1}
    valkey.flushall()
    assert content(str(login.session_key)) == {"a": 1}


def test_a_rotation_while_the_cache_is_away_is_known_after_it(own_server):
    key = saved(a=1)
    own_server.stop()
    session = SessionStore(key)
    session.cycle_key()
    own_server.start()
    assert content(key) == {}
    assert content(str(session.session_key)) == {"a": 1}


def test_an_end_that_the_cache_was_not_told_survives_any_sweep(own_server, alias):
    key = saved(a=1)
    with own_server.client() as client:
        before = client.dump(hash_key(key))
    own_server.stop()
    SessionStore(key).delete(key)
    with connections[alias].cursor() as cursor:
        # Weeks later.
        cursor.execute("UPDATE django_elasticache_sessions_fallbacksession SET expires = 1000")
    with suppress(SessionStoreUnavailable):
        SessionStore.clear_expired()
    own_server.start()
    with own_server.client() as client:
        # As after an outage that the cache itself survived.
        client.restore(hash_key(key), 60_000, before)
    assert content(key) == {}


def test_a_request_after_a_long_outage_mends_only_so_much(own_server, alias, monkeypatch):
    monkeypatch.setattr(homes, "_BATCH", 2)
    keys = [saved(a=1) for _ in range(25)]
    own_server.stop()
    for key in keys:
        session = SessionStore(key)
        session["a"] = 2
        session.save()
    own_server.start()
    with own_server.client() as client:
        # As after an outage that the cache itself survived.
        key = "A" * 30
        client.hset(hash_key(keys[0]), "~", f"1 1 9999999999 1  {key} 1 @0ddba11e.1 0")

    def marked() -> int:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM django_elasticache_sessions_fallbacksession WHERE cache_stale"
            )
            return cursor.fetchone()[0]

    left = []
    while not left or left[-1]:
        assert content(keys[len(left)]) == {"a": 2}
        left.append(marked())
    assert left == [15, 5, 0]
    assert all(content(key) == {"a": 2} for key in keys)


def test_a_session_that_was_saved_in_the_cache_alone_is_not_dropped_by_a_late_reader(
    valkey, alias, database_fails
):
    key = saved(a=1)
    name = get_configuration().naming.session(key)
    with connections[alias].cursor() as cursor:
        cursor.execute("DELETE FROM django_elasticache_sessions_fallbacksession")
    valkey.delete(name.hash_key)
    slow = fallback.load(name, tuple)
    step = next(slow)
    while isinstance(step, tuple) or step.function is not rows.load:
        step = slow.send(answer(step))
    drop = slow.send(answer(step))
    valkey.delete(name.hash_key)
    database_fails(fails=True)
    other = SessionStore(key)
    other.clear()
    other["a"] = 2
    other.save(must_create=True)
    assert answer(drop) == [0]
    assert content(key) == {"a": 2}
    database_fails(fails=False)


def test_an_oversized_hash_is_replaced_by_what_the_row_holds(alias, valkey):
    key = saved(a=1)
    valkey.hset(hash_key(key), "planted", b"x" * 20_000_000)
    assert content(key) == {"a": 1}
    assert not valkey.hexists(hash_key(key), "planted")
    assert content(key) == {"a": 1}
