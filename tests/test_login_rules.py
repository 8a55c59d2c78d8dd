"""What a login does to other sessions (`MAX_SESSIONS_PER_USER`), and why sessions end."""

from __future__ import annotations

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import CACHED_DB_ENGINE
from django_elasticache_sessions.signals import session_created, session_ended

pytestmark = pytest.mark.django_db
LIST = "/admin/django_elasticache_sessions/livesession/"
PASSWORD = "leaf-and-kettle"


@pytest.fixture
def limit(engine, settings):
    """Set how many sessions a user may have, and other keys."""

    def set_limit(count: int, **options: object) -> None:
        settings.ELASTICACHE_SESSIONS = {
            **settings.ELASTICACHE_SESSIONS,
            "MAX_SESSIONS_PER_USER": count,
            **options,
        }

    return set_limit


def login(engine, user_id: object):
    """Sign in as Django does: the visit goes on under a new session key, then has a user."""
    session = engine()
    session["cart"] = 1
    session.save()
    session.cycle_key()
    session[SESSION_KEY] = str(user_id)
    session.save()
    return session


def ids(sessions) -> list[str]:
    return sorted(session.session_id for session in sessions)


def test_each_user_keeps_the_newest(engine, limit):
    limit(2)
    sessions = {user: [login(engine, user) for _ in range(4)] for user in (7, 8)}
    for user, made in sessions.items():
        assert ids(live.for_user(user)) == ids(made[2:])
    assert live.count() == (4, 0)


def test_a_lower_limit_is_kept_at_the_next_login(engine, limit):
    sessions = [login(engine, 7) for _ in range(5)]
    limit(2)
    assert len(live.for_user(7)) == 5
    sessions.append(login(engine, 7))
    assert ids(live.for_user(7)) == ids(sessions[-2:])


def test_of_two_logins_at_once_one_stays(engine, limit):
    limit(1)
    others = []

    def sign_in_too(sender, **kwargs):
        if not others:
            others.append(engine())
            others[0][SESSION_KEY] = "7"
            others[0].save()

    session = engine()
    session[SESSION_KEY] = "7"
    session_created.connect(sign_in_too)
    try:
        session.save()
    finally:
        session_created.disconnect(sign_in_too)
    assert ids(live.for_user(7)) == ids(others)


def test_a_login_whose_row_comes_later_counts_too(engine, limit, settings):
    limit(1, FALLBACK_WRITES="behind")
    sessions = [login(engine, 7) for _ in range(3)]
    assert ids(live.for_user(7)) == ids(sessions[-1:])
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        call_command("syncsessions")
    assert live.count() == (1, 0)


async def test_an_asynchronous_login_keeps_to_the_limit(valkey, settings):
    settings.ELASTICACHE_SESSIONS = {"MAX_SESSIONS_PER_USER": 2}
    made = []
    for _ in range(4):
        session = SessionStore()
        await session.aset("cart", 1)
        await session.asave()
        await session.acycle_key()
        await session.aset(SESSION_KEY, "7")
        await session.asave()
        made.append(session)
    assert ids(await live.afor_user(7)) == ids(made[2:])


def by_logout(session_id: str, client: Client) -> None:
    client.post("/logout/")


def by_deletion(session_id: str, client: Client) -> None:
    session = client.session
    type(session)().delete(session.session_key)


def by_limit(session_id: str, client: Client) -> None:
    Client().force_login(User.objects.get(username="anna"))


def by_new_password(session_id: str, client: Client) -> None:
    anna = User.objects.get(username="anna")
    anna.set_password("pot-and-strainer")
    anna.save()


def by_purge(session_id: str, client: Client) -> None:
    call_command("clearsessions_cache", "--user", "anna", "--no-input")


def by_staff(session_id: str, client: Client) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("chief"))
    staff.post(f"{LIST}{quote(session_id)}/delete/", {"post": "yes"})


def by_staff_for_many(session_id: str, client: Client) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("chief"))
    data = {"action": "end_for_users", "_selected_action": [session_id], "post": "yes"}
    staff.post(LIST, data)


def by_another_device(session_id: str, client: Client) -> None:
    anna = Client()
    anna.force_login(User.objects.get(username="anna"))
    anna.post("/devices/end-others/")


def by_code(session_id: str, client: Client) -> None:
    live.end(session_id)


def by_code_with_a_reason(session_id: str, client: Client) -> None:
    live.end_for_user(User.objects.get(username="anna"), reason="too loud")


@pytest.mark.parametrize(
    ("end", "expected", "options"),
    [
        (by_logout, "logout", {}),
        (by_deletion, "deleted", {}),
        (by_limit, "limit", {"MAX_SESSIONS_PER_USER": 1}),
        (by_new_password, "password", {"END_SESSIONS_ON_PASSWORD_CHANGE": True}),
        (by_purge, "purged", {}),
        (by_staff, "admin", {}),
        (by_staff_for_many, "admin", {}),
        (by_another_device, "device", {}),
        (by_code, "ended", {}),
        (by_code_with_a_reason, "too loud", {}),
    ],
)
def test_each_end_is_told_once_with_its_reason(
    engine, settings, django_capture_on_commit_callbacks, end, expected, options
):
    settings.ELASTICACHE_SESSIONS = {**settings.ELASTICACHE_SESSIONS, **options}
    client = Client()
    client.force_login(User.objects.create_user("anna", password=PASSWORD))
    session_id = client.session.session_id
    reasons = []

    def ended(sender, **arguments):
        if arguments["session_id"] == session_id:
            assert sender is engine
            reasons.append(arguments["reason"])

    session_ended.connect(ended)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            end(session_id, client)
    finally:
        session_ended.disconnect(ended)
    assert reasons == [expected]
    assert live.get(session_id) is None


def test_a_rotation_ends_nothing_and_is_not_told(engine):
    told = []

    def tell(sender, **arguments):
        told.append(arguments)

    session = login(engine, 7)
    session_id = session.session_id
    session_created.connect(tell)
    session_ended.connect(tell)
    try:
        session.cycle_key()
    finally:
        session_created.disconnect(tell)
        session_ended.disconnect(tell)
    assert told == []
    assert session.session_id == session_id
    assert ids(live.for_user(7)) == [session_id]
