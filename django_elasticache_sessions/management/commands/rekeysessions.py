"""`manage.py rekeysessions`: finish a key rotation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...exceptions import SessionStoreUnavailable
from ...rekey import NewKey, Tally, make_new_key, rekey_sessions
from ..arguments import positive


class Command(BaseCommand):
    """Exit codes: 0 every session is under the newest key, or a new key was made; 1 some cannot be
    read with any key, the store or KMS is unavailable, or a system check failed; 2 wrong options;
    130 interrupted.
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
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--dry-run", action="store_true", help="Count what would be re-encrypted."
        )
        what.add_argument(
            "--new-kms-key",
            metavar="KEY",
            help="Have the AWS KMS key of this id, ARN or alias make a new encryption key, print "
            "the settings that add it, and re-encrypt nothing.",
        )
        parser.add_argument(
            "--json", action="store_true", help="Print the result as JSON, alone on stdout."
        )

    def handle(
        self, *, batch_size: int, dry_run: bool, new_kms_key: str | None, **options: Any
    ) -> None:
        """Re-encrypt, and report."""
        try:
            if new_kms_key is not None:
                self.show_new_key(make_new_key(new_kms_key), as_json=options["json"])
            else:
                self.re_encrypt(batch_size, dry_run=dry_run, as_json=options["json"])
        except ImproperlyConfigured as problem:
            raise CommandError(str(problem)) from None

    def re_encrypt(self, batch_size: int, *, dry_run: bool, as_json: bool) -> None:
        """Re-encrypt what is not under the newest key."""
        self.latest = Tally()
        try:
            tally = rekey_sessions(
                batch_size=batch_size, dry_run=dry_run, progress=self.show_progress
            )
        except SessionStoreUnavailable as problem:
            raise CommandError(f"{problem} Run the command again to go on.") from None
        except KeyboardInterrupt:
            self.report(self.latest, dry_run=dry_run, as_json=as_json)
            raise CommandError("Interrupted; run it again to go on.", returncode=130) from None
        self.report(tally, dry_run=dry_run, as_json=as_json)
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

    def show_new_key(self, key: NewKey, *, as_json: bool) -> None:
        """Print what to write for a new key."""
        if as_json:
            self.stdout.write(json.dumps(asdict(key)))
            return
        self.stdout.write(f"KMS key {key.kms_key} made and wrapped a new encryption key.\n\n")
        self.stdout.write("1. Deploy this, so that every process can read what it will encrypt:")
        self.show_setting(key.first)
        self.stdout.write("2. Deploy this, so that it encrypts:")
        self.show_setting(key.then)
        self.stdout.write("3. When every process has these settings, run: manage.py rekeysessions")
        self.stdout.write("4. Remove the other entries, and deploy.")

    def show_setting(self, keys: list[str]) -> None:
        """Print the lines to write."""
        lines = "".join(f'    "{key}",\n' for key in keys)
        self.stdout.write(f'\nELASTICACHE_SESSIONS = {{..., "KMS_WRAPPED_KEYS": [\n{lines}]}}\n\n')
