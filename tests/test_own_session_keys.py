"""Engines built on ours that make session keys in their own way, sync and async."""

from __future__ import annotations

import asyncio
import re
import secrets

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_elasticache_sessions.backends.cache import SessionStore

from .contract.face import Face


def random_key(suffix: str = "") -> str:
    return secrets.token_hex(20)[: 40 - len(suffix)] + suffix


class OwnKeys(SessionStore):
    """Overrides the sync method, which the async methods use, too."""

    def _get_new_session_key(self) -> str:
        return random_key("-own")


class OwnAsyncKeys(SessionStore):
    """Overrides both, as they may be looked up elsewhere."""

    def _get_new_session_key(self) -> str:
        return random_key("-own")

    async def _aget_new_session_key(self) -> str:
        await asyncio.sleep(0)
        return random_key("-async")


class LooksThemUp(SessionStore):
    """As Django's own method: asks whether there is such a session."""

    def _get_new_session_key(self) -> str:
        while self.exists(key := random_key("-free")):
            pass
        return key

    async def _aget_new_session_key(self) -> str:
        while await self.aexists(key := random_key("-afree")):
            pass
        return key


class BareKeys(SessionStore):
    """Its key is what the test says."""

    made = ""

    def _get_new_session_key(self) -> str:
        return self.made


@pytest.fixture(params=["sync", "async"])
def runner(request, valkey):
    """An event loop for the async methods, or none."""
    if request.param == "sync":
        yield None
        return
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize(
    ("engine", "suffix", "async_suffix"),
    [
        (OwnKeys, "-own", "-own"),
        (OwnAsyncKeys, "-own", "-async"),
        (LooksThemUp, "-free", "-afree"),
    ],
)
def test_a_session_gets_the_key_of_its_engine_and_gets_another_at_each_rotation(
    runner, engine, suffix, async_suffix
):
    session = Face(engine(), runner)
    session.set("a", 1)
    session.save()
    expected = async_suffix if runner else suffix
    first, session_id = session.session_key, session.session_id
    assert len(first) == 40
    assert first.endswith(expected)
    session.cycle_key()
    second = session.session_key
    # What names the session stays, so that it keeps its id.
    assert second[:15] == first[:15]
    assert second[15:] != first[15:]
    assert second.endswith(expected)
    assert session.session_id == session_id
    assert Face(engine(second), runner).get("a") == 1
    assert Face(engine(first), runner).get("a") is None


@pytest.mark.parametrize(
    "made", ["short", "", "x" * 257, "with a\nline and more than 30 characters"]
)
@pytest.mark.parametrize("method", ["create", "save", "cycle_key"])
def test_a_key_that_can_be_none_is_told_of_without_showing_it(runner, monkeypatch, method, made):
    session = Face(BareKeys(), runner)
    if method == "cycle_key":
        monkeypatch.setattr(BareKeys, "made", random_key())
        session.create()
    monkeypatch.setattr(BareKeys, "made", made)
    with pytest.raises(ImproperlyConfigured, match=r"BareKeys\._get_new_session_key\(\)") as caught:
        getattr(session, method)()
    assert "30 to 256 printable ASCII characters" in str(caught.value)
    assert not made or made not in str(caught.value)


@pytest.mark.parametrize("length", [30, 256])
def test_keys_of_other_lengths_are_honoured(runner, monkeypatch, length):
    key = (secrets.token_hex(128))[:length]
    monkeypatch.setattr(BareKeys, "made", key)
    session = Face(BareKeys(), runner)
    session.save()
    assert session.session_key == key
    assert session.exists(key)


def test_keys_that_begin_alike_are_told_of(runner, monkeypatch):
    monkeypatch.setattr(BareKeys, "made", "always-the-same-" + random_key())
    Face(BareKeys(), runner).save()
    monkeypatch.setattr(BareKeys, "made", "always-the-same-" + random_key())
    with pytest.raises(ImproperlyConfigured, match="random in its first 15 characters"):
        Face(BareKeys(), runner).save()


def test_a_rotation_to_the_same_key_is_refused(runner, monkeypatch):
    monkeypatch.setattr(BareKeys, "made", random_key())
    session = Face(BareKeys(), runner)
    session.save()
    with pytest.raises(ImproperlyConfigured, match="random from the first to the last"):
        session.cycle_key()


def test_a_method_put_on_one_session_counts_too(runner, monkeypatch):
    session = Face(SessionStore(), runner)
    key = random_key()
    monkeypatch.setattr(session.session, "_get_new_session_key", lambda: key)
    session.save()
    assert session.session_key == key


def test_engines_without_keys_of_their_own_have_djangos(runner):
    session = Face(SessionStore(), runner)
    session.save()
    assert re.fullmatch("[a-z0-9]{40}", session.session_key)
    made = session.session._get_new_session_key()
    assert len(made) == 40
    assert made != asyncio.run(session.session._aget_new_session_key())
