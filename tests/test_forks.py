"""A process that forks while it uses sessions: the child begins anew, the parent goes on."""

from __future__ import annotations

from textwrap import dedent

import pytest

from .test_processes import run_alone

#: Holds every lock that an operation on sessions may take, in another thread, until the end.
HOLD_EVERY_LOCK = """
    import gc, threading, types
    KINDS = (type(threading.Lock()), type(threading.RLock()))
    PACKAGES = ("django_elasticache_sessions", "redis.")

    def attributes(thing):
        if isinstance(thing, types.ModuleType):
            return vars(thing).values() if thing.__name__.startswith(PACKAGES) else ()
        if not type(thing).__module__.startswith(PACKAGES):
            return ()
        slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        values = [getattr(thing, name, None) for name in slots if isinstance(name, str)]
        return [*values, *vars(type(thing)).values(), *getattr(thing, "__dict__", {}).values()]

    def locks():
        from django_elasticache_sessions import signals
        ours = [signal.lock for signal in vars(signals).values() if hasattr(signal, "lock")]
        found = [
            value
            for thing in gc.get_objects()
            for value in attributes(thing)
            if isinstance(value, KINDS)
        ]
        return {id(lock): lock for lock in [*ours, *found]}

    def hold_every_lock():
        held = threading.Event()
        def hold():
            for lock in locks().values():
                assert lock.acquire(timeout=5)
            held.set()
            threading.Event().wait()
        threading.Thread(target=hold, daemon=True).start()
        assert held.wait(30)
"""
#: What a child does: nothing in it may wait for its parent's threads.
USE = """
    session = SessionStore()
    session["a"] = 1
    session.save()
    def use_sessions():
        read = SessionStore(session.session_key)
        assert read["a"] == 1
        read["b"] = 2
        read.save()
        new = SessionStore()
        new["c"] = 3
        new.save()
        new.cycle_key()
        new.flush()
    def port():
        from django_elasticache_sessions.drivers import sync
        [line] = sync.get_driver("sessions")._idle
        return line._connection._sock.getsockname()[1]
    async def ause_sessions():
        read = SessionStore(session.session_key)
        assert await read.aget("a") == 1
        await read.aset("b", 2)
        await read.asave()
        new = SessionStore()
        await new.aset("c", 3)
        await new.asave()
        await new.acycle_key()
        await new.aflush()
    """
#: Ends a child that hangs, by a signal: its parent sees it.
IN_TIME = """
    import signal, traceback
    def in_child(work):
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            try:
                work()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
"""


def lines(*scripts: str) -> str:
    return "\n".join(map(dedent, scripts))


@pytest.mark.parametrize("engine", ["cache", "cached_db"])
@pytest.mark.parametrize("way", ["use_sessions", "lambda: asyncio.run(ause_sessions())"])
def test_a_child_is_not_held_up_by_locks_of_its_parents_threads(
    server, valkey, tmp_path, engine, way
):
    output = run_alone(
        lines(
            f"""
            from importlib import import_module
            import asyncio
            settings.SESSION_ENGINE = "django_elasticache_sessions.backends.{engine}"
            settings.ELASTICACHE_SESSIONS = {{"CLOUDWATCH": {{"REPLICATION_GROUP_ID": "a"}}}}
            settings.DATABASES["default"]["NAME"] = "{tmp_path / "database"}"
            from django.core.management import call_command
            call_command("migrate", verbosity=0)
            SessionStore = import_module(settings.SESSION_ENGINE).SessionStore
            """,
            USE,
            HOLD_EVERY_LOCK,
            IN_TIME,
            f"""
            from django_elasticache_sessions.signals import session_created
            session_created.connect(print, weak=False)
            session_created.disconnect(print)
            hold_every_lock()
            in_child({way})
            print("used")
            """,
        ),
        server,
    )
    assert output == "used\n"


def test_a_child_leaves_the_connections_of_its_parents_event_loop_alone(server, valkey):
    output = run_alone(
        lines(
            USE,
            """
            import asyncio, threading
            used, forked = threading.Event(), threading.Event()
            def run_loop():
                async def main():
                    session = SessionStore()
                    await session.aset("a", 1)
                    await session.asave()
                    async def ids():
                        from django_elasticache_sessions.drivers import aio
                        [line] = aio.get_driver("sessions")._lines
                        return id(line)
                    before = await ids()
                    used.set()
                    while not forked.is_set():
                        await asyncio.sleep(0.01)
                    for _ in range(100):
                        assert await SessionStore(session.session_key).aget("a") == 1
                    assert await ids() == before
                    print("the parent reads over the same connection")
                asyncio.run(main())
            thread = threading.Thread(target=run_loop)
            thread.start()
            assert used.wait(30)
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
            if pid == 0:
                asyncio.run(ause_sessions())
                # As a script ends: every object is finalised.
                threading._shutdown = lambda: None
                sys.exit()
            status = os.waitpid(pid, 0)[1]
            forked.set()
            thread.join()
            assert status == 0
            """,
        ),
        server,
    )
    assert output == "the parent reads over the same connection\n"


def test_a_fork_that_python_is_not_told_of_shares_no_connection(server, valkey):
    output = run_alone(
        lines(
            USE,
            """
            import ctypes
            before = port()
            # As uWSGI forks by default.
            pid = ctypes.PyDLL(None).fork()
            if pid == 0:
                use_sessions()
                os._exit(port() == before)
            assert os.waitpid(pid, 0)[1] == 0
            assert port() == before
            print("each has its own")
            """,
        ),
        server,
    )
    assert output == "each has its own\n"


def test_workers_forked_after_a_use_have_connections_of_their_own(server, valkey):
    output = run_alone(
        lines(
            USE,
            """
            numbers = {port()}
            for _ in range(3):
                hear, tell = os.pipe()
                pid = os.fork()
                if pid == 0:
                    use_sessions()
                    os.write(tell, str(port()).encode())
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
                numbers.add(int(os.read(hear, 100)))
                use_sessions()
                numbers.add(port())
            print(len(numbers))
            """,
        ),
        server,
    )
    # One of the parent, one of each child.
    assert output == "4\n"


def test_a_child_keeps_no_connection_of_its_parents_event_loop_open(server, valkey):
    output = run_alone(
        lines(
            USE,
            f"""
            import asyncio, redis, time
            administrator = redis.Redis.from_url("{server.administrators_url}")
            warnings.simplefilter("ignore", DeprecationWarning)
            hear, tell = os.pipe()
            async def main():
                await SessionStore(session.session_key).aget("a")
                pid = os.fork()
                if pid == 0:
                    os.close(tell)
                    os.read(hear, 1)
                    os._exit(0)
                return pid
            before = len(administrator.client_list())
            pid = asyncio.run(main())
            deadline = time.monotonic() + 5
            while len(administrator.client_list()) > before and time.monotonic() < deadline:
                time.sleep(0.01)
            print(len(administrator.client_list()) - before)
            os.close(tell)
            os.waitpid(pid, 0)
            """,
        ),
        server,
    )
    assert output == "0\n"
