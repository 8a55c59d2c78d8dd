"""Shutting connections to a database that keeps a statement for too long.

No timeout of a server fires while it is frozen, and its kernel acknowledges in its place. So one
thread of this process, which does nothing else, shuts the socket; who waits is then told at once.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from math import inf

# Not what a simulation puts in its place.
from time import monotonic

from .forks import after_fork


class Watch:
    """One statement that is waited for."""

    __slots__ = ("_descriptor", "_dog", "_owner", "deadline", "is_shut")

    def __init__(
        self, dog: Watchdog, descriptor: int, seconds: float, owner: object = None
    ) -> None:
        """Take a socket's descriptor, and how long its statement may take.

        The descriptor has to stay open as long as its `owner` is there. Raises `RuntimeError` where
        no thread can be started.
        """
        self._dog = dog
        self._descriptor, self._owner = descriptor, owner
        #: When there is something to do, by the monotonic clock.
        self.deadline = monotonic() + seconds
        self.is_shut = False
        dog.begin(self)

    def shut(self) -> None:
        """Have whoever waits at the socket be told that it is closed."""
        self.deadline = inf
        # Without a descriptor of its own: there may be none left.
        its = socket.socket(fileno=self._descriptor)
        try:
            its.shutdown(socket.SHUT_RDWR)
            self.is_shut = True
        finally:
            its.detach()

    def end(self) -> bool:
        """Note that the statement is over; tell whether its connection was shut."""
        self._dog.end(self)
        return self.is_shut


class Watchdog:
    """A thread that waits for the earliest deadline; it begins with the first watch."""

    def __init__(self) -> None:
        """Begin with nothing to watch."""
        self._condition = threading.Condition(threading.Lock())
        self._watches: set[Watch] = set()
        self._wakes = inf
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None

    def begin(self, watch: Watch) -> None:
        """Watch."""
        if self._pid != os.getpid():
            # Forked by what does not tell Python, as uWSGI does.
            self.forget()
        with self._condition:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="sessions", daemon=True)
                thread.start()
                self._thread = thread
            self._watches.add(watch)
            if watch.deadline < self._wakes:
                # Seldom: the thread sleeps until a deadline of before, which comes earlier.
                self._condition.notify()

    def end(self, watch: Watch) -> None:
        """Watch no more; a socket that is being shut is shut before this returns."""
        with self._condition:
            self._watches.discard(watch)

    def forget(self) -> None:
        """Begin anew in a process that was forked: there is no thread."""
        self.__init__()  # type: ignore[misc]

    def _run(self) -> None:
        condition = self._condition
        with condition:
            while True:
                now = monotonic()
                for watch in self._watches:
                    if watch.deadline <= now:
                        with suppress(OSError):
                            watch.shut()
                self._wakes = min((watch.deadline for watch in self._watches), default=inf)
                condition.wait(None if self._wakes == inf else self._wakes - now)


WATCHDOG = Watchdog()
after_fork(WATCHDOG.forget)
