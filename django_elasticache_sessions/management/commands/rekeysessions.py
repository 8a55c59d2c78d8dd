"""`manage.py rekeysessions`: finish a key rotation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...exceptions import SessionStoreUnavailable
from ...rekey import Tally, rekey_sessions
from ..arguments import positive


class Command(BaseCommand):
    """Exit codes: 0 every session is under the newest key; 1 some cannot be read with any key, the
    store is unavailable, or a system check failed; 2 wrong options; 130 interrupted.
    """

    help = (
        "Re-encrypts stored sessions under the newest of ENCRYPTION_KEYS (or SECRET_KEY), so that "
        "older keys can be removed. Run it when every process has the new key. It can be "
        "interrupted and run again at any time."
    )
    requires_system_checks = ("caches",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--batch-size",
            type=positive(10_000),
            default=200,
            help="Sessions read, then written, at a time (default: 200).",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would be re-encrypted."
        )
        parser.add_argument(
            "--json", action="store_true", help="Print the result as JSON, alone on stdout."
        )

    def handle(self, *, batch_size: int, dry_run: bool, **options: Any) -> None:
        """Re-encrypt, and report."""
        self.latest = Tally()
        try:
            tally = rekey_sessions(
                batch_size=batch_size, dry_run=dry_run, progress=self.show_progress
            )
        except SessionStoreUnavailable as problem:
            raise CommandError(f"{problem} Run the command again to go on.") from None
        except KeyboardInterrupt:
            self.report(self.latest, dry_run=dry_run, as_json=options["json"])
            raise CommandError("Interrupted; run it again to go on.", returncode=130) from None
        self.report(tally, dry_run=dry_run, as_json=options["json"])
        if tally.unreadable:
            raise CommandError(
                f"{tally.unreadable} sessions hold values that no key of the key ring decrypts; "
                "they are missing to their visitors. If a key was removed too early, put it back "
                "behind the newest one in ENCRYPTION_KEYS (or SECRET_KEY_FALLBACKS)."
            )

    def show_progress(self, tally: Tally) -> None:
        """Show a running count, on a terminal only."""
        self.latest = tally
        if sys.stderr.isatty():
            self.stderr.write(f"\r{tally.seen} sessions", ending="")
            self.stderr.flush()

    def report(self, tally: Tally, *, dry_run: bool, as_json: bool) -> None:
        """Print the result."""
        if sys.stderr.isatty():
            self.stderr.write("")
        if as_json:
            self.stdout.write(json.dumps({**asdict(tally), "dry_run": dry_run}))
            return
        verb = "to re-encrypt" if dry_run else "re-encrypted"
        self.stdout.write(
            f"{tally.seen} sessions, {tally.rekeyed} {verb}, {tally.unreadable} unreadable."
        )
