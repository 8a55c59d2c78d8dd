"""What a process was asked to do, and whether it said that it did."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

NOBODY = -1


class State(Enum):
    """What became of it, as far as its client knows."""

    RUNNING = auto()
    ACKNOWLEDGED = auto()
    #: Answered with "unavailable", or not at all: it may or may not have happened.
    UNKNOWN = auto()
    #: Rolled back.
    UNDONE = auto()


@dataclass(eq=False, slots=True)
class Transaction:
    """A transaction of an actor; what happened inside counts once it has committed."""

    owner: int
    state: State = State.RUNNING
    commit_began: float = math.inf
    done: float = math.inf


@dataclass(eq=False, slots=True)
class Promise:
    """Something between two ticks. A safe one is in the row, where the cache is not needed."""

    began: int
    transaction: Transaction | None = None
    state: State = State.RUNNING
    done: float = math.inf
    is_safe: bool = False
    is_doubtful: bool = False
    #: Done by a process of the release before.
    is_theirs: bool = False

    def is_certain(self, before: float, reader: int = NOBODY) -> bool:
        """Tell whether a reader who begins then has to see it."""
        if self.is_doubtful or self.state is not State.ACKNOWLEDGED:
            return False
        around = self.transaction
        if around is None or (around.state is State.RUNNING and around.owner == reader):
            return self.done <= before
        return around.state is State.ACKNOWLEDGED and around.done <= before

    def is_possible(self, before: float, reader: int = NOBODY) -> bool:
        """Tell whether a reader who has ended by then may have seen it."""
        if self.began >= before or self.state is State.UNDONE:
            return False
        around = self.transaction
        if around is None or around.owner == reader:
            return around is None or around.state is not State.UNDONE
        return around.state is not State.UNDONE and around.commit_began < before

    @property
    def settled(self) -> float:
        """When nothing of it went on any more."""
        return max(self.done, self.transaction.done if self.transaction else 0)


@dataclass(eq=False, slots=True)
class Write(Promise):
    """A value of a key; `None` for none."""

    value: Any = None
    #: When what it was written over was read.
    read: int = -1
    #: A process of the release before wrote again what it had read.
    is_repeated: bool = False

    def is_replaced_by(self, other: Write, before: float, reader: int) -> bool:
        """Tell whether another one came wholly after it, and has to be seen."""
        # What was done at the engine of before counts when it is seen here.
        is_after_theirs = self.is_theirs and not other.is_theirs and other.read >= 0
        began = other.read if is_after_theirs else other.began
        return other.is_certain(before, reader) and began >= self._over(reader)

    def _over(self, reader: int) -> float:
        own = self.transaction is not None and self.transaction.owner == reader
        return self.done if own else self.settled


@dataclass(eq=False, slots=True)
class End(Promise):
    """The end of a session, and who ended it."""

    by: str = "logout"


@dataclass(eq=False, slots=True)
class Login(Promise):
    """A session becomes a user's."""

    user: str = ""


@dataclass(eq=False, slots=True)
class Renewal(Promise):
    """A session's expiry is put off; when it was begun, and when it was answered, in seconds."""

    seconds: float = 0
    until_seconds: float = math.inf
    is_creation: bool = False


@dataclass(eq=False, slots=True)
class Session:
    """A session, whatever its session keys."""

    fields: dict[str, list[Write]] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
    renewals: list[Renewal] = field(default_factory=list)
    #: Began as what may or may not be another one: nothing of it has to be there.
    is_vague: bool = False

    def promises(self) -> list[Promise]:
        """Return everything but what belongs to a key."""
        writes = [write for of_field in self.fields.values() for write in of_field]
        return [*writes, *self.ends, *self.logins, *self.renewals]


@dataclass(eq=False, slots=True)
class Key:
    """A session key: made by a creation or rotation, left by others."""

    text: str
    session: Session
    made: Promise
    left: list[Promise] = field(default_factory=list)
    #: Made by the engine of before.
    is_theirs: bool = False
    #: Whether somebody who may have migrated it did not come to mark it there.
    is_torn: bool = False
    #: Loads that found it here, began and ended.
    visits: list[tuple[float, float]] = field(default_factory=list)


@dataclass(slots=True)
class SignOut:
    """When a user was signed out everywhere."""

    began: int
    done: float = math.inf
