"""Asking after every session once a fault is over: what is missing now is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from .figures import Figures
from .ledger import ALIVE, DOUBTFUL, ENDED, Answer, Visit, Wrong, forget_suspicions, lost
from .visitors import Visitor

#: So long may pass until every process knows that both stores serve again.
PATIENCE_SECONDS = 8.0
#: So long may pass until what a killed process left in the cache is in the rows.
HAND_OVER_SECONDS = 20.0


class Reckoning:
    """Of all visitors, who do nothing meanwhile."""

    def __init__(
        self,
        visitors: Sequence[Visitor],
        ports: Sequence[int],
        figures: Figures,
        *,
        is_partial: bool,
    ) -> None:
        """With `is_partial` a store is away: sessions that nobody can know of are not missing."""
        self._visitors = visitors
        self._ports = ports
        self._figures = figures
        self._is_partial = is_partial
        self._deadline = time.monotonic() + PATIENCE_SECONDS
        self.sessions = self.known = 0

    def run(self) -> None:
        """Ask after each session, live and dead."""
        with ThreadPoolExecutor(len(self._visitors)) as pool:
            list(pool.map(self._ask_after, self._visitors))

    def _ask_after(self, visitor: Visitor) -> None:
        visitor.tidy()
        for visit in list(visitor.visits):
            if visit.is_signed_in:
                self._settle(visitor, visit)
        for visit, cookie in visitor.dead:
            visitor.request("read", visit, old_cookie=cookie)
        visitor.visits = [visit for visit in visitor.visits if visit.state == ALIVE]

    def _settle(self, visitor: Visitor, visit: Visit) -> None:
        self.sessions += 1
        for port in self._ports:
            forget_suspicions(visit)
            answer = self._settled(partial(visitor.request, "read", visit, port=port), visit)
            if answer.is_known:
                self._take(visit, answer)
            elif not self._is_partial:
                detail = f"{visit.owner}: status {answer.status}"
                self._figures.found([(Wrong.SIGNED_OUT, f"{detail}, long after")], visit.history)
        self.known += answer.is_known

    def _settled(self, ask: partial[Answer], visit: Visit) -> Answer:
        answer = ask()
        while not self._is_good(answer, visit) and time.monotonic() < self._deadline:
            time.sleep(0.3)
            answer = ask()
        return answer

    def _is_good(self, answer: Answer, visit: Visit) -> bool:
        if not answer.is_known:
            return self._is_partial
        return answer.user is None or _is_up_to_date(answer, visit)

    def _take(self, visit: Visit, answer: Answer) -> None:
        if answer.user is None:
            # Who was signed out without an excuse has been counted.
            visit.state = ENDED if visit.state == DOUBTFUL else visit.state
            return
        if visit.state == DOUBTFUL and not self._is_partial:
            visit.state = ALIVE
        self._figures.found(list(lost(visit, answer)), visit.history)


def reckon_rows(
    visitors: Sequence[Visitor],
    rows_of: Callable[[Sequence[str]], Sequence[Answer]],
    figures: Figures,
    nudge: Callable[[], object],
) -> None:
    """Hold the rows against what is known, though nobody has read a session since.

    `nudge` has each process serve a request for no session.
    """
    visits = [
        visit
        for visitor in visitors
        for visit in visitor.visits
        if visit.is_signed_in and visit.state == ALIVE
    ]
    dead = [pair for visitor in visitors for pair in visitor.dead]
    cookies = [*(visit.cookie for visit in visits), *(cookie for _, cookie in dead)]
    deadline = time.monotonic() + HAND_OVER_SECONDS
    while True:
        answers = rows_of(cookies)
        if all(map(_is_up_to_date, answers, visits)) or time.monotonic() > deadline:
            break
        nudge()
        time.sleep(0.3)
    figures.requests["read"] += len(cookies)
    for visit, answer in zip(visits, answers, strict=False):
        wrong = list(lost(visit, answer)) if answer.user else [(Wrong.SIGNED_OUT, visit.owner)]
        figures.found(wrong, visit.history)
    for (visit, _), answer in zip(dead, answers[len(visits) :], strict=True):
        if answer.user:
            figures.found([(Wrong.ZOMBIE, visit.owner)], visit.history)


def _is_up_to_date(answer: Answer, visit: Visit) -> bool:
    return answer.user == visit.user and not any(
        answer.numbers.get(name, 0) < number.acknowledged for name, number in visit.numbers.items()
    )
