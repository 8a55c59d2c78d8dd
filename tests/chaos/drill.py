"""Faults one after the other under visitors, and the judgement of what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from .faults import Fault
from .faults.processes import FAILING_VIEWS
from .figures import Figures, heading
from .ledger import Wrong
from .promises import PROMISES, Promise
from .reckoning import Reckoning, reckon_rows
from .stages import Stage
from .tabs import HABITS, Device
from .visitors import Visitor

USERS = tuple(f"visitor{number}" for number in range(4))
DEVICES, TABS = 2, 2
#: The most that may pass after a fault until there are no more server errors.
RECOVERY_SECONDS = 6.0
CALM_SECONDS = 0.6
#: For so long a process may not have noticed what another one could not tell the cache
#: (docs/outages.rst).
UNNOTICED_SECONDS = 1.1
#: For so long after a database came back a process needs both stores (docs/fallback.rst).
DATABASE_AFTERMATH_SECONDS = 3.5
#: A key that no session has.
NO_KEY = "0" * 40
FAILING_HABITS = {**HABITS, "write_and_fail": 20.0, "login_and_fail": 5.0, "end_and_fail": 3.0}


Tell = Callable[[str], object]


def nobody(line: str) -> None:
    """Tell nobody."""


@dataclass
class Report:
    """What came of a stage, by fault."""

    title: str
    writes: str
    figures: list[tuple[str, Figures]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def promise(self, fault: str) -> Promise:
        """Return what is promised."""
        return PROMISES[fault].of(self.writes)

    @property
    def broken(self) -> dict[str, list[str]]:
        """The promises that were not kept, by fault, and details of the first."""
        broken = {
            f"{self.title}: {name}{figures.after and f' after {figures.after}'}": found
            + figures.details[:5]
            for name, figures in self.figures
            if (found := figures.broken(self.promise(name)))
        }
        if self.failures:
            broken[self.title] = [repr(failure) for failure in self.failures]
        return broken

    def table(self) -> str:
        """Return the figures of every fault."""
        lines = [figures.line(name, self.promise(name)) for name, figures in self.figures]
        return "\n".join([heading(""), *lines])


class Drill:
    """Visitors on a stage."""

    def __init__(self, stage: Stage, *, is_thorough: bool = False, tell: Tell = nobody) -> None:
        """With `is_thorough`, either home is asked alone after each fault, not only at the end.

        `tell` is given each line of the table as soon as it is known.
        """
        self._tell = tell
        self._stage = stage
        self._is_thorough = is_thorough
        self._current, self._after = Figures(), ""
        self._visitors = [Visitor(name, stage.ports, lambda: self._current) for name in USERS]
        self._devices = [
            Device(visitor, index, TABS) for visitor in self._visitors for index in range(DEVICES)
        ]
        self._tabs = [tab for device in self._devices for tab in device.tabs]
        self.report = Report(str(stage.setup), stage.setup.writes)

    def run(self, faults: Mapping[str, Fault]) -> Report:
        """Have each fault befall the stage."""
        with self._paused():
            for tab in self._tabs:
                tab.start()
        try:
            for name, fault in faults.items():
                self._befall(name, fault)
            if not self._is_thorough:
                with self._paused():
                    self._ask_each_home()
        finally:
            for tab in self._tabs:
                tab.stopping.set()
            for tab in self._tabs:
                tab.join(30)
            self.report.failures = [tab.failure for tab in self._tabs if tab.failure]
        return self.report

    def _befall(self, name: str, fault: Fault) -> None:
        with self._paused():
            figures = self._begin(name)
            is_failing = name == FAILING_VIEWS
            for device in self._devices:
                device.habits = FAILING_HABITS if is_failing else HABITS
                device.atomic_share = 0.4 if is_failing else 0.0
        figures.recovery_seconds = fault(self._stage)
        self._wait_until_calm(figures)
        if Wrong.STALE in PROMISES[name].during:
            time.sleep(UNNOTICED_SECONDS)
        with self._paused():
            figures.is_over = True
            self._after = name
            if self.report.writes == "through":
                self._reckon_rows()
            self._reckon(figures)
            figures.log = self._stage.new_log()
            self._tell(figures.line(name, self.report.promise(name)))
            if self._is_thorough:
                self._ask_each_home()

    def _begin(self, name: str, *, is_over: bool = False) -> Figures:
        self._current = Figures(after=self._after if is_over else "", is_over=is_over)
        self.report.figures.append((name, self._current))
        return self._current

    def _ask_each_home(self) -> None:
        """Ask the rows alone, with an empty cache, and then the cache alone."""
        stage = self._stage
        stage.synchronize()
        rows = self._begin("row alone", is_over=True)
        stage.empty_cache()
        self._reckon(rows)
        rows.log = stage.new_log()
        stage.cut_database()
        try:
            hashes = self._begin("cache alone", is_over=True)
            self._reckon(hashes, is_partial=True)
        finally:
            stage.heal_database()
            self._wait_until_known(time.monotonic() + RECOVERY_SECONDS)
            if self._is_thorough:
                # Until then rows alone are not believed, should the next fault take the cache.
                time.sleep(DATABASE_AFTERMATH_SECONDS)

    def _reckon_rows(self) -> None:
        """Look at the rows before anybody reads a session."""
        stage = self._stage
        rows = Figures(after=self._after, is_over=True)
        self.report.figures.append(("row as it is", rows))
        reckon_rows(self._visitors, stage.rows_of, rows, self._nudge)

    def _nudge(self) -> None:
        for port in self._stage.ports:
            self._stage.browser.ask("read", NO_KEY, port=port)

    def _reckon(self, figures: Figures, *, is_partial: bool = False) -> None:
        Reckoning(self._visitors, self._stage.ports, figures, is_partial=is_partial).run()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Have no tab do anything: no request is counted to a fault that it began before."""
        with ExitStack() as stack:
            for tab in self._tabs:
                stack.enter_context(tab.acting)
            yield

    def _wait_until_calm(self, figures: Figures) -> None:
        """Wait until every process knows that its stores serve, and a while brings no error."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        self._wait_until_known(deadline)
        seen = -1
        while seen != figures.errors.total() and time.monotonic() < deadline:
            seen = figures.errors.total()
            time.sleep(CALM_SECONDS)

    def _wait_until_known(self, deadline: float) -> None:
        browser = self._stage.browser
        for port in self._stage.ports:
            # Only the database knows that there is no such session.
            while browser.ask("read", NO_KEY, port=port).status != 200:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.1)
