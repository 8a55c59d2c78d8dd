"""What visitors were told, and what must therefore be so: a judgement without any input or output.

A *visit* is one session from its anonymous beginning to its end, whatever keys it has had. Each of
its numbers is written by one tab and only rises, so that every answer can be judged by itself: a
request that began after a number was acknowledged shows that number or a later one, and none that
nobody tried. Nothing is expected of a visit while an operation on it is under way, nor for ever
once one was not answered, but that it shows no older number and nobody else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ALIVE, DOUBTFUL, ENDED = "alive", "doubtful", "ended"


class Wrong(StrEnum):
    """What may not happen, by what the table of promises calls it."""

    LOST = "lost"
    STALE = "stale"
    ZOMBIE = "zombie"
    WRONG_USER = "wrong user"
    SIGNED_OUT = "signed out"
    UNDONE = "undone"


@dataclass(frozen=True)
class Answer:
    """What came back: status 0 when the connection broke, `cookie` empty when it was deleted."""

    status: int
    user: str | None = None
    owner: str | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    cookie: str | None = None
    session: str | None = None
    ended: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the site has said what it did."""
        return 0 < self.status < 500


@dataclass
class Number:
    """One field of a session, written by one tab."""

    acknowledged: int = 0
    tried: int = 0
    #: Tried in a transaction that was rolled back.
    undone: set[int] = field(default_factory=set)
    #: Shown to be older than acknowledged: not written again until that has been looked into.
    is_suspect: bool = False

    def next(self, *, is_undone: bool = False) -> int:
        """Try the next."""
        self.tried += 1
        if is_undone:
            self.undone.add(self.tried)
        return self.tried


@dataclass
class Operations:
    """What is under way that changes whether keys are good, and when the last of it was over."""

    under_way: int = 0
    last_over: float = 0.0

    def __enter__(self) -> None:
        """Note that one begins."""
        self.under_way += 1

    def __exit__(self, *exc_info: object) -> None:
        """Note that it is over."""
        self.under_way -= 1
        self.last_over = time.monotonic()

    def overlap(self, began: float) -> bool:
        """Tell whether any was under way since a moment."""
        return self.under_way > 0 or self.last_over >= began


@dataclass
class Visit:
    """One session of a user on one device."""

    user: str
    owner: str
    #: Those that strike all sessions of its user.
    users_operations: Operations
    operations: Operations = field(default_factory=Operations)
    cookie: str = ""
    state: str = ALIVE
    is_signed_in: bool = False
    numbers: dict[str, Number] = field(default_factory=dict)
    #: Keys that it had before a rotation that was acknowledged.
    old_cookies: list[str] = field(default_factory=list)
    signed_in_at: float = 0.0
    #: What was asked and answered last, for whoever examines a finding.
    history: deque[str] = field(default_factory=lambda: deque(maxlen=40))

    def number(self, name: str) -> Number:
        """Return a number by its name."""
        return self.numbers.setdefault(name, Number())

    def is_changing_since(self, began: float) -> bool:
        """Tell whether anything was under way since then that its key may be bad after."""
        return self.operations.overlap(began) or self.users_operations.overlap(began)

    def rotated(self, cookie: str | None) -> None:
        """Take the key that a rotation was acknowledged with; it may be the same as before."""
        if cookie and cookie != self.cookie:
            self.old_cookies.append(self.cookie)
            self.cookie = cookie

    def end(self, by: str) -> None:
        """Note that its end was acknowledged to a page."""
        self.state = ENDED
        self.history.append(f"{time.monotonic():.3f} ended by {by}")

    def doubt(self) -> None:
        """Note that nobody knows whether it, or its key, goes on."""
        if self.state == ALIVE:
            self.state = DOUBTFUL
            self.history.append(f"{time.monotonic():.3f} doubtful")


@dataclass(frozen=True)
class Question:
    """A request to a visit, and what was so when it began."""

    visit: Visit
    cookie: str
    began: float
    floors: Mapping[str, int]
    #: Whether the key was known to be dead.
    is_dead: bool = False

    @classmethod
    def of(cls, visit: Visit, *, old_cookie: str | None = None) -> Question:
        """Note what is so now; with one of the visit's old cookies if told so."""
        return cls(
            visit=visit,
            cookie=old_cookie or visit.cookie,
            began=time.monotonic(),
            floors={name: number.acknowledged for name, number in visit.numbers.items()},
            is_dead=old_cookie is not None or visit.state == ENDED,
        )

    @property
    def is_excused(self) -> bool:
        """Whether the key may have become bad while the request was on its way."""
        visit = self.visit
        return (
            visit.state != ALIVE
            or visit.is_changing_since(self.began)
            or visit.cookie != self.cookie
        )


Finding = tuple[Wrong, str]


def judge(question: Question, answer: Answer) -> Iterator[Finding]:
    """Yield what is wrong with an answer; note which numbers have to be looked into."""
    if not answer.is_known:
        return
    visit = question.visit
    if answer.user is None:
        if visit.is_signed_in and not question.is_dead and not question.is_excused:
            # Once: what is gone is not counted again.
            visit.doubt()
            yield Wrong.SIGNED_OUT, f"{visit.owner}: status {answer.status}"
    elif answer.user != visit.user or answer.owner not in (None, visit.owner):
        yield Wrong.WRONG_USER, f"{answer.user}, {answer.owner} for {visit.owner}"
    elif question.is_dead:
        key = "ended" if question.cookie == visit.cookie else "rotated"
        yield Wrong.ZOMBIE, f"{visit.owner}: its {key} key is good"
    else:
        yield from _judge_numbers(question, answer)


def _judge_numbers(question: Question, answer: Answer) -> Iterator[Finding]:
    visit = question.visit
    for name, floor in question.floors.items():
        number, shown = visit.numbers[name], answer.numbers.get(name, 0)
        if shown < floor and not number.is_suspect:
            # Once: until it has been looked into, nothing else is to be expected.
            number.is_suspect = True
            yield Wrong.STALE, f"{visit.owner} {name}: {shown} after {floor}"
    for name, shown in answer.numbers.items():
        number = visit.number(name)
        if shown > number.tried or shown in number.undone:
            # Once: it will be shown again and again.
            number.tried = max(number.tried, shown)
            number.undone.discard(shown)
            yield Wrong.UNDONE, f"{visit.owner} {name}: {shown} was rolled back, or never tried"


def forget_suspicions(visit: Visit) -> None:
    """Expect everything again of the next answer."""
    for number in visit.numbers.values():
        number.is_suspect = False


def lost(visit: Visit, answer: Answer) -> Iterator[Finding]:
    """Yield what is gone for good, and expect it no more."""
    for name, number in visit.numbers.items():
        shown = answer.numbers.get(name, 0)
        if shown < number.acknowledged:
            yield Wrong.LOST, f"{visit.owner} {name}: {shown} after {number.acknowledged}"
            number.acknowledged = shown
    forget_suspicions(visit)
