"""`manage.py demo`: the example shop with everything it needs, until Ctrl-C."""

from __future__ import annotations

import copy
import os
import signal
import socket
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from django_redis import get_redis_connection

from ... import demo

DEFAULT_PORT = 8000
GRACE_SECONDS = 3


class Command(BaseCommand):
    """Exit codes: 0 stopped by Ctrl-C or SIGTERM; 1 it could not start."""

    help = "Starts the example shop on an embedded Valkey and SQLite, with users and live sessions."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--host", default="127.0.0.1", help="Default: 127.0.0.1.")
        parser.add_argument(
            "--port", type=int, help=f"Default: {DEFAULT_PORT}, or a free one when that is taken."
        )
        parser.add_argument(
            "--sessions", type=int, default=40, help="Live sessions to make (default: 40)."
        )

    def handle(self, *, host: str, port: int | None, sessions: int, **options: Any) -> None:
        """Set up, serve, and stop everything that was started."""
        # SIGTERM stops in the same way as Ctrl-C, also during the set-up.
        signal.signal(signal.SIGTERM, _interrupt)
        with ExitStack() as stack:
            try:
                listener = stack.enter_context(self.listener(host, port))
                self.set_up(stack, sessions)
                self.serve(listener)
            except KeyboardInterrupt:
                pass
            self.stdout.write("Stopping.")

    def listener(self, host: str, port: int | None) -> socket.socket:
        """Listen where the options say; tells when it is not on the usual port."""
        wanted = DEFAULT_PORT if port is None else port
        try:
            listener = demo.listen(
                demo.Address(demo.loopback(host), wanted), exactly=port is not None
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"Port {wanted} of {host} cannot be used: {getattr(error, 'strerror', error)}. "
                "Give another with --port, or leave the option out for a free one."
            ) from None
        chosen = listener.getsockname()[1]
        if wanted not in (0, chosen):
            self.stdout.write(f"Port {wanted} is taken; using {chosen}.")
        return listener

    def set_up(self, stack: ExitStack, sessions: int) -> None:
        """Start Valkey where none is given, migrate, and seed."""
        with demo.alone(settings.DATA):
            if not os.environ.get("REDIS_URL"):
                address = stack.enter_context(demo.embedded_valkey(settings.DATA))
                _point_sessions_at(f"redis://{address.host}:{address.port}/0")
            call_command("migrate", verbosity=0, interactive=False)
            demo.seed_products()
            demo.seed_sessions(demo.seed_users(), sessions)
            demo.seed_events()

    def serve(self, listener: socket.socket) -> None:
        """Print where everything is, and serve until a signal comes."""
        import uvicorn

        introduction = self.introduction(demo.Address(*listener.getsockname()[:2]).url)

        class Server(uvicorn.Server):
            async def startup(server, sockets: list[socket.socket] | None = None) -> None:  # noqa: N805
                # From here on uvicorn takes the signals, and the address answers.
                await super().startup(sockets)
                self.stdout.write(introduction)
                self.stdout.flush()

        config = uvicorn.Config(
            "example.asgi:application",
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=GRACE_SECONDS,
            # No proxy is in front of it: whoever sends X-Forwarded-For made it up.
            proxy_headers=False,
        )
        config.load()
        Server(config).run(sockets=[listener])

    def introduction(self, url: str) -> str:
        """Return URLs, logins, and how to look into the server."""
        look = f"valkey-cli {self.address()}"
        client = get_redis_connection("sessions")
        example = next(client.scan_iter("session:{*}:*", count=100, _type="hash"), b"")
        return f"""
The shop        {url}/
Your session    {url}/session/
The admin       {url}/admin/
The dashboard   {url}{reverse("admin:django_elasticache_sessions_livesession_dashboard")}

Log in as admin, staff or shopper; the password is {demo.PASSWORD}

Look into the server (with redis-cli too):
  {look} type '{example.decode()}'
  {look} ttl '{example.decode()}'
  {look} hgetall '{example.decode()}'

Ctrl-C stops everything.
"""

    def address(self) -> str:
        """Return the option that leads valkey-cli to the server."""
        # A URL that was given may hold a password: it is named, not shown.
        if os.environ.get("REDIS_URL"):
            return '-u "$REDIS_URL"'
        return f"-p {urlsplit(settings.CACHES['sessions']['LOCATION']).port}"


def _point_sessions_at(url: str) -> None:
    caches = copy.deepcopy(settings.CACHES)
    caches["sessions"]["LOCATION"] = url
    settings.CACHES = caches


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
