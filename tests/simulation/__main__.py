"""Run simulations: `python3 -m tests.simulation --schedules 10000 --seed 1`.

Prints each kind of violation with its shortest schedule, which a test can run; exits with 1 if
there is any.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator


def main(arguments: list[str]) -> int:
    """Search every mode that was asked for; return the exit status."""
    options = parsed(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    modes = [
        (engine, writes)
        for engine in options.engine
        for writes in (options.writes if engine == "cached_db" else ["through"])
    ]
    return max([_search(options, engine, writes) for engine, writes in modes], default=0)


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    from .drawing import THEMES
    from .rules import RULES

    parser = argparse.ArgumentParser(prog="python3 -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=2000, help="for each mode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", action="append", choices=["cached_db", "cache"])
    parser.add_argument("--writes", action="append", choices=["through", "behind"])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--theme", choices=list(THEMES), default="")
    parser.add_argument("--exhaustive", action="store_true", help="all schedules of two operations")
    parser.add_argument("--preemptions", type=int, default=3, help="of --exhaustive")
    parser.add_argument("--faults", type=int, default=1, help="of --exhaustive")
    parser.add_argument(
        "--part", default="0/1", help="of --exhaustive: the pairs k, k+n, ... (k/n)"
    )
    parser.add_argument("--without", action="append", default=[], choices=list(RULES))
    options = parser.parse_args(arguments)
    options.engine = options.engine or ["cached_db", "cache"]
    options.writes = options.writes or ["through", "behind"]
    return options


def _search(options: argparse.Namespace, engine: str, writes: str) -> int:
    from .searching import Search
    from .stage import Stage

    began = time.perf_counter()
    with Stage(engine=engine, writes=writes, vendor=options.database) as stage:
        search = Search(stage, options.without)
        for _ in _steps(options, search):
            if search.findings.schedules % 500 == 0:
                sys.stderr.write(".")
    _report(f"{engine} {writes} {options.database}", search, time.perf_counter() - began)
    return 1 if search.findings.by_kind else 0


def _steps(options: argparse.Namespace, search) -> Iterator[None]:  # type: ignore[no-untyped-def]
    if options.exhaustive:
        part, parts = map(int, options.part.split("/"))
        return search.exhaustively(
            preemptions=options.preemptions, faults=options.faults, part=(part, parts)
        )
    return search.at_random(options.schedules, options.seed, options.theme)


def _report(mode: str, search, seconds: float) -> None:  # type: ignore[no-untyped-def]
    findings = search.findings
    total = sum(found.count for found in findings.by_kind.values())
    rate = findings.schedules / seconds
    lines = [
        f"\n== {mode}: {total} violations in {findings.schedules} schedules ({rate:.0f}/s)",
        f"   rules that were needed: {dict(findings.used) or 'none'}",
        findings.shown(),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
