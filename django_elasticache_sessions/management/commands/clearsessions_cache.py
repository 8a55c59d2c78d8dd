"""`manage.py clearsessions_cache`: end sessions, and tidy up what is left of others."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from ... import live
from ...exceptions import SessionStoreUnavailable
from ...purge import (
    BATCH_SIZE,
    SPREAD_BATCH_SIZE,
    Selection,
    Tally,
    prune,
    purge,
    reindex,
)
from ..arguments import duration, positive
from ..progress import ProgressBar
from ..users import find_user_ids


class Command(BaseCommand):
    """Exit codes: 0 done; 1 a store or KMS is unavailable, nobody confirmed, or a system check
    failed; 2 wrong options, or a user that does not exist; 130 interrupted.
    """

    help = (
        "Without options, removes what is left of expired sessions: index entries, database rows "
        "and the marks of ended sessions. With options, ends the live sessions for which all of "
        "them hold. It can be interrupted and run again at any time."
    )
    requires_system_checks = ("caches",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--idle-for",
            type=duration,
            metavar="AGE",
            help="End sessions that were not saved for so long, such as 30d, 12h or 90m.",
        )
        parser.add_argument(
            "--older-than",
            type=duration,
            metavar="AGE",
            help="End sessions that were created so long ago.",
        )
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument(
            "--user",
            action="append",
            default=[],
            metavar="NAME|ID",
            help="End sessions of this user; may be given several times.",
        )
        whose.add_argument(
            "--anonymous", action="store_true", help="End sessions that nobody is signed in to."
        )
        whose.add_argument("--all", action="store_true", help="End every session.")
        parser.add_argument(
            "--reindex",
            action="store_true",
            help="Build the indexes anew from the sessions in the cache; alone, ends nothing.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count the sessions, and end none."
        )
        parser.add_argument(
            "--no-input",
            action="store_false",
            dest="interactive",
            help="Do not ask before live sessions are ended.",
        )
        parser.add_argument(
            "--batch-size",
            type=positive(10_000),
            metavar="N",
            help=f"Sessions looked at in one round trip (default: {SPREAD_BATCH_SIZE} under the "
            f"cached_db engine and for users, else {BATCH_SIZE}).",
        )
        parser.add_argument(
            "--json", action="store_true", help="Print the result as JSON, alone on stdout."
        )

    def handle(self, **options: Any) -> None:
        """Do what the options say, and report."""
        self.tally = Tally()
        try:
            self.run(**options)
        except ImproperlyConfigured as problem:
            raise CommandError(str(problem)) from None
        except SessionStoreUnavailable as problem:
            raise CommandError(f"{problem} {self.so_far()}") from None
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {self.so_far()}", returncode=130) from None

    def run(self, *, reindex: bool, **options: Any) -> None:
        """Reindex, prune or end sessions."""
        report: dict[str, Any] = {}
        if reindex and options["dry_run"]:
            raise CommandError(
                "--reindex writes the indexes anew, which --dry-run must not: give one of them.",
                returncode=2,
            )
        selection = self.read_selection(**options)
        if reindex:
            report |= self.reindex(options["batch_size"])
        if selection is not None:
            report |= self.purge(selection, **options)
        elif not reindex:
            report |= self.prune(dry_run=options["dry_run"])
        if options["json"]:
            self.stdout.write(json.dumps(report))
        else:
            for name, number in report.items():
                if name in _SENTENCES:
                    self.stdout.write(_SENTENCES[name].format(number))

    def read_selection(
        self,
        *,
        idle_for: timedelta | None,
        older_than: timedelta | None,
        user: list[str],
        anonymous: bool,
        **options: Any,
    ) -> Selection | None:
        """Return which sessions to end, `None` for none."""
        if not (idle_for or older_than or user or anonymous or options["all"]):
            return None
        user_ids: list[str] = []
        for text in user:
            found = _user_ids(text)
            if not found:
                raise CommandError(
                    f"No user has the name or id {text!r}, and no session either. Nothing was "
                    "ended.",
                    returncode=2,
                )
            user_ids += found
        return Selection(
            idle_for=idle_for,
            older_than=older_than,
            user_ids=tuple(dict.fromkeys(user_ids)),
            anonymous=anonymous,
        )

    def purge(
        self, selection: Selection, *, batch_size: int | None, dry_run: bool, **options: Any
    ) -> dict[str, Any]:
        """Count first, unless nobody is asked; then end them."""
        if dry_run or options["interactive"]:
            count = self.counted(selection, batch_size, dry_run=True).ended
            if dry_run:
                return {"to_be_ended": count, "dry_run": True}
            if not count:
                # What begins from here on was confirmed by nobody.
                prune()
                return {"ended": 0, "dry_run": False}
            self.confirm(count)
        ended = self.counted(selection, batch_size, dry_run=False).ended
        return {"ended": ended, "dry_run": False}

    def counted(self, selection: Selection, batch_size: int | None, *, dry_run: bool) -> Tally:
        """Run the purge under a progress bar."""
        counts = live.count()
        total = 0 if selection.user_ids else counts.signed_in + counts.anonymous
        bar = ProgressBar(sys.stderr, total)

        def progress(tally: Tally) -> None:
            if not dry_run:
                self.tally = tally
            bar.show(tally.seen)

        try:
            return purge(selection, batch_size=batch_size, dry_run=dry_run, progress=progress)
        finally:
            bar.clear()

    def confirm(self, count: int) -> None:
        """Ask. Raises `CommandError` for anything but a yes."""
        # Not on standard output, which may be JSON alone.
        sys.stderr.write(f"End {count} live sessions? Their users will be signed out. [y/N] ")
        sys.stderr.flush()
        try:
            answer = input()
        except EOFError:
            raise CommandError(
                "Nobody was there to confirm, so nothing was ended. Give --no-input to end the "
                "sessions without being asked."
            ) from None
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Not confirmed: nothing was ended.")

    def prune(self, *, dry_run: bool) -> dict[str, Any]:
        """Remove what is left of expired sessions."""
        if dry_run:
            raise CommandError(
                "--dry-run counts live sessions to be ended: give --all, --anonymous, --user, "
                "--idle-for or --older-than with it.",
                returncode=2,
            )
        return {"pruned": prune()}

    def reindex(self, batch_size: int | None) -> dict[str, Any]:
        """Build the indexes anew."""
        bar = ProgressBar(sys.stderr, 0)
        try:
            tally = reindex(batch_size=batch_size, progress=lambda tally: bar.show(tally.seen))
        finally:
            bar.clear()
        return {"indexed": tally.seen, "dropped_entries": tally.ended}

    def so_far(self) -> str:
        """Say what was done before it was cut off."""
        return f"{self.tally.ended} sessions were ended so far; run the command again to go on."


def _user_ids(text: str) -> tuple[str, ...]:
    try:
        return find_user_ids(text)
    except (DatabaseError, InterfaceError) as error:
        # The texts of databases show statements and values; their classes do not.
        raise CommandError(
            f"The database of the users did not serve ({type(error).__name__}): nothing was ended. "
            "Run the command again when it does."
        ) from None


_SENTENCES = {
    "indexed": "{} sessions entered in the indexes.",
    "dropped_entries": "{} entries of sessions that are gone were dropped.",
    "pruned": "{} leftovers of expired sessions removed.",
    "to_be_ended": "{} sessions would be ended.",
    "ended": "{} sessions ended.",
}
