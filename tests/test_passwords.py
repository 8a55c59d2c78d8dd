"""`END_SESSIONS_ON_PASSWORD_CHANGE`: a new password ends the sessions under the old one."""

from __future__ import annotations

import gc
from unittest.mock import AsyncMock

import pytest
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, aupdate_session_auth_hash, hashers
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.core.management import call_command
from django.db import connections, transaction
from django.test import AsyncClient, Client
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import CACHE_ENGINE
from django_elasticache_sessions.signals import session_ended
from django_elasticache_sessions.synchronization import synchronize

from .conftest import point_sessions_at
from .servers.valkey import Valkey
from .test_refused_rows import TRIGGERS, Refusing

pytestmark = pytest.mark.django_db(transaction=True)
OLD, NEW = "leaf-and-kettle", "pot-and-strainer"
CHANGE = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
OURS = "django_elasticache_sessions.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


@pytest.fixture(params=[OURS, DJANGOS], ids=["ours", "djangos"])
def middleware(request, settings) -> None:
    settings.MIDDLEWARE = [request.param, *settings.MIDDLEWARE[1:]]


@pytest.fixture
def anna(engine, settings) -> User:
    """A user, with the setting switched on."""
    settings.ELASTICACHE_SESSIONS = {
        **settings.ELASTICACHE_SESSIONS,
        "END_SESSIONS_ON_PASSWORD_CHANGE": True,
    }
    return User.objects.create_user("anna", password=OLD)


@pytest.fixture
def endings(anna):
    """The ids of sessions that end for this reason, in their order."""
    told: list[str] = []

    def ended(sender, session_id, reason, **kwargs):
        if reason == "password":
            told.append(session_id)

    session_ended.connect(ended)
    yield told
    session_ended.disconnect(ended)


def signed_in(user: User, client_class: type = Client):
    client = client_class()
    client.force_login(user)
    return client


def name(client: Client) -> str:
    return client.get("/user/").json()["user"]


def set_password(user: User) -> None:
    user.set_password(NEW)
    user.save()


def test_a_change_ends_the_others_and_keeps_its_own(anna, middleware, endings):
    desk, phone = signed_in(anna), signed_in(anna)
    before, other = desk.session.session_id, phone.session.session_id
    assert before != other
    response = desk.post("/password/", CHANGE, follow=True)
    assert response.json() == {"user": "anna"}
    assert endings == [other]
    assert live.get(other) is None
    assert name(phone) == ""
    assert name(desk) == "anna"


def test_a_change_in_one_transaction_keeps_its_own(anna, middleware, endings, settings):
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
    try:
        desk, phone = signed_in(anna), signed_in(anna)
        assert desk.post("/password/", CHANGE, follow=True).json() == {"user": "anna"}
    finally:
        settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False
    assert endings == [phone.session.session_id]
    assert live.for_user(anna) == [live.get(desk.session.session_id)]
    assert name(phone) == ""


def test_nothing_ends_at_once_where_it_is_switched_off(anna, endings, settings):
    settings.ELASTICACHE_SESSIONS = {
        **settings.ELASTICACHE_SESSIONS,
        "END_SESSIONS_ON_PASSWORD_CHANGE": False,
    }
    desk, phone = signed_in(anna), signed_in(anna)
    desk.post("/password/", CHANGE)
    assert endings == []
    assert len(live.for_user(anna)) == 2
    # Django's own rule is in force all the same.
    assert name(phone) == ""


def test_a_reset_by_mail_ends_all(anna, middleware, endings):
    others = {signed_in(anna).session.session_id for _ in range(2)}
    visitor = Client()
    user_id = urlsafe_base64_encode(force_bytes(anna.pk))
    link = f"/reset/{user_id}/{default_token_generator.make_token(anna)}/"
    form = visitor.get(link, follow=True)
    passwords = {"new_password1": NEW, "new_password2": NEW}
    assert visitor.post(form.redirect_chain[-1][0], passwords).status_code == 302
    assert set(endings) == others
    assert live.for_user(anna) == []
    assert User.objects.get().check_password(NEW)


def test_a_reset_in_a_session_of_the_user_is_no_error(anna, middleware):
    desk = signed_in(anna)
    user_id = urlsafe_base64_encode(force_bytes(anna.pk))
    link = f"/reset/{user_id}/{default_token_generator.make_token(anna)}/"
    form = desk.get(link, follow=True)
    passwords = {"new_password1": NEW, "new_password2": NEW}
    assert desk.post(form.redirect_chain[-1][0], passwords).status_code == 302
    assert name(desk) == ""


def test_staff_changes_another_users_password(anna, middleware, endings):
    chief = User.objects.create_superuser("chief", password=OLD)
    staff, phone = signed_in(chief), signed_in(anna)
    other = phone.session.session_id
    passwords = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    response = staff.post(f"/admin/auth/user/{anna.pk}/password/", passwords)
    assert response.status_code == 302
    assert endings == [other]
    assert name(staff) == "chief"


def test_a_change_outside_of_requests_ends_all(anna, endings):
    desk = signed_in(anna)
    assert name(desk) == "anna"
    # The request's objects may live on for a while.
    gc.disable()
    try:
        set_password(anna)
    finally:
        gc.enable()
    assert endings == [desk.session.session_id]


def test_a_change_that_is_rolled_back_ends_nothing(anna, endings):
    signed_in(anna)
    with transaction.atomic():
        set_password(anna)
        transaction.set_rollback(True)
    assert endings == []
    with transaction.atomic():
        set_password(anna)
        assert endings == []
    assert len(endings) == 1


def test_whatever_else_is_saved_ends_nothing(anna, endings, settings):
    signed_in(anna)
    anna.first_name = "Anna"
    anna.save()
    anna.set_password(NEW)
    anna.save(update_fields=["last_name"])
    User.objects.create_user("berta", password=OLD)
    assert endings == []


def test_a_hash_that_is_merely_upgraded_at_login_ends_nothing(anna, endings, settings):
    other = signed_in(anna)
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    old = anna.password
    Client().post("/login/", {"username": "anna", "password": OLD})
    anna.refresh_from_db()
    assert hashers.identify_hasher(anna.password).algorithm == "scrypt"
    assert anna.password != old
    assert endings == []
    assert live.get(other.session.session_id)


def test_another_users_sessions_go_on(anna, endings):
    berta = User.objects.create_user("berta", password=OLD)
    hers = signed_in(berta)
    set_password(anna)
    assert endings == []
    assert name(hers) == "berta"


def test_an_outage_does_not_take_the_change_back(anna, caplog, settings):
    signed_in(anna)
    with Valkey() as server:
        point_sessions_at(settings, server.url)
    set_password(anna)
    assert User.objects.get().check_password(NEW)
    told = [record.getMessage() for record in caplog.records if "password" in record.getMessage()]
    [message] = told
    assert NEW not in message
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        assert "could not be ended" in message
    else:
        # They end in the database; the cache may have some that it alone knows.
        assert "one of the two stores could not be asked" in message
        assert live.for_user(anna) == []


def test_an_end_that_the_database_refuses_is_told(anna, caplog, settings, engine):
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        pytest.skip("an engine with one store")
    alias = settings.ELASTICACHE_SESSIONS["FALLBACK_DATABASE"]
    refusing = Refusing(alias, TRIGGERS[connections[alias].vendor])
    clients = [signed_in(anna) for _ in range(2)]
    with refusing.of(clients[0].session.session_key):
        set_password(anna)
        told = [record.getMessage() for record in caplog.records]
        assert any("one of the two stores could not be asked" in text for text in told)
        assert [name(client) for client in clients] == ["", ""]
    synchronize(batch_size=100)
    assert live.for_user(anna) == []


def test_the_command_ends_all(anna, endings, monkeypatch):
    signed_in(anna)
    monkeypatch.setattr("getpass.getpass", lambda **kwargs: NEW)
    call_command("changepassword", "anna")
    assert len(endings) == 1


async def test_asyncio_ends_the_others_and_keeps_its_own(settings, valkey):
    settings.ELASTICACHE_SESSIONS = {"END_SESSIONS_ON_PASSWORD_CHANGE": True}
    anna = await User.objects.acreate_user("anna", password=OLD)
    desk, phone = AsyncClient(), AsyncClient()
    for client in (desk, phone):
        await client.aforce_login(anna)
    own, other = [await client.asession() for client in (desk, phone)]
    response = await desk.post("/async/password/", CHANGE)
    assert response.status_code == 302
    assert await live.aget(other.session_id) is None
    assert not await SessionStore().aexists(own.session_key)
    [left] = await live.afor_user(anna)
    assert left.session_id == own.session_id == (await desk.asession()).session_id


async def test_a_natively_async_change_keeps_its_own(settings, valkey, rf):
    settings.ELASTICACHE_SESSIONS = {"END_SESSIONS_ON_PASSWORD_CHANGE": True}
    anna = await User.objects.acreate_user("anna", password=OLD)
    keys = []
    for _ in range(2):
        session = SessionStore()
        await session.aupdate({SESSION_KEY: str(anna.pk), HASH_SESSION_KEY: "old"})
        await session.asave()
        keys.append(session.session_key)
    request = rf.post("/")
    request.session = SessionStore(keys[0])
    request.user = anna
    request.auser = AsyncMock(return_value=anna)
    assert await request.session.aget(SESSION_KEY) == str(anna.pk)
    anna.set_password(NEW)
    await anna.asave()
    await aupdate_session_auth_hash(request, anna)
    await request.session.asave()
    [left] = await live.afor_user(anna)
    assert left.session_id == request.session.session_id
