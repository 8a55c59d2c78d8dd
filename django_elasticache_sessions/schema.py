"""What the table of fallback rows has that Django's models do not offer: fewer index entries.

Each entry of an index is written anew with each save, for the expiry is in an index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class SidField(_CharField):
    """A text that nobody looks for by its beginning.

    Django gives PostgreSQL a second index of a `varchar` key, for `LIKE`; not where the type goes
    by its other name.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """See CharField.db_type()."""
        if connection.vendor == "postgresql":
            return f"character varying({self.max_length})"
        return super().db_type(connection)


class PartialIndex(models.Index):
    """An index of the rows for which `where` holds, SQL; of all where the database has no such.

    There Django's own `condition` would have every project warned (models.W037).
    """

    def __init__(self, *, where: str, **options: Any) -> None:
        """Take the rest as Django's does."""
        super().__init__(**options)
        self.where = where

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        """See Index.deconstruct()."""
        path, expressions, options = super().deconstruct()
        return path, expressions, options | {"where": self.where}

    def _get_condition_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> str:
        return self.where
