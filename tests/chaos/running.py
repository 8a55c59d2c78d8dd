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
from .figures import Figures, heading
from .ledger import Wrong
from .plans import LONG, SHORT, perform
from .promises import HOMES, PROMISES
from .stages import Setup

#: Faults in which another server takes over from a primary.
FAILOVERS = ("Sentinel", "primary killed", "primary frozen", "primary cut off", "promoted", "split")
#: Lines of a log that say why something was not served.
REASONS = r"^(?:[45]\d\d [A-Z]+ .*|\S*(?:Unavailable|Error|Ended)\b.*)"
DATABASE = ("database", "both")
NO_FAULTS = ("none", *HOMES)


def run(options: argparse.Namespace) -> int:
    """Do as told; return the exit code."""
    reports = []
    for number in range(options.rounds):
        for setup, names in _plan(options):
            report = _performed(setup, names, number + 1, is_thorough=options.long)
            if report is not None:
                reports.append(report)
                _say(
                    *_homes(report),
                    *_findings(report),
                    *(_traces(report) if options.traces else ()),
                )
    _say("", *_summary(reports))
    is_broken = any(report.broken for report in reports)
    return 1 if is_broken or not reports else 0


def _plan(options: argparse.Namespace) -> Iterator[tuple[Setup, Sequence[str]]]:
    words = [word.strip() for word in options.stage.split(",") if word.strip()]
    for setup, names in LONG if options.long else SHORT:
        chosen = [name for name in names if options.fault in name]
        if options.long:
            random.shuffle(chosen)
        if chosen and all(word in str(setup) for word in words):
            yield setup, chosen


def _performed(
    setup: Setup, names: Sequence[str], number: int, *, is_thorough: bool
) -> Report | None:
    began = time.monotonic()
    _say("", f"Round {number}: {setup}", heading(""))
    try:
        report = perform(setup, names, is_thorough=is_thorough, tell=_say)
    except Unavailable as missing:
        _say(f"skipped, this machine lacks {missing}")
        return None
    _say(f"{time.monotonic() - began:.0f} s")
    return report


def _homes(report: Report) -> Iterator[str]:
    for name, figures in report.figures:
        if name in HOMES:
            yield figures.line(f"{name} < {figures.after}"[:33], report.promise(name))


def _findings(report: Report) -> Iterator[str]:
    for name, found in report.broken.items():
        yield f"BROKEN {name}"
        yield from (f"    {line}" for line in found)


def _traces(report: Report) -> Iterator[str]:
    for name, figures in report.figures:
        for trace in figures.traces[:10]:
            yield f"--- {name}: {trace}"
        for reason, times in Counter(re.findall(REASONS, figures.log, re.M)).most_common(8):
            yield f"--- {name}: {times} x {reason[:200]}"


def _summary(reports: Sequence[Report]) -> Iterator[str]:
    """Yield one table of everything, and its totals."""
    sums: dict[str, Figures] = {}
    for name, figures in (pair for report in reports for pair in report.figures):
        sums.setdefault(name, Figures(times=0)).add(figures)
    yield heading("all rounds")
    yield from (figures.line(name, PROMISES[name].of("behind")) for name, figures in sums.items())
    yield ", ".join(f"{figure} {name}" for name, figure in _totals(sums).items())
    yield f"{sum(len(report.broken) for report in reports)} promises broken"


def _totals(sums: dict[str, Figures]) -> dict[str, int]:
    faults = {name: figures.times for name, figures in sums.items() if name not in NO_FAULTS}
    totals = {
        "requests": sum(figures.requests.total() for figures in sums.values()),
        "faults": sum(faults.values()),
        "of a database": sum(n for name, n in faults.items() if _has(name, DATABASE)),
        "failovers": sum(n for name, n in faults.items() if _has(name, FAILOVERS)),
    }
    for what in Wrong:
        totals[what] = sum(figures.wrongs(what) for figures in sums.values())
        totals[f"{what} afterwards"] = sum(figures.afterwards[what] for figures in sums.values())
    return totals


def _has(name: str, words: Sequence[str]) -> bool:
    return any(word in name for word in words)


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
