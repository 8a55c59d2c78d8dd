"""Shoppers in a shop that faults befall, one after the other, and the judgement of it all."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from django_elasticache_sessions.breaker import LONGEST_PAUSE_SECONDS
from django_elasticache_sessions.homes import DATABASE_AFTERMATH_SECONDS

from .shoppers import Ledger, Shopper

SHOPPERS = 4
#: The most that it may take after a fault until there are no more server errors.
RECOVERY_SECONDS = 6.0
#: Faults of which more is known than that they are faults.
DATABASE_DOWN = "PostgreSQL stopped"
BOTH_DOWN = "both down"


@dataclass
class Drill:
    """What came of it."""

    ledgers: dict[str, Ledger] = field(default_factory=dict)
    #: By fault: in how many seconds what was lost was served by another.
    recoveries: dict[str, float] = field(default_factory=dict)
    failures: list[BaseException | None] = field(default_factory=list)
    log: str = ""

    def judge(self) -> None:
        """Raise `AssertionError` unless nothing went wrong that may not."""
        ledgers = self.ledgers.items()
        assert self.failures == [None] * SHOPPERS
        assert {name: ledger.details for name, ledger in ledgers if ledger.wrongs} == {}
        assert {
            name: ledger.server_errors
            for name, ledger in ledgers
            if ledger.server_errors and name != BOTH_DOWN
        } == {}, Counter(re.findall(r"^503.*|^\S*Unavailable.*", self.log, re.M)).most_common(20)
        busy = [ledger.writes for name, ledger in ledgers if name != "afterwards"]
        assert min(busy) > 10

    def table(self) -> str:
        """Return the figures of every phase."""
        lines = [
            f"{'':34}{'requests':>9}{'writes':>8}{'wrong':>7}{'5xx':>6}{'median':>9}{'longest':>9}"
            f"{'recovery' if self.recoveries else '':>10}"
        ]
        for name, ledger in self.ledgers.items():
            seconds = sorted(ledger.seconds) or [0.0]
            recovery = f"{self.recoveries[name]:8.1f} s" if name in self.recoveries else ""
            lines.append(
                f"{name:34}{ledger.requests:9}{ledger.writes:8}{ledger.wrongs.total():7}"
                f"{ledger.server_errors:6}{seconds[len(seconds) // 2] * 1000:6.0f} ms"
                f"{seconds[-1] * 1000:6.0f} ms{recovery}"
            )
        return "\n".join(line.rstrip() for line in lines)


def drill(servers: Any, faults: Mapping[str, Callable[[Any], float | None]]) -> Drill:
    """Have shoppers in a stage's shop while each fault befalls it.

    A fault returns in how many seconds what it took away was served by another, if it took any.
    """
    found, current = Drill(), Ledger()
    shoppers = [Shopper(servers.shop.port, f"shopper{n}", lambda: current) for n in range(SHOPPERS)]
    for shopper in shoppers:
        shopper.start()
    for name, fault in faults.items():
        with ExitStack() as stack:
            # No request is counted to a fault that it began before.
            for shopper in shoppers:
                stack.enter_context(shopper.acting)
            current = found.ledgers[name] = Ledger(has_database=name != DATABASE_DOWN)
        recovery = fault(servers)
        if recovery is not None:
            found.recoveries[name] = recovery
        # Only then do processes that miss the cache believe the database again.
        wait_until_calm(current, DATABASE_AFTERMATH_SECONDS if name == BOTH_DOWN else 0)
    for shopper in shoppers:
        shopper.stopping.set()
        shopper.join(30)
    current = found.ledgers["afterwards"] = Ledger()
    for shopper in shoppers:
        shopper.settle()
    found.failures = [shopper.failure for shopper in shoppers]
    found.log = servers.shop.log.read_text()
    return found


def wait_until_calm(ledger: Ledger, more_seconds: float) -> None:
    """Wait until breakers have closed and the last second brought no server error."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    time.sleep(LONGEST_PAUSE_SECONDS + more_seconds)
    seen = -1
    while seen != ledger.server_errors and time.monotonic() < deadline:
        seen = ledger.server_errors
        time.sleep(1)
