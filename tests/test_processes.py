"""Adversary 24: forks and threads; each has its own connections."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import sync


def run_alone(script: str, server) -> str:
    """Run a script in a Python of its own, with sessions on the server; forks need no threads."""
    prelude = f"""
        import os, sys, warnings
        warnings.simplefilter("error")
        from django.conf import settings
        from tests import settings as base
        names = {{name: getattr(base, name) for name in dir(base) if name.isupper()}}
        names["CACHES"]["sessions"]["LOCATION"] = "{server.url}"
        settings.configure(**names)
        import django
        django.setup()
        from django_elasticache_sessions.backends.cache import SessionStore
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_forked_worker_does_not_share_its_parents_connection(server, valkey):
    output = run_alone(
        """
        mine, theirs = SessionStore(), SessionStore()
        for who, session in (("parent", mine), ("child", theirs)):
            session["who"] = who
            session.save()
        hear, tell = os.pipe(), os.pipe()
        pid = os.fork()
        who, key = ("child", theirs.session_key) if pid == 0 else ("parent", mine.session_key)
        # Each waits for the other, so that both really read at the same time.
        os.write((hear if pid == 0 else tell)[1], b"x")
        os.read((tell if pid == 0 else hear)[0], 1)
        for _ in range(2000):
            assert SessionStore(key)["who"] == who
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert SessionStore(key)["who"] == "parent"
        print("both read their own")
        """,
        server,
    )
    assert output == "both read their own\n"


def test_a_fork_before_the_first_request_is_harmless(server, valkey):
    output = run_alone(
        """
        pid = os.fork()
        session = SessionStore()
        session["a"] = 1
        session.save()
        assert SessionStore(session.session_key)["a"] == 1
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print("both saved")
        """,
        server,
    )
    assert output == "both saved\n"


def test_a_process_that_ends_leaves_no_connection_and_no_warning(server, valkey):
    before = len(valkey.client_list())
    run_alone(
        """
        import asyncio
        async def main():
            session = SessionStore()
            await session.aset("a", 1)
            await session.asave()
        asyncio.run(main())
        SessionStore("some-session-key-" * 2).load()
        """,
        server,
    )
    assert len(valkey.client_list()) == before


def test_threads_that_come_and_go_share_the_connections_there_are(valkey, new_session):
    session_key = new_session(a=1).session_key
    before = len(valkey.client_list())
    for _ in range(30):
        thread = threading.Thread(target=SessionStore(session_key).load)
        thread.start()
        thread.join()
    assert len(valkey.client_list()) == before


def test_a_change_of_settings_reaches_the_driver(valkey, new_session, settings):
    new_session(a=1)
    before = sync.get_driver("sessions")
    settings.CACHES = {**settings.CACHES}
    assert sync.get_driver("sessions") is not before
