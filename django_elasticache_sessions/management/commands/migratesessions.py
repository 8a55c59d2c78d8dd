"""`manage.py migratesessions`: take over another engine's live sessions."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...checks import ENGINES
from ...conf import get_configuration
from ...exceptions import SessionStoreUnavailable
from ...keys import SESSION_KEY_MIN_LENGTH
from ...migration import Tally, migrate_sessions
from ..arguments import positive


class Command(BaseCommand):
    """Exit codes: 0 every live session is here; 1 some were refused, a store is unavailable, or the
    settings are wrong; 2 wrong options; 130 interrupted.
    """

    help = (
        "Takes over the live sessions of another engine, with their keys, data and remaining life, "
        "so that nobody is logged out. It can be interrupted and run again at any time. Name the "
        "engine in PREVIOUS_ENGINES too, for sessions that are made there meanwhile."
    )
    requires_system_checks = ("caches",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--from",
            dest="engine",
            required=True,
            metavar="ENGINE",
            help="The other engine as SESSION_ENGINE had it, for instance "
            "django.contrib.sessions.backends.db.",
        )
        parser.add_argument(
            "--cache-alias",
            metavar="ALIAS",
            help="The alias in CACHES that it kept sessions in, if in a cache "
            "(default: PREVIOUS_CACHE_ALIAS).",
        )
        parser.add_argument(
            "--batch-size",
            type=positive(10_000),
            default=500,
            metavar="N",
            help="Session keys asked for at a time (default: 500).",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would be taken over."
        )
        parser.add_argument(
            "--json", action="store_true", help="Print the result as JSON, alone on stdout."
        )

    def handle(self, *, engine: str, cache_alias: str | None, **options: Any) -> None:
        """Take over, and report."""
        self.latest = Tally()
        if settings.SESSION_ENGINE not in ENGINES:
            raise CommandError(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}; set it to one of "
                f"{', '.join(ENGINES)} first."
            )
        try:
            configuration = get_configuration()
        except ImproperlyConfigured as wrong:
            raise CommandError(str(wrong)) from None
        alias = cache_alias or configuration.options.previous_cache_alias
        if alias not in settings.CACHES:
            raise CommandError(f"CACHES has no alias {alias!r}. Give another with --cache-alias.")
        try:
            tally = migrate_sessions(
                engine,
                cache_alias=alias,
                batch_size=options["batch_size"],
                dry_run=options["dry_run"],
                progress=self.show_progress,
            )
        except ImproperlyConfigured as problem:
            raise CommandError(str(problem)) from None
        except SessionStoreUnavailable as problem:
            raise CommandError(f"{problem} Run the command again to go on.") from None
        except KeyboardInterrupt:
            self.report(self.latest, options)
            raise CommandError("Interrupted; run it again to go on.", returncode=130) from None
        self.report(tally, options)
        if tally.refused:
            raise CommandError(
                f"{tally.refused} sessions were refused: they are above MAX_SESSION_BYTES, hold "
                "values that SESSION_SERIALIZER cannot encode, or have a session key of fewer than "
                f"{SESSION_KEY_MIN_LENGTH} characters. They stay where they are."
            )

    def show_progress(self, tally: Tally) -> None:
        """Show a running count, on a terminal only."""
        self.latest = tally
        if sys.stderr.isatty():
            self.stderr.write(f"\r{tally.seen} sessions", ending="")
            self.stderr.flush()

    def report(self, tally: Tally, options: dict[str, Any]) -> None:
        """Print the result."""
        if sys.stderr.isatty():
            self.stderr.write("")
        if options["json"]:
            self.stdout.write(json.dumps({**asdict(tally), "dry_run": options["dry_run"]}))
            return
        verb = "to take over" if options["dry_run"] else "taken over"
        self.stdout.write(
            f"{tally.seen} sessions, {tally.adopted} {verb}, {tally.left} left, "
            f"{tally.refused} refused."
        )
