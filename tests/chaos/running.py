"""Rounds of drills, and one table of them all."""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from ..servers.databases import Unavailable
from .drill import Report
from .ledger import Wrong
from .plans import LONG, SHORT, perform
from .stages import Setup

#: Faults in which another server takes over from a primary.
FAILOVERS = ("Sentinel", "primary killed", "primary frozen", "primary cut off", "promoted", "split")
#: Lines of a log that say why something was not served.
REASONS = r"^(?:[45]\d\d [A-Z]+ .*|\S*(?:Unavailable|Error|Ended)\b.*)"
DATABASE = ("database", "both")


def run(options: argparse.Namespace) -> int:
    """Do as told; return the exit code."""
    totals: Counter[str] = Counter()
    reports: list[Report] = []
    for number in range(options.rounds):
        for setup, names in _plan(options):
            report = _performed(setup, names, number + 1, is_thorough=options.long)
            if report is not None:
                if options.traces:
                    _show_traces(report)
                reports.append(report)
                # Not `+=`: that leaves out what is zero.
                totals.update(_counted(report))
    broken = {name: found for report in reports for name, found in report.broken.items()}
    for name, found in broken.items():
        sys.stdout.write(f"BROKEN {name}\n" + "".join(f"    {line}\n" for line in found))
    sys.stdout.write(f"{', '.join(f'{count} {name}' for name, count in totals.items())}\n")
    return 1 if broken or not reports else 0


def _plan(options: argparse.Namespace) -> Iterator[tuple[Setup, Sequence[str]]]:
    plan = LONG if options.long else SHORT
    words = [word.strip() for word in options.stage.split(",") if word.strip()]
    for setup, names in plan:
        chosen = [name for name in names if options.fault in name]
        if options.long:
            random.shuffle(chosen)
        if chosen and all(word in str(setup) for word in words):
            yield setup, chosen


def _performed(
    setup: Setup, names: Sequence[str], number: int, *, is_thorough: bool
) -> Report | None:
    began = time.monotonic()
    try:
        report = perform(setup, names, is_thorough=is_thorough)
    except Unavailable as missing:
        sys.stdout.write(f"{setup}: skipped, this machine lacks {missing}\n")
        return None
    seconds = time.monotonic() - began
    sys.stdout.write(f"\nRound {number}: {setup} ({seconds:.0f} s)\n{report.table()}\n")
    for name, found in report.broken.items():
        sys.stdout.write(f"  BROKEN {name}\n" + "".join(f"      {line}\n" for line in found))
    sys.stdout.flush()
    return report


def _show_traces(report: Report) -> None:
    for name, figures in report.figures:
        for trace in figures.traces[:10]:
            sys.stdout.write(f"--- {name}: {trace}\n")
        for reason, count in Counter(re.findall(REASONS, figures.log, re.M)).most_common(8):
            sys.stdout.write(f"--- {name}: {count} x {reason[:200]}\n")


def _counted(report: Report) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, figures in report.figures:
        is_fault = name not in ("none", "row alone", "cache alone")
        counts["faults"] += is_fault
        counts["of a database"] += is_fault and any(word in name for word in DATABASE)
        counts["failovers"] += any(word in name for word in FAILOVERS)
        counts["requests"] += figures.requests.total()
        for what in Wrong:
            counts[what] += figures.wrongs(what)
            counts[f"{what} afterwards"] += figures.afterwards[what]
    return counts
