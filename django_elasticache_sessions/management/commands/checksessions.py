"""`manage.py checksessions`: examine the session cache, the database and Amazon's side."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import CACHE_ENGINE, CACHED_DB_ENGINE
from ...doctor import Finding, Level, examine


class Command(BaseCommand):
    """Exit codes: 0 healthy, advice aside; 1 there is a problem; 2 wrong options, or sessions are
    not kept by this package.
    """

    help = (
        "Connects to the session cache, to the fallback database and, where CLOUDWATCH or IAM is "
        "set, to Amazon, and reports what it finds, with what mends it. Changes nothing."
    )
    # Errors in the settings are findings.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--json", action="store_true", help="Print the findings as JSON, alone on stdout."
        )

    def handle(self, **options: Any) -> None:
        """Examine, and report."""
        engine = settings.SESSION_ENGINE
        if engine not in (CACHE_ENGINE, CACHED_DB_ENGINE):
            raise CommandError(
                f"SESSION_ENGINE is {engine!r}, not an engine of this package. Write "
                f"SESSION_ENGINE = {CACHED_DB_ENGINE!r}.",
                returncode=2,
            )
        findings: list[Finding] = []
        for finding in examine(engine):
            findings.append(finding)
            if not options["json"]:
                self.show(finding)
        counts = Counter(finding.level for finding in findings)
        if options["json"]:
            report = {
                "healthy": not counts["problem"],
                "findings": [asdict(finding) for finding in findings],
            }
            self.stdout.write(json.dumps(report))
        else:
            self.stdout.write(_summary(counts))
        if counts["problem"]:
            raise CommandError("Not healthy.")

    def show(self, finding: Finding) -> None:
        """Print a finding, its level in colour on a terminal, and its mend below."""
        styles = {"ok": self.style.SUCCESS, "problem": self.style.ERROR}
        paint = styles.get(finding.level, self.style.WARNING)
        self.stdout.write(
            f"{paint(f'{finding.level:<8}')} {finding.subject:<25} {_printable(finding.found)}"
        )
        if finding.mend:
            self.stdout.write(f"{'':<8} {'':<25} -> {finding.mend}")
        self.stdout.flush()


def _printable(text: str) -> str:
    """Take out what would steer a terminal; servers' own texts are shown."""
    return "".join(char if char.isprintable() or char == "\xa0" else "?" for char in text)


def _summary(counts: Counter[Level]) -> str:
    return (
        f"Problems: {counts['problem']}. Advice: {counts['advice']}. Not told: "
        f"{counts['unknown']}. As it should be: {counts['ok']}."
    )
