"""Every fault, under a shop that is in use: nothing acknowledged is lost, nobody is another."""

from __future__ import annotations

import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from django_elasticache_sessions.breaker import LONGEST_PAUSE_SECONDS

from .shoppers import Ledger, Shopper
from .stage import FAULTS, Stage

SHOPPERS = 4
#: The most that it may take after a fault until there are no more server errors.
RECOVERY_SECONDS = 6.0
BOTH_DOWN = "both down"


@pytest.mark.timeout(300)
def test_the_shop_survives_every_fault(tmp_path: Path, capsys):
    ledgers: dict[str, Ledger] = {}
    current = Ledger()
    with Stage(tmp_path) as servers:
        shoppers = [
            Shopper(servers.shop.port, f"shopper{n}", lambda: current) for n in range(SHOPPERS)
        ]
        for shopper in shoppers:
            shopper.start()
        for name, fault in FAULTS.items():
            with ExitStack() as stack:
                # No request is counted to a fault that it began before.
                for shopper in shoppers:
                    stack.enter_context(shopper.acting)
                current = ledgers[name] = Ledger(has_database=name != "PostgreSQL stopped")
            fault(servers)
            wait_until_calm(ledgers[name])
        for shopper in shoppers:
            shopper.stopping.set()
            shopper.join(30)
        current = ledgers["afterwards"] = Ledger()
        for shopper in shoppers:
            shopper.settle()
        log = servers.shop.log.read_text()
    with capsys.disabled():
        sys.stdout.write(f"\n{table(ledgers)}\n")
    assert [shopper.failure for shopper in shoppers] == [None] * SHOPPERS
    assert {name: ledger.details for name, ledger in ledgers.items() if ledger.wrongs} == {}
    assert {
        name: ledger.server_errors
        for name, ledger in ledgers.items()
        if ledger.server_errors and name != BOTH_DOWN
    } == {}, re.findall(r"^503.*|^\S*Unavailable.*", log, re.M)
    busy = [ledger.writes for name, ledger in ledgers.items() if name != "afterwards"]
    assert min(busy) > 10


def wait_until_calm(ledger: Ledger) -> None:
    """Wait until breakers have closed and the last second brought no server error."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    time.sleep(LONGEST_PAUSE_SECONDS)
    seen = -1
    while seen != ledger.server_errors and time.monotonic() < deadline:
        seen = ledger.server_errors
        time.sleep(1)


def table(ledgers: dict[str, Ledger]) -> str:
    """Return the figures of every phase."""
    lines = [
        f"{'':34}{'requests':>9}{'writes':>8}{'wrong':>7}{'5xx':>6}{'median':>9}{'longest':>9}"
    ]
    for name, ledger in ledgers.items():
        seconds = sorted(ledger.seconds) or [0.0]
        lines.append(
            f"{name:34}{ledger.requests:9}{ledger.writes:8}{ledger.wrongs.total():7}"
            f"{ledger.server_errors:6}{seconds[len(seconds) // 2] * 1000:6.0f} ms"
            f"{seconds[-1] * 1000:6.0f} ms"
        )
    return "\n".join(lines)
