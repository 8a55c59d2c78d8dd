"""The package's catalogues of translations: `python -m tests.catalogues` brings them up to date.

It needs no GNU gettext. New strings enter each catalogue untranslated, which a test then names.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import locale as django_locale
from django.utils.translation.template import templatize

import django_elasticache_sessions

PROJECT = "django-elasticache-sessions"
PACKAGE = Path(django_elasticache_sessions.__file__).parent
LOCALES = ("de", "es", "fr", "ja", "zh_Hans")
_KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "Text": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}


def po_file(locale: str) -> Path:
    """Return the file that translators write."""
    return PACKAGE / "locale" / locale / "LC_MESSAGES" / "django.po"


def read(locale: str) -> Catalog:
    """Return a catalogue as its translators left it; an empty one where there is none."""
    path = po_file(locale)
    if not path.exists():
        return _new(locale)
    with path.open("rb") as file:
        return read_po(file, locale=locale)


def _new(locale: str) -> Catalog:
    catalogue = Catalog(
        locale,
        project=PROJECT,
        header_comment=f"# Translations of {PROJECT}.",
        # The fields that every reader wants filled, without a person behind them.
        last_translator=f"The {PROJECT} authors",
        language_team=locale,
        msgid_bugs_address="see README.rst",
        version="1",
        revision_date=datetime.now(UTC),
        fuzzy=False,
    )
    # A project's own catalogue comes before ours only if both tell plurals apart as Django's does.
    catalogue.mime_headers = [("Plural-Forms", _django_s(locale).plural_forms)]
    return catalogue


def _django_s(locale: str) -> Catalog:
    path = Path(django_locale.__file__).parent / locale / "LC_MESSAGES" / "django.po"
    with path.open("rb") as file:
        return read_po(file, locale=locale)


def compiled(catalogue: Catalog) -> bytes:
    """Return what Django reads: the catalogue as a .mo file."""
    buffer = io.BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def up_to_date(locale: str) -> Catalog:
    """Return a catalogue with exactly the strings that the package has."""
    catalogue = read(locale)
    catalogue.update(extracted(), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    return catalogue


def extracted() -> Catalog:
    """Return the strings of the package's modules and templates."""
    found = Catalog(project=PROJECT)
    for path, source in _sources():
        text = io.BytesIO(source.encode())
        place = path.relative_to(PACKAGE).as_posix()
        for _, message, comments, context in extract("python", text, keywords=_KEYWORDS):
            found.add(message, locations=[(place, 0)], auto_comments=comments, context=context)
    return found


def _sources() -> Iterator[tuple[Path, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, path.read_text()
    for path in sorted(PACKAGE.rglob("*.html")):
        # What Django makes of a template reads like Python, but for its indentation.
        lines = templatize(path.read_text(), origin=str(path)).splitlines()
        yield path, "\n".join(map(str.lstrip, lines))


def main() -> None:
    """Write every catalogue, as text and compiled."""
    for locale in LOCALES:
        catalogue = up_to_date(locale)
        path = po_file(locale)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalogue, width=100, include_lineno=False, sort_by_file=True)
        path.with_suffix(".mo").write_bytes(compiled(read(locale)))


if __name__ == "__main__":
    main()
