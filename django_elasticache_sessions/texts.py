"""Sentences that logs have in English, and pages in their reader's language."""

from __future__ import annotations

from typing import Self

from django.utils.translation import gettext


class Text(str):
    """A sentence in English that can still be translated, with the values that stand in it.

    Values that are such texts are translated with it; others stay as they are. Anything made of it
    by `str()` or by formatting is English for good.
    """

    __slots__ = ("template", "values")
    template: str
    values: dict[str, object]

    def __new__(cls, template: str, /, **values: object) -> Self:
        """Take a string of the catalogues, and what its `%(name)s` stand for."""
        text = super().__new__(cls, template % values if values else template)
        text.template, text.values = template, values
        return text

    def translated(self) -> str:
        """Return it in the active language."""
        template = gettext(self.template)
        if not self.values:
            return template
        shown = {
            name: value.translated() if isinstance(value, Text) else value
            for name, value in self.values.items()
        }
        return template % shown


A_MOMENT_AGO = Text("The session store did not serve a moment ago.")


def did_not_serve(reason: str) -> Text:
    """Say that the session store did not serve, and why: a clause, with what ends it."""
    return Text("The session store did not serve: %(reason)s", reason=reason)


def text_of(error: BaseException) -> str:
    """Return an error's text, a `Text` where it was raised with one."""
    text = error.args[0] if error.args else ""
    return text if isinstance(text, str) else str(text)


def translated(text: str) -> str:
    """Return a text in the active language where it is a `Text`; any other as it is."""
    return text.translated() if isinstance(text, Text) else text
