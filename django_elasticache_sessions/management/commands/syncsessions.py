"""`manage.py syncsessions`: bring cache and database together."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import CACHED_DB_ENGINE
from ...exceptions import SessionStoreUnavailable
from ...synchronization import Pass, synchronize
from ..arguments import positive


class Command(BaseCommand):
    """Exit codes: 0 done; 1 a store or KMS is unavailable, the engine is another one, or a system
    check failed; 2 wrong options; 130 interrupted.
    """

    help = (
        "Brings the cached_db engine's sessions from the cache into the database that were saved "
        'there alone, during an outage or with FALLBACK_WRITES = "behind", and drops from the '
        "cache what is older than in the database. It can be interrupted and run again at any time."
    )
    requires_system_checks = ("caches",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--loop",
            action="store_true",
            help="Go on until interrupted, also over outages; needed with "
            'FALLBACK_WRITES = "behind".',
        )
        parser.add_argument(
            "--interval",
            type=positive(3600),
            default=1,
            metavar="SECONDS",
            help="Seconds between the passes of --loop (default: 1).",
        )
        parser.add_argument(
            "--batch-size",
            type=positive(10_000),
            default=200,
            metavar="N",
            help="Sessions brought over at a time (default: 200).",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="Print each pass as a line of JSON, alone on stdout.",
        )

    def handle(self, *, loop: bool, interval: int, batch_size: int, **options: Any) -> None:
        """Make one pass, or one after the other."""
        if settings.SESSION_ENGINE != CACHED_DB_ENGINE:
            raise CommandError(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, which keeps sessions in one "
                f"place. This command is for {CACHED_DB_ENGINE!r}."
            )
        try:
            if not loop:
                self.report(synchronize(batch_size=batch_size), as_json=options["json"])
                return
            while True:
                self.attempt(batch_size, as_json=options["json"])
                time.sleep(interval)
        except ImproperlyConfigured as problem:
            raise CommandError(str(problem)) from None
        except SessionStoreUnavailable as problem:
            raise CommandError(f"{problem} Nothing is lost; run the command again.") from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted; run it again to go on.", returncode=130) from None

    def attempt(self, batch_size: int, *, as_json: bool) -> None:
        """Make a pass that may fail."""
        try:
            done = synchronize(batch_size=batch_size)
        except SessionStoreUnavailable as problem:
            self.stderr.write(str(problem))
        else:
            if done.saved or done.dropped or as_json:
                self.report(done, as_json=as_json)

    def report(self, done: Pass, *, as_json: bool) -> None:
        """Print what a pass did."""
        if as_json:
            self.stdout.write(json.dumps(asdict(done)))
        else:
            self.stdout.write(
                f"{done.saved} sessions saved in the database, {done.dropped} dropped from the "
                f"cache, {done.waiting} still waiting."
            )
        self.stdout.flush()
