"""G1: requests that change different keys of one session all win."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from django.db import connections

from django_elasticache_sessions import stamps
from django_elasticache_sessions.backends import saving
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.exceptions import SessionEnded

INTERLEAVINGS = 40
TABS, SAVES = 6, 15


def test_two_requests_that_change_different_keys_both_win(new_session):
    session = new_session(kept=1, theme="dark")
    first, second = SessionStore(session.session_key), SessionStore(session.session_key)
    first["cart"] = ["tea"]
    second["theme"] = "light"
    first.save()
    second.save()
    assert dict(SessionStore(session.session_key).items()) == {
        "kept": 1,
        "cart": ["tea"],
        "theme": "light",
    }


def test_of_two_requests_that_change_the_same_key_the_last_to_save_wins(new_session):
    session = new_session(theme="dark")
    first, second = SessionStore(session.session_key), SessionStore(session.session_key)
    first["theme"] = "red"
    second["theme"] = "blue"
    second.save()
    first.save()
    assert SessionStore(session.session_key)["theme"] == "red"


def test_setting_a_key_to_what_it_was_still_is_the_last_write(new_session):
    session = new_session(theme="dark")
    first, second = SessionStore(session.session_key), SessionStore(session.session_key)
    first["theme"]
    first["theme"] = "dark"
    second["theme"] = "light"
    second.save()
    first.save()
    assert SessionStore(session.session_key)["theme"] == "dark"


def test_a_key_that_was_only_read_does_not_undo_another_request(new_session):
    session = new_session(theme="dark", cart=[])
    reader, writer = SessionStore(session.session_key), SessionStore(session.session_key)
    assert reader["theme"] == "dark"
    reader["cart"].append("tea")
    writer["theme"] = "light"
    writer.save()
    reader.save()
    assert SessionStore(session.session_key)["theme"] == "light"


def test_a_nested_change_is_saved_without_being_assigned(new_session):
    session = new_session(cart={"lines": [{"product": 1, "count": 1}]})
    request = SessionStore(session.session_key)
    request["cart"]["lines"][0]["count"] = 2
    request.save()
    assert SessionStore(session.session_key)["cart"]["lines"][0]["count"] == 2


def test_a_removed_key_stays_removed_beside_another_requests_change(new_session):
    session = new_session(a=1, b=2)
    first, second = SessionStore(session.session_key), SessionStore(session.session_key)
    del first["a"]
    second["b"] = 3
    first.save()
    second.save()
    assert dict(SessionStore(session.session_key).items()) == {"b": 3}


def test_clear_removes_also_what_another_request_added(new_session):
    session = new_session(a=1)
    first, second = SessionStore(session.session_key), SessionStore(session.session_key)
    second["b"] = 2
    second.save()
    first.clear()
    first["c"] = 3
    first.save()
    assert dict(SessionStore(session.session_key).items()) == {"c": 3}


def test_saving_twice_in_one_request_sends_only_the_second_change(new_session):
    session = new_session(a=1)
    mine, other = SessionStore(session.session_key), SessionStore(session.session_key)
    mine["a"] = 2
    mine.save()
    other["a"] = 3
    other.save()
    mine["b"] = 1
    mine.save()
    assert dict(SessionStore(session.session_key).items()) == {"a": 3, "b": 1}


def test_rotation_keeps_what_another_request_saved_since_the_load(new_session):
    session = new_session(a=1, gone=True)
    login, other = SessionStore(session.session_key), SessionStore(session.session_key)
    login["mine"] = "kept"
    del login["gone"]
    other["theirs"] = "kept too"
    other.save()
    login.cycle_key()
    assert dict(SessionStore(login.session_key).items()) == {
        "a": 1,
        "mine": "kept",
        "theirs": "kept too",
    }


def test_rotation_after_an_own_save_keeps_what_others_saved_in_between(new_session):
    session = new_session(a=1)
    login, other = SessionStore(session.session_key), SessionStore(session.session_key)
    login["a"]
    other["theirs"] = 1
    other.save()
    login["mine"] = 2
    login.save()
    login.cycle_key()
    assert SessionStore(login.session_key)["theirs"] == 1


@pytest.mark.parametrize("seed", range(INTERLEAVINGS))
def test_threads_that_change_different_keys_lose_nothing(new_session, seed):
    session_key = new_session(shared="kept").session_key
    start = threading.Barrier(2)

    def request(name: str) -> None:
        choice = random.Random(f"{seed} {name}")
        start.wait()
        for step in range(5):
            session = SessionStore(session_key)
            if choice.random() < 0.5:
                session["shared"]
            session[f"{name}-{step}"] = step
            session.save()

    threads = [threading.Thread(target=request, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {f"{name}-{step}": step for name in ("a", "b") for step in range(5)}
    assert dict(SessionStore(session_key).items()) == {"shared": "kept", **expected}


@pytest.mark.parametrize("seed", range(INTERLEAVINGS))
async def test_tasks_that_change_different_keys_lose_nothing(new_session, seed):
    session_key = await asyncio.to_thread(lambda: new_session(shared="kept").session_key)

    async def request(name: str) -> None:
        choice = random.Random(f"{seed} {name}")
        for step in range(5):
            session = SessionStore(session_key)
            await session.aget("shared")
            if choice.random() < 0.5:
                await asyncio.sleep(0)
            await session.aset(f"{name}-{step}", step)
            await session.asave()

    await asyncio.gather(request("a"), request("b"))
    expected = {f"{name}-{step}": step for name in ("a", "b") for step in range(5)}
    assert dict(await SessionStore(session_key).aitems()) == {"shared": "kept", **expected}


def test_of_many_tabs_at_once_every_save_is_taken_and_kept(engine):
    """Each waits for the row: whichever comes last has an older stamp than others had meanwhile."""
    session = engine()
    session["shared"] = "kept"
    session.save()
    problems: list[Exception] = []
    start = threading.Barrier(TABS)

    def tab(number: int) -> None:
        start.wait()
        try:
            for step in range(SAVES):
                request = engine(session.session_key)
                request[f"tab-{number}"] = step
                request.save()
        except Exception as problem:
            problems.append(problem)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=tab, args=(number,)) for number in range(TABS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    expected = {f"tab-{number}": SAVES - 1 for number in range(TABS)}
    assert dict(engine(session.session_key).items()) == {"shared": "kept", **expected}


def test_rotations_beside_busy_tabs_leave_no_acknowledged_save_out(engine):
    session = engine()
    session["shared"] = "kept"
    session.save()
    current = [session.session_key]
    is_over = threading.Event()
    acknowledged: dict[str, int] = {}
    problems: list[Exception] = []

    def tab(name: str) -> None:
        step = 0
        while not is_over.is_set():
            step += 1
            try:
                request = engine(current[0])
                # Where it was rotated meanwhile, this tab has the older cookie.
                if request.get("shared"):
                    request[name] = step
                    request.save()
                    acknowledged[name] = step
            except SessionEnded:
                continue
            except Exception as problem:
                problems.append(problem)
        connections.close_all()

    threads = [threading.Thread(target=tab, args=(f"tab-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        login = engine(current[0])
        login.cycle_key()
        current[0] = login.session_key
    is_over.set()
    for thread in threads:
        thread.join()
    assert problems == []
    found = dict(engine(current[0]).items())
    assert found.pop("shared") == "kept"
    assert found == acknowledged


@pytest.mark.parametrize("action", ["cycle_key", "remove", "clear", "sign in"])
def test_of_two_saves_with_one_stamp_neither_is_taken_for_the_other(engine, monkeypatch, action):
    session = engine()
    session.update({"a": 1, "b": 2})
    session.save()
    first, second = engine(session.session_key), engine(session.session_key)
    assert first["a"] == second["a"] == 1
    stamp = stamps.new_stamp() + 1_000_000
    monkeypatch.setattr(saving, "new_stamp", lambda after=0: max(stamp, after + 1))
    first["c"] = 3
    first.save()
    match action:
        case "cycle_key":
            second.cycle_key()
            expected = {"a": 1, "b": 2, "c": 3}
            assert not engine().exists(session.session_key)
        case "remove":
            del second["a"]
            second.save()
            expected = {"b": 2, "c": 3}
        case "clear":
            second.clear()
            second.save()
            expected = {}
        case "sign in":
            second.cycle_key()
            second["c"] = 4
            second.save()
            expected = {"a": 1, "b": 2, "c": 4}
    assert dict(engine(second.session_key).items()) == expected
