"""Tables and users: `python -m tests.chaos.site.staging NAME...`."""

from __future__ import annotations

import sys

import django
from django.core.management import call_command


def main(names: list[str]) -> None:
    """Make the tables, and a user by each name."""
    django.setup()
    from .answers import users

    for alias in ("default", "sessions"):
        call_command("migrate", database=alias, skip_checks=True, verbosity=0)
    for name in names:
        users().create_user(name)


if __name__ == "__main__":
    main(sys.argv[1:])
