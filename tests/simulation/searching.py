"""Running many schedules, and keeping the shortest for each kind of violation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

from . import exhausting
from .drawing import draw, recorded
from .running import Outcome, run
from .schedule import Schedule
from .shrinking import shrink
from .stage import Stage


@dataclass
class Found:
    """A kind of violation: how often it was seen, and its shortest schedule."""

    count: int
    schedule: Schedule
    text: str
    log: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """What a search came to."""

    schedules: int = 0
    exchanges: int = 0
    by_kind: dict[str, Found] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)

    def shown(self) -> str:
        """Return each kind with its shortest schedule and what happens in it."""
        lines: list[str] = []
        for kind, found in sorted(self.by_kind.items(), key=lambda item: -item[1].count):
            lines += [f"\n-- {kind}: {found.count}", found.text, str(found.schedule)]
            lines += [f"    # {line}" for line in found.log[2:]]
        return "\n".join(lines)


class Search:
    """Runs schedules on one stage."""

    def __init__(self, stage: Stage, without: Collection[str] = (), *, shrinks: int = 2) -> None:
        """Take the stage, rules that are not in force, and how many of a kind to shrink."""
        self.stage, self.without, self._shrinks = stage, without, shrinks
        self.findings = Findings()

    def at_random(self, count: int, seed: int, theme: str = "") -> Iterator[None]:
        """Run random schedules; the same for the same seed."""
        for number in range(count):
            rng = random.Random(f"{seed}.{number}")
            drawn_schedule, drawn = draw(
                rng,
                engine=self.stage.engine,
                writes=self.stage.writes,
                database=self.stage.vendor,
                theme=theme,
            )
            outcome = run(self.stage, drawn_schedule, drawn, self.without)
            self._take(recorded(drawn_schedule, drawn), outcome)
            yield

    def exhaustively(
        self, *, preemptions: int, faults: int, part: tuple[int, int] = (0, 1)
    ) -> Iterator[None]:
        """Run all schedules of two operations, or each n-th pair of them."""

        def tried(schedule: Schedule) -> Outcome:
            outcome = run(self.stage, schedule, without=self.without)
            self._take(schedule, outcome)
            return outcome

        for pair in exhausting.pairs(self.stage.engine, self.stage.writes, self.stage.vendor)[
            part[0] :: part[1]
        ]:
            yield from exhausting.explore(pair, tried, preemptions=preemptions, faults=faults)

    def _take(self, schedule: Schedule, outcome: Outcome) -> None:
        self.findings.schedules += 1
        self.findings.exchanges += len(outcome.log)
        self.findings.used.update(outcome.used)
        for kind in dict.fromkeys(violation.kind for violation in outcome.violations):
            self._note(kind, schedule)

    def _note(self, kind: str, schedule: Schedule) -> None:
        known = self.findings.by_kind.get(kind)
        if known is None or (known.count < self._shrinks or schedule.size < known.schedule.size):
            short = shrink(schedule, self._violates(kind))
            if known is None or short.size < known.schedule.size:
                count = known.count if known else 0
                known = self.findings.by_kind[kind] = self._found(kind, short, count)
        known.count += 1

    def _violates(self, kind: str) -> Callable[[Schedule], bool]:
        def is_bad(schedule: Schedule) -> bool:
            outcome = run(self.stage, schedule, without=self.without)
            return any(violation.kind == kind for violation in outcome.violations)

        return is_bad

    def _found(self, kind: str, schedule: Schedule, count: int) -> Found:
        outcome = run(self.stage, schedule, without=self.without)
        text = next((v.text for v in outcome.violations if v.kind == kind), "not reproduced")
        return Found(count, replace(schedule), text, outcome.log)
