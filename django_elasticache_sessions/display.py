"""How the admin shows a session's fields: their sizes, and their values where they may be seen."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _

from .conf import get_configuration


def largest_field(sizes: Mapping[str, int]) -> str:
    """Return the name and size of the largest field."""
    if not sizes:
        return ""
    name = max(sizes, key=sizes.__getitem__)
    return f"{printable(name)} ({filesizeformat(sizes[name])})"


def table_of_sizes(sizes: Mapping[str, int]) -> str:
    """Return each field's size in bytes as a table, the largest first."""
    ordered = sorted(sizes.items(), key=lambda item: item[1], reverse=True)
    rows = [(name, filesizeformat(size)) for name, size in ordered]
    return _table(_("size"), "<td>{}</td>", rows)


def table_of_values(values: Mapping[str, Any]) -> str:
    """Return each field's value as a table, but never those that would let somebody in."""
    rows = [
        (name, _("hidden") if is_sensitive(name) else _as_text(value))
        for name, value in sorted(values.items())
    ]
    return _table(_("value"), "<td><pre>{}</pre></td>", rows)


def is_sensitive(name: str) -> bool:
    """Tell whether a field's value is never shown (`SENSITIVE_FIELDS`)."""
    patterns = get_configuration().options.sensitive_fields
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def _table(heading: str, cell: str, rows: Iterable[tuple[str, str]]) -> str:
    shown = ((printable(name), printable(text)) for name, text in rows)
    lines = format_html_join("", '<tr><th scope="row">{}</th>' + cell + "</tr>", shown)
    if not lines:
        return ""
    return format_html(
        '<table><thead><tr><th scope="col">{}</th><th scope="col">{}</th></tr></thead>'
        "<tbody>{}</tbody></table>",
        _("field"),
        heading,
        lines,
    )


def _as_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=repr)


def printable(text: str) -> str:
    """Return a text without what is no HTML: control characters and lone surrogates."""
    return "".join(char if _is_shown(char) else "\ufffd" for char in text)


def _is_shown(char: str) -> bool:
    # Python takes no space but the plain one for printable; sizes have another before their unit.
    return char.isprintable() or char == "\n" or unicodedata.category(char) == "Zs"
