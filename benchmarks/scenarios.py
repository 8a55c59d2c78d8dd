"""What sessions go through in a request, each as a preparation and an operation to be timed."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

POOL = 20
#: Operations before those that are measured: the other children have had the processor's caches.
WARM_UP = 5
#: Keys that every session has beside those of a signed-in user: two are read, one is changed.
READ_KEYS = ("language", "cart_id")
CHANGED_KEY = "seen"
TEXT = """
account address amount basket black blue brown cotton delivery dress express gift green
invoice jacket large leather linen medium order paid parcel pending post red return shipped
shirt shoes silk size small standard stock street summer total trousers white winter wool
"""
WORDS = TEXT.split()


class Cost(NamedTuple):
    """What one operation took, in microseconds: by the clock, and of the child's processor time."""

    wall_us: float
    cpu_us: float


def signed_in(number: int) -> dict[str, Any]:
    """Return the three keys that Django's `login()` sets."""
    return {
        "_auth_user_id": str(number),
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": f"{number:064x}",
    }


def _text(chance: random.Random, length: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(length // 4))[:length]


def _small(chance: random.Random) -> dict[str, Any]:
    return {
        "language": "en-gb",
        "cart_id": f"{chance.getrandbits(128):032x}",
        "seen": 1_700_000_000,
        "csrf": f"{chance.getrandbits(256):064x}",
        "note": _text(chance, 250),
    }


def _large(chance: random.Random) -> dict[str, Any]:
    lines = [
        {
            "sku": f"{chance.getrandbits(40):010x}",
            "name": _text(chance, 100),
            "price": f"{chance.randrange(100, 99_999) / 100:.2f}",
            "quantity": chance.randrange(1, 5),
        }
        for _ in range(62)
    ]
    return _small(chance) | {"cart": lines}


def _many(chance: random.Random) -> dict[str, Any]:
    values = {f"key-{n:02}": _text(chance, 1000) for n in range(19)}
    return values | {CHANGED_KEY: _text(chance, 1000), "language": "en-gb", "cart_id": "1"}


SIZES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "0.6 KB": _small,
    "10 KB": _large,
    "20 x 1 KB": _many,
}


def make_data(size: str, number: int, *, is_signed_in: bool = True) -> dict[str, Any]:
    """Return the data of a session; the same for the same number in every process."""
    data = SIZES[size](random.Random(number))
    return signed_in(number) | data if is_signed_in else data


def save_new(store_class: Any, data: dict[str, Any]) -> str:
    """Store a session and return its session key."""
    session = store_class()
    session.update(data)
    session.save()
    return str(session.session_key)


def _saved(store_class: Any, size: str, count: int, *, is_signed_in: bool = True) -> list[str]:
    return [
        save_new(store_class, make_data(size, n, is_signed_in=is_signed_in)) for n in range(count)
    ]


@cache
def shared_pool(store_class: Any, size: str) -> list[str]:
    """Return the session keys of sessions that are used again and again."""
    return _saved(store_class, size, POOL)


def _some_of_the_pool(store_class: Any, size: str, count: int) -> list[str]:
    pool = shared_pool(store_class, size)
    return [pool[n % POOL] for n in range(count)]


def _anonymous(store_class: Any, size: str, count: int) -> list[str]:
    return _saved(store_class, size, count, is_signed_in=False)


def _new_data(store_class: Any, size: str, count: int) -> list[dict[str, Any]]:
    return [make_data(size, n) for n in range(count)]


def _read(store_class: Any, session_key: str, number: int) -> None:
    session = store_class(session_key)
    for key in READ_KEYS:
        session[key]


def _change(store_class: Any, session_key: str, number: int) -> None:
    session = store_class(session_key)
    session[CHANGED_KEY]
    session[CHANGED_KEY] = time.time_ns()
    session.save()


def _create(store_class: Any, data: dict[str, Any], number: int) -> None:
    save_new(store_class, data)


def _login(store_class: Any, session_key: str, number: int) -> None:
    session = store_class(session_key)
    session[READ_KEYS[0]]
    session.cycle_key()
    session.update(signed_in(number))
    session.save()


def _logout(store_class: Any, session_key: str, number: int) -> None:
    session = store_class(session_key)
    session["_auth_user_id"]
    session.flush()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A preparation, which makes as many items as asked, and what is done with each item."""

    prepare: Callable[[Any, str, int], list[Any]]
    operate: Callable[[Any, Any, int], None]


SCENARIOS = {
    "read": Scenario(_some_of_the_pool, _read),
    "change": Scenario(_some_of_the_pool, _change),
    "create": Scenario(_new_data, _create),
    "login": Scenario(_anonymous, _login),
    "logout": Scenario(_saved, _logout),
}


def _nothing(store_class: Any, size: str, count: int) -> list[None]:
    return [None] * count


def _count_live(store_class: Any, item: None, number: int) -> None:
    from django_elasticache_sessions import live

    live.count()


def _page_live(store_class: Any, item: None, number: int) -> None:
    from django_elasticache_sessions import live

    live.page()


#: What is asked of this package's engine alone: no other can answer, or the figure is no peer's.
QUESTIONS = {
    # A change of another session each time.
    "visit": Scenario(_saved, _change),
    "live.count": Scenario(_nothing, _count_live),
    "live.page": Scenario(_nothing, _page_live),
}
EVERY_SCENARIO = SCENARIOS | QUESTIONS


def measure(store_class: Any, scenario: str, items: list[Any]) -> Cost:
    """Do a scenario once with each item; return the cost of one operation, the first ones apart."""
    operate = EVERY_SCENARIO[scenario].operate
    for number, item in enumerate(items[:WARM_UP]):
        operate(store_class, item, number)
    gc.collect()
    count = len(items) - WARM_UP
    wall, cpu = time.perf_counter(), time.process_time()
    for number, item in enumerate(items[WARM_UP:]):
        operate(store_class, item, number)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(wall / count * 1e6, cpu / count * 1e6)
