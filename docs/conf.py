"""Configuration of Sphinx: `sphinx-build -W --keep-going -b html docs <folder>`."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "django_elasticache_sessions"


def read_version() -> str:
    """Return the package's version, whether it is installed or not."""
    text = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return match[1] if match else ""


project = "django-elasticache-sessions"
author = "The django-elasticache-sessions authors"
copyright = "2026, the django-elasticache-sessions authors"  # noqa: A001 - Sphinx's name
version = release = read_version()
language = "en-GB"
exclude_patterns = ["_build"]
highlight_language = "python"
nitpicky = True
html_theme = "furo" if find_spec("furo") else "alabaster"
html_title = f"{project} {release}"
