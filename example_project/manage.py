#!/usr/bin/env python3
"""The example project's commands; `manage.py demo` shows everything, on a fresh machine too."""

from __future__ import annotations

import os
import sys

import bootstrap


def main() -> None:
    """Run a management command."""
    bootstrap.ensure_packages()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
