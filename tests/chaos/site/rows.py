"""What the rows alone hold: `python -m tests.chaos.site.rows`, told cookies as JSON.

It is a process that reaches no cache and has seen no outage. It writes nothing.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

import django
from django.http import HttpRequest


def main() -> None:
    """Read each session."""
    django.setup()
    sys.stdout.write(json.dumps([_found(cookie) for cookie in json.load(sys.stdin)]))


def _found(cookie: str) -> dict[str, object]:
    from django.conf import settings
    from django.contrib.auth import get_user

    from django_elasticache_sessions.exceptions import SessionStoreUnavailable

    from .answers import seen

    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    try:
        return {"status": 200, **seen(dict(request.session.items()), get_user(request))}
    except SessionStoreUnavailable:
        return {"status": 503}


if __name__ == "__main__":
    main()
