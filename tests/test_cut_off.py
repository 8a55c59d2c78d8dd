"""Ending many sessions, cut off at any point and repeated; or while somebody saves them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import CommandError, call_command

from django_elasticache_sessions import fallback, homes, live, outbox
from django_elasticache_sessions.conf import CACHE_ENGINE, get_configuration
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.signals import session_ended
from django_elasticache_sessions.statements import Statement
from django_elasticache_sessions.synchronization import synchronize

from .conftest import point_sessions_at
from .contents import backdate, session_hashes, stored_keys
from .servers.valkey import Valkey
from .test_purge import run

pytestmark = pytest.mark.django_db
DAY = 86_400
UNKNOWN_IDS = [f"{number:022}" for number in range(10, 20)]


class Scissors:
    """Cuts off whatever runs, before or after so many exchanges with cache and database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def cut(self, act: Callable[[], object], steps: int, *, is_after: bool) -> bool:
        """Do it; tell whether it was cut off before it was done."""
        left = [steps]

        def cutting(step: Callable[..., object]) -> Callable[..., object]:
            def run(*arguments: object, **options: object) -> object:
                left[0] -= 1
                if left[0] == 0 and not is_after:
                    raise KeyboardInterrupt
                result = step(*arguments, **options)
                if left[0] == 0:
                    raise KeyboardInterrupt
                return result

            return run

        with self._monkeypatch.context() as patched:
            patched.setattr(sync.Driver, "_exchange", cutting(sync.Driver._exchange))
            patched.setattr(Statement, "run", cutting(Statement.run))
            try:
                act()
            except (KeyboardInterrupt, CommandError):
                return True
        return False


@pytest.fixture
def scissors(monkeypatch) -> Scissors:
    return Scissors(monkeypatch)


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch) -> None:
    """Have marked rows be looked for at each access, not once a second."""
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 0.0)


@pytest.fixture
def rows(engine, settings):
    """The rows of sessions, for those engines that have them."""
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        pytest.skip("the cache engine has no database")
    return FallbackSession.objects.using(get_configuration().options.fallback_database)


@pytest.fixture
def new(engine):
    def make(user: object = None, **data: object):
        session = engine()
        session.update(data)
        if user is not None:
            session[SESSION_KEY] = str(user)
        session.save()
        return session

    return make


def purge_all() -> None:
    call_command("clearsessions_cache", "--all", "--no-input", "--batch-size", "3", verbosity=0)


def end_for_user() -> None:
    live.end_for_user(7)


def listed() -> set[str]:
    return {session.session_id for session in live.page(limit=1000).sessions}


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("act", [purge_all, end_for_user])
def test_whatever_is_cut_off_ends_the_rest_when_repeated(
    new, engine, valkey, scissors, act, is_after
):
    steps, was_cut = 0, True
    while was_cut:
        steps += 1
        sessions = [new(7) for _ in range(5)]
        was_cut = scissors.cut(act, steps, is_after=is_after)
        usable = {
            session.session_id for session in sessions if engine().exists(session.session_key)
        }
        assert usable <= listed(), f"after {steps} steps nobody would find them again"
        act()
        assert not any(engine().exists(session.session_key) for session in sessions)
        assert listed() == set()
        assert live.for_user(7) == []
    assert steps > 3
    assert session_hashes(valkey) == []
    assert not list(valkey.scan_iter("*pending"))


def test_what_was_cut_off_and_is_not_repeated_is_finished_by_a_pass(new, rows, valkey, scissors):
    sessions = [new(7) for _ in range(3)]
    naming = get_configuration().naming
    hash_keys = [naming.from_sid(session.session_id).hash_key for session in sessions]
    steps = 0
    while not rows.filter(is_ended=True).exists():
        steps += 1
        assert scissors.cut(end_for_user, steps, is_after=True)
    # The database is told, the cache is not.
    assert listed() == set()
    assert valkey.exists(*hash_keys) == 3
    assert synchronize(batch_size=100).dropped == 3
    assert valkey.exists(*hash_keys) == 0
    assert not list(valkey.scan_iter("*pending"))
    assert not rows.filter(cache_stale=True).exists()


def test_what_was_cut_off_and_is_not_repeated_is_finished_by_a_reader(new, rows, valkey, scissors):
    sessions = [new(7) for _ in range(3)]
    steps = 0
    while not rows.filter(is_ended=True).exists():
        steps += 1
        assert scissors.cut(end_for_user, steps, is_after=True)
    other = new(8)
    assert type(other)(other.session_key)[SESSION_KEY] == "8"
    assert len(session_hashes(valkey)) == 1
    assert not any(type(other)().exists(session.session_key) for session in sessions)


def end_in_cache(session) -> None:
    """End a session as while the database is away."""
    naming = get_configuration().naming
    name = naming.from_sid(session.session_id)
    sync.get_driver("sessions").run(outbox.end(homes.get_homes(), naming, [name]))


def test_an_end_that_the_database_was_not_told_is_told_by_a_purge(new, rows, valkey):
    new()
    end_in_cache(new())
    assert run("--all")["ended"] == 2
    assert rows.filter(is_ended=True).count() == 2
    synchronize(batch_size=100)
    assert stored_keys(valkey) == []
    assert rows.filter(is_ended=True).count() == 2


def test_an_end_told_by_another_in_the_meantime_stays_until_the_database_knows(
    new, rows, valkey, monkeypatch
):
    """One that was listed as idle goes on, for it was saved; then its user signs out."""
    session = new(a=1)
    name = get_configuration().naming.from_sid(session.session_id)
    backdate(valkey, session, saved=40 * DAY)
    original = fallback.end_all

    def sign_out_without_database(*arguments, **options):
        rows.filter(sid=name.digest.hex()).update(saved=2**40)
        yield from outbox.end(homes.get_homes(), get_configuration().naming, [name])
        return (yield from original(*arguments, **options))

    monkeypatch.setattr(fallback, "end_all", sign_out_without_database)
    assert run("--idle-for", "30d")["ended"] == 0
    assert not rows.get().is_ended
    assert not type(session)().exists(session.session_key)
    synchronize(batch_size=100)
    assert rows.get().is_ended
    assert not type(session)().exists(session.session_key)


def saved_as_ever(session, valkey, hash_key: str) -> None:
    session["b"] = 2
    session.save()


def saved_and_evicted(session, valkey, hash_key: str) -> None:
    saved_as_ever(session, valkey, hash_key)
    valkey.delete(hash_key)


@pytest.mark.parametrize("save", [saved_as_ever, saved_and_evicted])
def test_a_session_that_is_saved_while_idle_ones_are_ended_goes_on(
    new, engine, rows, valkey, monkeypatch, save
):
    used, idle = new(7, a=1), new(7, a=1)
    for session in (used, idle):
        backdate(valkey, session, saved=40 * DAY)
    name = get_configuration().naming.from_sid(used.session_id)
    original, told = fallback.end_all, []

    def saved_before(*arguments, **options):
        save(engine(used.session_key), valkey, name.hash_key)
        return original(*arguments, **options)

    def ended(sender, session_id, **kwargs):
        told.append(session_id)

    monkeypatch.setattr(fallback, "end_all", saved_before)
    session_ended.connect(ended)
    try:
        assert run("--idle-for", "30d")["ended"] == 1
    finally:
        session_ended.disconnect(ended)
    assert told == [idle.session_id]
    assert engine(used.session_key)["b"] == 2
    assert not engine().exists(idle.session_key)
    assert not list(valkey.scan_iter("*pending"))


def test_a_session_that_is_saved_goes_on_without_the_cache_too(
    new, engine, rows, settings, monkeypatch
):
    original = fallback.end_all
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        used, idle = new(a=1), new(a=1)
        for session in (used, idle):
            backdate(server.client(), session, saved=40 * DAY)
        server.kill()

        def saved_before(*arguments, **options):
            saved_as_ever(engine(used.session_key), None, "")
            return original(*arguments, **options)

        monkeypatch.setattr(fallback, "end_all", saved_before)
        assert run("--idle-for", "30d")["ended"] == 1
        assert engine(used.session_key)["b"] == 2
        assert not engine().exists(idle.session_key)


def test_what_is_only_in_the_cache_is_counted_by_itself(new, engine, rows, valkey):
    homes.get_homes().database.failed()
    session = new(a=1)
    homes.get_homes().give_another_chance()
    assert not rows.exists()
    assert live.end_all([session.session_id, *UNKNOWN_IDS]) == 1
    assert rows.count() == 1
    assert not engine().exists(session.session_key)


def test_the_end_of_what_is_not_there_is_not_announced(new, engine):
    told = []

    def ended(sender, session_id, **kwargs):
        told.append(session_id)

    session = new(7)
    session_ended.connect(ended)
    try:
        assert live.end_all([session.session_id, *UNKNOWN_IDS]) == 1
        assert live.end_all([session.session_id, *UNKNOWN_IDS]) == 0
    finally:
        session_ended.disconnect(ended)
    assert told == [session.session_id]
