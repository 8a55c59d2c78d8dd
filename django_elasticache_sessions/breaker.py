"""Leaving a store alone that does not serve, and finding out cheaply when it serves again."""

from __future__ import annotations

import time
from threading import Lock

from redis.exceptions import TimeoutError as RedisTimeoutError

from .exceptions import SessionStoreUnavailable
from .health import Health
from .texts import Text, did_not_serve

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 2.0
_NO_PAUSE_SECONDS = 1e-9
#: Statements that are not done in time follow each other if there is no more between them.
_GAP_SECONDS = 1.0
#: What says that a server kept its caller waiting: the system's word for it, and redis-py's.
TIMEOUTS = (TimeoutError, RedisTimeoutError)


class Breaker:
    """Closed while the store serves; else open, and one caller per pause may try it.

    Nygard, "Release It!", 2007; one for each process and store, shared by threads and tasks.
    """

    def __init__(self) -> None:
        """Begin closed."""
        self._lock = Lock()
        self._pause = 0.0
        self._next_attempt = 0.0
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """Whether the store did not serve when last asked."""
        return self._pause > 0

    @property
    def is_resting(self) -> bool:
        """Whether nobody may try it just now."""
        return self._pause > 0 and time.monotonic() < self._next_attempt

    def admits(self) -> bool:
        """Tell whether the store may be asked now; while open, one caller is told so per pause."""
        if not self._pause:
            return True
        with self._lock:
            now = time.monotonic()
            if self._pause and now < self._next_attempt:
                return False
            self._next_attempt = now + self._pause
            self._is_trying = True
            return True

    def failed(self, *, at_once: bool = False) -> bool:
        """Open, or, when an attempt failed, stay open for longer; tell whether this opened it.

        Who failed at once costs nothing to ask: there is no pause until the next attempt.
        """
        with self._lock:
            was_open = self._pause > 0
            if was_open and not self._is_trying:
                # One of many that were on their way when it opened.
                return False
            self._is_trying = False
            if at_once:
                self._pause, self._next_attempt = _NO_PAUSE_SECONDS, 0.0
            else:
                self._pause = min(max(self._pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
                self._next_attempt = time.monotonic() + self._pause
            return not was_open

    def served(self) -> None:
        """Close."""
        if self._pause:
            with self._lock:
                self._pause = 0.0
                self._is_trying = False


class Stall:
    """A while in which a server answers nobody; a short one, however many callers it hits."""

    def __init__(self) -> None:
        """Begin with a server that answers."""
        self._noticed: float | None = None
        #: Whether it was more than a short one.
        self.lasts = False

    def note(self, began: float) -> None:
        """Take note of an attempt without an answer, by when it began.

        A stall lasts if that was after another one had ended so, with no answer in between.
        """
        if self._noticed is None:
            self._noticed = time.monotonic()
        elif began >= self._noticed:
            self.lasts = True

    def end(self) -> None:
        """Take note of an answer."""
        self._noticed, self.lasts = None, False


class StatementBreaker(Breaker):
    """One that statements do not open which may have met a lock of their own session alone.

    It opens when several sessions in a row have not had theirs done in time.
    """

    def __init__(self, several: int, health: Health) -> None:
        """Take how many are several, and what is to be told."""
        super().__init__()
        self.health = health
        self._several = several
        self._askers: set[object] = set()
        self._last = 0.0

    @property
    def is_suspect(self) -> bool:
        """Whether a statement was not done in time a moment ago: what can wait better does."""
        return bool(self._askers) and time.monotonic() - self._last < _GAP_SECONDS

    def untried(self) -> None:
        """Take note that whoever was admitted has not asked: another may."""
        with self._lock:
            if self._is_trying:
                self._is_trying, self._next_attempt = False, 0.0

    @property
    def probe_share(self) -> float:
        """How much of its time an attempt is given: while open, more from pause to pause."""
        return self._pause / LONGEST_PAUSE_SECONDS / 2 if self._pause else 1.0

    def stumbled(self, asker: object, *, most_seconds: float) -> bool:
        """Take note of one that was not done in `most_seconds`; tell whether that opened it."""
        with self._lock:
            now = time.monotonic()
            if now - self._last > most_seconds + _GAP_SECONDS:
                self._askers.clear()
            self._last = now
            self._askers.add(asker)
            is_enough = self._pause > 0 or len(self._askers) >= self._several
        return is_enough and self.failed()

    def served(self) -> None:
        """Close."""
        if self._askers:
            self._askers = set()
        super().served()
        self.health.answered()


class Patience:
    """Leaves a server alone that keeps callers waiting; to ask one that refuses them costs nothing.

    One short stall opens nothing.
    """

    def __init__(self) -> None:
        """Begin with a server that answers."""
        self._breaker = Breaker()
        self._stall = Stall()

    @property
    def is_at_an_end(self) -> bool:
        """Whether the server is left alone, but for one attempt per pause."""
        return self._breaker.is_open

    def begin(self) -> float:
        """Return when an attempt begins. Raises `SessionStoreUnavailable` when it may not."""
        if not self._breaker.admits():
            raise SessionStoreUnavailable(
                did_not_serve(Text("it did not answer in time a moment ago."))
            )
        return time.monotonic()

    def failed(self, error: BaseException, began: float) -> None:
        """Take note of an attempt without an answer, by the error of the wire."""
        if not isinstance(error, TIMEOUTS):
            self.answered()
        else:
            self._stall.note(began)
            if self._stall.lasts:
                self._breaker.failed()

    def answered(self) -> None:
        """Take note of an answer, whatever it was."""
        self._stall.end()
        self._breaker.served()


class EndlessPatience(Patience):
    """Asks always: for a server that something else decides about."""

    def begin(self) -> float:
        """Return when an attempt begins."""
        return time.monotonic()
