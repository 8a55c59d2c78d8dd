"""The oracle: what was acknowledged, and whether each reply agrees with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from .promises import (
    NOBODY,
    End,
    Key,
    Login,
    Promise,
    Renewal,
    Session,
    SignOut,
    State,
    Transaction,
    Write,
)
from .reading import Reading
from .rules import RULES

#: How long a session lives after a save, and how far from each other clocks may be.
AGE_SECONDS = 1_209_600
#: So much longer it may live where its row was written late.
LATE_SECONDS = 86_400
#: No database makes a session whose statement was sent so long ago (docs/fallback.rst).
CREATED_LATE_SECONDS = 12 * 86_400
CLOCKS_SECONDS = 120
USER_FIELD = "_auth_user_id"
_WAITING = "waiting in the cache"
_ENDED_HERE = "ended by its id while both are at work"


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    kind: str
    text: str


class Ledger:
    """Everything that was promised in one simulation."""

    def __init__(
        self, *, engine: str, writes: str, without: Collection[str] = (), phase: str = ""
    ) -> None:
        """Take the mode, and the rules that are not in force."""
        self.is_cache_alone = engine == "cache"
        self.is_behind = writes == "behind"
        self.rules = RULES.keys() - set(without)
        self.used: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self.keys: list[Key] = []
        self.sessions: list[Session] = []
        self.last_loss = -1.0
        #: When users were signed out everywhere: began, and done.
        self.sign_outs: list[SignOut] = []
        #: Whether the database failed somebody since what waits was brought into it.
        self.has_database_failed = False
        self.phase = phase

    def allows(self, rule: str) -> bool:
        """Tell whether a rule is in force, and note that it was needed."""
        if rule not in self.rules:
            return False
        self.used[rule] += 1
        return True

    def violated(self, kind: str, text: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(f"{kind}{self.phase}", text))

    # What is promised.

    def add_session(self, text: str, made: Promise, *, like: Session | None = None) -> Key:
        """Enter a session under its first key; `like` another one that it may be a copy of."""
        session = Session(is_vague=like is not None)
        if like:
            # Of the other one's values it has those that were seen when it was made.
            session.fields = {
                name: [replace(write, is_doubtful=True) for write in writes]
                for name, writes in like.fields.items()
            }
        self.sessions.append(session)
        return self.add_key(text, session, made)

    def add_key(self, text: str, session: Session, made: Promise) -> Key:
        """Enter one more key of a session."""
        key = Key(text, session, made)
        self.keys.append(key)
        return key

    def acknowledge(self, promise: Promise, tick: float, *, is_superseded: bool = False) -> None:
        """Note that the client was told that it is done; over an old primary, where that is so."""
        if promise.state is not State.RUNNING:
            return
        promise.state, promise.done = State.ACKNOWLEDGED, tick
        waits = self.has_database_failed or (
            self.is_behind and isinstance(promise, (Write, Renewal))
        )
        promise.is_safe = promise.is_safe or not (self.is_cache_alone or waits)
        is_lost = promise.began <= self.last_loss
        if not promise.is_safe and (is_lost or (is_superseded and self.allows(_WAITING))):
            promise.is_doubtful = True

    def settle(self, transaction: Transaction, state: State, tick: float) -> None:
        """Note what became of a transaction."""
        transaction.state, transaction.done = state, tick

    def note_loss(self, tick: float) -> None:
        """Note that the cache lost something: what waited in it may be gone."""
        rule = "lost with the cache" if self.is_cache_alone else _WAITING
        self.last_loss = tick
        for promise in self._promises():
            if promise.state is State.ACKNOWLEDGED and not promise.is_safe and self.allows(rule):
                promise.is_doubtful = True

    def note_days(self) -> None:
        """Note that what waits in the cache has waited for more than a day."""
        for promise in self._promises():
            is_waiting = promise.state is State.ACKNOWLEDGED and not promise.is_safe
            if is_waiting and not self.is_cache_alone and self.allows("waiting for days"):
                promise.is_doubtful = True

    def note_synchronized(self, began: float) -> None:
        """Note that what had been acknowledged by then has been brought into the database."""
        for promise in self._promises():
            if promise.state is State.ACKNOWLEDGED and promise.settled <= began:
                promise.is_safe = True

    def _promises(self) -> Iterator[Promise]:
        for session in self.sessions:
            yield from session.promises()
        for key in self.keys:
            yield key.made
            yield from key.left

    # What may be.

    def may_be_dead(self, key: Key, reading: Reading, ignoring: Iterable[Promise] = ()) -> bool:
        """Tell whether a session may be missing under a key."""
        session = key.session
        if reading.is_theirs and not key.is_theirs and self.allows("not written there"):
            return True
        is_lost = self.has_database_failed and reading.began <= self.last_loss
        if is_lost and key.is_theirs and not reading.is_theirs and self.allows(_WAITING):
            # It was taken over in the cache alone.
            return True
        own = set(map(id, ignoring))
        is_own = id(key.made) in own and not key.made.is_doubtful
        is_there = is_own or self._must_be_there(key.made, reading)
        if session.is_vague or not is_there:
            return True
        for promise in (*session.ends, *key.left):
            if id(promise) in own:
                continue
            if promise.is_possible(reading.ended, reading.reader):
                return True
        return self.may_be_expired(session, reading)

    def may_be_expired(self, session: Session, reading: Reading) -> bool:
        """Tell whether a session may be missing because of its age."""
        lives = [
            renewal.seconds
            for renewal in session.renewals
            if renewal.seconds + AGE_SECONDS - CLOCKS_SECONDS <= reading.ended_seconds
            or self._must_be_there(renewal, reading)
        ]
        return bool(lives) and max(lives) + AGE_SECONDS - CLOCKS_SECONDS <= reading.ended_seconds

    def _must_be_expired(self, session: Session, reading: Reading) -> bool:
        renewals = [one for one in session.renewals if one.state is not State.UNDONE]
        lives = [one.until_seconds + one.is_creation * CREATED_LATE_SECONDS for one in renewals]
        late = max(lives, default=math.inf) + AGE_SECONDS + LATE_SECONDS
        return late + CLOCKS_SECONDS <= reading.began_seconds

    def must_be_dead(self, key: Key, reading: Reading) -> str:
        """Tell why a session has to be missing under a key; nothing if it has not."""
        began, reader = reading.began, reading.reader
        for end in key.session.ends:
            if end.is_certain(began, reader) and self._must_be_there(end, reading):
                if reading.is_theirs and end.by != "logout" and self.allows(_ENDED_HERE):
                    continue
                return f"ended by {end.by}"
        for left in key.left:
            if left.is_certain(began, reader) and self._must_be_there(left, reading):
                return "rotated away"
        if self._must_be_expired(key.session, reading):
            return "expired"
        made = key.made.transaction
        if key.made.state is State.UNDONE or (made and made.state is State.UNDONE):
            return "rolled back"
        if (
            made
            and made.state is State.RUNNING
            and made.owner != reader
            and (made.commit_began >= reading.ended)
        ):
            return "not committed"
        return ""

    def _must_be_there(self, promise: Promise, reading: Reading) -> bool:
        if not promise.is_certain(reading.began, reading.reader):
            return False
        if promise.is_safe or not reading.is_row_alone or self.is_cache_alone:
            return True
        return not self.allows("row alone")

    # What is asked.

    def check_reading(self, key: Key, found: dict[str, Any] | None, reading: Reading) -> None:
        """Hold what was read under a key against what was promised."""
        if found is None:
            if not self.may_be_dead(key, reading):
                self.violated("a living session is missing", f"{key.text[:6]} at {reading}")
            return
        reason = self.must_be_dead(key, reading)
        if reason:
            if not self._may_be_older(reading):
                self.violated(f"a dead session is read ({reason})", f"{key.text[:6]} at {reading}")
            return
        for name in (*key.session.fields, *(found.keys() - key.session.fields.keys())):
            self._check_value(key, name, found.get(name), reading)

    def _check_value(self, key: Key, name: str, value: Any, reading: Reading) -> None:
        writes = key.session.fields.get(name, [])
        found = [write for write in writes if write.value == value]
        if not found:
            if value is not None or not key.session.is_vague:
                self.violated("a value from nowhere", f"{name}={value!r}")
            return
        current = [write for write in found if self._is_current(key, write, reading)]
        is_repeated = all(write.is_repeated for write in current)
        if current and (not is_repeated or self.allows("the whole session is saved there")):
            return
        shown = f"{name}={value!r} at {reading} of {writes}"
        if all(self._is_hidden(write, reading) for write in found):
            state = found[0].transaction.state if found[0].transaction else None
            what = "rolled-back" if state is State.UNDONE else "uncommitted"
            self.violated(f"a{'n' if what[0] == 'u' else ''} {what} value is read", shown)
        elif not self._may_be_older(reading):
            self.violated("an acknowledged value is not there", shown)

    def _may_be_older(self, reading: Reading) -> bool:
        # Who cannot reach the cache has noticed.
        is_unnoticed = reading.is_unnoticed and not reading.is_row_alone
        return (is_unnoticed and self.allows("unnoticed")) or (
            reading.is_crosswise and self.allows("cut off crosswise")
        )

    def _is_current(self, key: Key, write: Write, reading: Reading) -> bool:
        if self._is_hidden(write, reading) or write.began > reading.ended:
            return False
        writes = next(of for of in key.session.fields.values() if write in of)
        return not any(
            write.is_replaced_by(other, reading.began, reading.reader)
            and self._must_be_there(other, reading)
            and (other.is_theirs or not reading.is_theirs or not self.allows("not written there"))
            and not (other.is_theirs and self._is_unnoticed_there(key, write, writes))
            for other in writes
            if other is not write
        )

    def _is_unnoticed_there(self, key: Key, write: Write, writes: list[Write]) -> bool:
        """Tell whether, at the engine of before, it was changed back before it was seen here."""
        theirs = [one for one in writes if one.is_theirs and not one.is_repeated]
        if write.is_theirs or not theirs:
            return False
        last = theirs[-1]
        is_back = any(one.value == last.value for one in theirs if one.done <= write.began)
        is_seen = self.is_here(key.session, write.settled, last.began)
        return is_back and not is_seen and self.allows("changed back")

    def _is_hidden(self, write: Write, reading: Reading) -> bool:
        around = write.transaction
        if around is None or (around.owner == reading.reader and around.state is State.RUNNING):
            return False
        if around.state is State.UNDONE:
            return True
        return around.state is State.RUNNING and around.commit_began >= reading.ended

    def check_accepted(self, key: Key, what: str, reading: Reading) -> None:
        """Hold an acknowledged save or rotation against the ends of its session."""
        reason = self.must_be_dead(key, reading)
        if not reason:
            return
        is_crosswise = reading.is_crosswise and self.allows("cut off crosswise")
        is_unnoticed = self.is_behind and reading.is_unnoticed and self.allows("unnoticed")
        if not (is_crosswise or is_unnoticed):
            self.violated(f"a {what} of a dead session is acknowledged ({reason})", key.text[:6])

    def check_refused(self, key: Key, what: str, reading: Reading, own: Iterable[Promise]) -> None:
        """Hold "the session has ended", answered to a save or rotation, against its ends."""
        is_lost = self.is_cache_alone and self.last_loss >= reading.began
        if is_lost and self.allows("lost with the cache"):
            return
        if not self.may_be_dead(key, reading, own):
            self.violated(f"a {what} of a living session is refused", key.text[:6])

    def waits(self, key: Key | None) -> bool:
        """Tell whether something of a session may be in the cache alone."""
        return key is not None and any(
            promise.state is State.ACKNOWLEDGED and not promise.is_safe
            for promise in (*key.session.promises(), key.made)
        )

    def may_lack_row(self, session: Session) -> bool:
        """Tell whether a session, or whose it is, may be in the cache alone."""
        made = [key.made for key in self.keys if key.session is session]
        is_safe = all(promise.is_safe for promise in (*made, *session.logins))
        return not (self.is_cache_alone or is_safe)

    def sessions_of(
        self, user: str, tick: float, reader: int = NOBODY
    ) -> Iterator[tuple[Session, bool]]:
        """Yield sessions that may be a user's, and whether they are for certain."""
        for session in self.sessions:
            logins = [login for login in session.logins if login.user == user]
            certain = [login for login in logins if login.is_certain(tick, reader)]
            if any(self._is_known(session, login, tick) for login in certain):
                yield session, True
            elif any(login.state is not State.UNDONE for login in logins):
                yield session, False

    def _is_known(self, session: Session, login: Login, tick: float) -> bool:
        if not login.is_theirs or self.is_here(session, login.settled, tick):
            return True
        return not self.allows(_ENDED_HERE)

    def is_here(self, session: Session, since: float, until: float) -> bool:
        """Tell whether a session of the engine of before was found here meanwhile."""
        keys = [key for key in self.keys if key.session is session]
        return any(since <= began and ended <= until for key in keys for began, ended in key.visits)

    def note_login(self, session: Session, began: float) -> None:
        """Note that users who were signed out since then may have been so of this session."""
        session.ends += [
            End(began=one.began, state=State.UNKNOWN, done=one.done, by="end_for_user")
            for one in self.sign_outs
            if one.done > began
        ]


__all__ = ["End", "Key", "Ledger", "Login", "Promise", "Reading", "Session", "Violation", "Write"]
