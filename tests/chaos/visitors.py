"""Visitors: users, and what is known of all their sessions."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

from .browser import Browser
from .figures import Figures
from .ledger import ENDED, Answer, Operations, Question, Visit, Wrong, judge

#: Visits that a user still has somewhere, and dead keys that are tried again.
MOST_VISITS, MOST_DEAD = 12, 30
#: Asked without a session of one's own.
WITHOUT_SESSION = ("end", "end_for_user", "end_and_fail", "command")


class Visitor:
    """A user, and what is known of all his sessions."""

    def __init__(self, name: str, ports: Sequence[int], figures: Callable[[], Figures]) -> None:
        self.name = name
        self.figures = figures
        self.browser = Browser(ports, random.Random(name))
        #: For what is known; never held over a request.
        self.lock = threading.RLock()
        #: One operation at a time: of two rotations of one session at once, one wins.
        self.operating = threading.Lock()
        self.operations = Operations()
        self.visits: list[Visit] = []
        self.dead: list[tuple[Visit, str]] = []
        self._number = count(1)

    def new_visit(self) -> Visit:
        """Begin another session."""
        with self.lock:
            visit = Visit(self.name, f"{self.name}-{next(self._number)}", self.operations)
            self.visits.append(visit)
            return visit

    def request(
        self,
        page: str,
        visit: Visit,
        *,
        prefix: str = "",
        old_cookie: str | None = None,
        port: int | None = None,
        **fields: object,
    ) -> Answer:
        """Ask for a page of a visit's session, and judge the answer."""
        with self.lock:
            question, figures = Question.of(visit, old_cookie=old_cookie), self.figures()
        cookie = "" if page in WITHOUT_SESSION else question.cookie
        answer = self.browser.ask(prefix + page, cookie, port=port, **fields)
        with self.lock:
            seconds = time.monotonic() - question.began
            visit.history.append(_line(prefix + page, question, answer, fields))
            is_dead = question.is_dead or question.is_excused
            figures.count(page, answer, seconds, is_dead=is_dead)
            if page not in ("enter", "login", *WITHOUT_SESSION):
                figures.found(list(judge(question, answer)), visit.history)
        return answer

    def found(self, what: Wrong, visit: Visit, detail: str) -> None:
        """Note what is wrong."""
        self.figures().found([(what, detail)], visit.history)

    @contextmanager
    def operation_on_all(self, is_mine: bool) -> Iterator[float]:
        """Do what strikes all sessions of the user; yield when it began.

        Those that are made or signed in meanwhile may be ended or not.
        """
        began = time.monotonic()
        if not is_mine:
            yield began
            return
        with self.operations:
            yield began
            with self.lock:
                for visit in self.visits:
                    if visit.signed_in_at >= began or not visit.is_signed_in:
                        visit.doubt()

    def signed_in_before(self, moment: float, *, but: Visit | None = None) -> list[Visit]:
        """Return the sessions that an end which began then has to end."""
        with self.lock:
            return [
                visit
                for visit in self.visits
                if visit is not but and visit.is_signed_in and visit.signed_in_at < moment
            ]

    def take_key(self, visit: Visit, answer: Answer) -> None:
        """Take the answer to a rotation."""
        with self.lock:
            if answer.status == 200 and answer.user:
                visit.rotated(answer.cookie)
            elif not answer.is_known:
                visit.doubt()

    def take_ends(self, visits: Sequence[Visit], answer: Answer, *, by: str, is_done: bool) -> None:
        """Take the answer to an end, by whichever page."""
        with self.lock:
            for visit in visits:
                if answer.status == 200 and is_done and visit.state != ENDED:
                    self.bury(visit, by)
                elif not answer.is_known:
                    visit.doubt()

    def doubt_all(self) -> None:
        """Note that nobody knows which of the user's sessions go on."""
        with self.lock:
            for visit in self.visits:
                visit.doubt()

    def bury(self, visit: Visit, by: str) -> None:
        """Note the acknowledged end of a session."""
        visit.end(by)
        self.dead.extend((visit, cookie) for cookie in (visit.cookie, *visit.old_cookies))

    def tidy(self) -> None:
        """Forget sessions that are over, and the oldest of the others."""
        with self.lock:
            self.visits = [v for v in self.visits if v.state != ENDED and v.cookie][-MOST_VISITS:]
            self.dead = self.dead[-MOST_DEAD:]


def _line(page: str, question: Question, answer: Answer, fields: Mapping[str, object]) -> str:
    span = f"{question.began:.3f}-{time.monotonic():.3f}"
    keys = f"{_short(question.cookie)}>{_short(answer.cookie)}"
    told = " ".join(f"{name}={value}" for name, value in fields.items())
    return f"{span} {page} {told} {keys}: {answer.status} {answer.user} {dict(answer.numbers)}"


def _short(cookie: str | None) -> str | None:
    return cookie and f"{cookie[:3]}..{cookie[-3:]}"
