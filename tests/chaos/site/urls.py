"""Each page by its name; those under ``atomic/`` are in a transaction of the sessions' database."""

from __future__ import annotations

from django.conf import settings
from django.urls import path

from . import async_views, views

ASYNC = (*async_views.PLAIN, *async_views.FOR_THE_SUITE)
SYNC = (*views.PLAIN, *views.FOR_THE_SUITE)

if settings.PLACES["is_async"]:
    urlpatterns = [path(f"{view.__name__}/", view) for view in ASYNC]
else:
    urlpatterns = [path(f"{view.__name__}/", views.plain(view)) for view in SYNC]
    urlpatterns += [path(f"atomic/{view.__name__}/", view) for view in views.ATOMIC]
