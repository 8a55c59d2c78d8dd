"""Who visits the pages of `tests.urls`."""
