"""IAM authentication: signing in with a token over TLS, also while AWS does not serve."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django_redis.pool import ConnectionFactory

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import authentication, sync
from django_elasticache_sessions.elasticache import iam, signing
from django_elasticache_sessions.elasticache.iam import make_credential_provider
from django_elasticache_sessions.exceptions import CredentialsUnavailable, SessionStoreUnavailable

from .conftest import point_sessions_at
from .servers.aws import Aws
from .servers.doorman import Doorman
from .servers.http import Answer, HttpService, Request
from .servers.relay import Relay
from .servers.tls import ServerIdentity
from .servers.waiting import until, wait_until

pytestmark = pytest.mark.usefixtures("aws_profiles")
IAM = {"USER": "app", "CACHE_NAME": "sessions", "REGION": "eu-central-1"}
STATIC = ("AKIASTATIC", "static0canary0secret")
#: Options that sign a token for something else than the cache, and what a server makes of it.
for_something_else = pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"REGION": "eu-west-1"}, "scope"),
        ({"CACHE_NAME": "other"}, "cache name"),
        ({"USER": "other"}, "user"),
        ({"SERVERLESS": True}, "parameters [] ['ResourceType']"),
    ],
)


class IAMFactory(ConnectionFactory):
    """What a connection factory has to add."""

    def make_connection_params(self, url: str) -> dict[str, object]:
        """Add the provider."""
        provider = make_credential_provider(self.options["IAM"])
        return {**super().make_connection_params(url), "credential_provider": provider}


@pytest.fixture
def static(monkeypatch) -> None:
    """Have lasting credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", STATIC[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", STATIC[1])


class Role:
    """Credentials that the container's endpoint gives: new ones each time."""

    def __init__(self, doorman: Doorman) -> None:
        self._doorman = doorman
        self.given = 0

    def respond(self, request: Request) -> Answer:
        """Make credentials that the doorman knows."""
        self.given += 1
        key, secret, token = f"ASIA{self.given}", f"secret0{self.given}", f"session/+=0{self.given}"
        self._doorman.secrets[key] = (secret, token)
        ends = datetime.now(UTC) + timedelta(hours=1)
        return Answer(
            body=json.dumps(
                {
                    "AccessKeyId": key,
                    "SecretAccessKey": secret,
                    "Token": token,
                    "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            ).encode()
        )


@pytest.fixture
def doorman() -> Doorman:
    """Who admits to the store."""
    return Doorman(secrets={STATIC[0]: (STATIC[1], "")})


@pytest.fixture
def endpoint(doorman, monkeypatch) -> Iterator[HttpService]:
    """Have the credentials of a role, refreshed from a container's endpoint."""
    with HttpService(Role(doorman).respond) as service:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/role")
        yield service


@pytest.fixture
def guarded(server, valkey, doorman, settings, tmp_path) -> Iterator[Relay]:
    """Keep sessions behind a doorman and TLS."""
    identity = ServerIdentity.valid(tmp_path)
    with Relay(server.host, server.port, tls=identity, doorman=doorman) as relay:
        sign_in(settings, relay, identity)
        _relays[:] = [relay]
        yield relay


def sign_in(settings, relay: Relay, identity: ServerIdentity, **options: object) -> None:
    point_sessions_at(
        settings,
        f"{relay.url}/0",
        CONNECTION_FACTORY=f"{__name__}.IAMFactory",
        CONNECTION_POOL_KWARGS={"ssl_ca_certs": str(identity.ca_file)},
        IAM={**IAM, **options},
    )


def save() -> str:
    session = SessionStore()
    session["a"] = 1
    session.save()
    return session.session_key


async def asave() -> str:
    session = SessionStore()
    await session.aset("a", 1)
    await session.asave()
    return session.session_key


async def asave_and_settle() -> str:
    try:
        return await asave()
    except SessionStoreUnavailable:
        # redis-py does not wait for the end of TLS where it was refused: that end needs the loop.
        [relay] = _relays
        await until(lambda: not relay.open_connections, what="connections closed")
        for _ in range(10):
            await asyncio.sleep(0)
        raise


_relays: list[Relay] = []
both = pytest.mark.parametrize(
    "use", [save, lambda: asyncio.run(asave_and_settle())], ids=["sync", "async"]
)


@both
def test_a_session_is_kept_where_a_token_opens_the_door(guarded, doorman, static, use):
    assert SessionStore(use())["a"] == 1
    assert doorman.admitted >= 1
    assert doorman.refusals == []


@both
def test_the_session_token_of_a_role_is_signed_along(guarded, doorman, endpoint, use):
    assert SessionStore(use())["a"] == 1
    assert doorman.refusals == []


def test_a_serverless_cache_is_told_apart_in_the_token(guarded, doorman, static, settings):
    doorman.serverless = True
    with pytest.raises(SessionStoreUnavailable, match="refused the user name or password"):
        save()
    options = settings.CACHES["sessions"]["OPTIONS"]
    options["IAM"] = {**IAM, "SERVERLESS": True}
    settings.CACHES = {**settings.CACHES}
    assert save()


def test_a_role_is_assumed_in_the_region_of_the_environment(assumed, aws_profiles, monkeypatch):
    aws_profiles.write_text(aws_profiles.read_text().replace("region = eu-central-1\n", ""))
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert (
        "%2Feu-north-1%2F"
        in make_credential_provider({"USER": "app", "CACHE_NAME": "sessions"}).get_credentials()[1]
    )


THROTTLED = Answer(
    status=400,
    body=b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error>"
    b"</ErrorResponse>",
)


@pytest.fixture
def assumed(aws, doorman, monkeypatch, aws_profiles) -> Aws:
    """Have the credentials of a role that is assumed at STS, which the doorman knows."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.url)
    aws_profiles.write_text(
        "[default]\nregion = eu-central-1\nsource_profile = base\n"
        "role_arn = arn:aws:iam::123456789012:role/shop\n"
        f"[profile base]\naws_access_key_id = {STATIC[0]}\naws_secret_access_key = {STATIC[1]}\n"
    )
    passed_on = aws.respond

    def respond(request: Request) -> Answer:
        answer = passed_on(request)
        know(doorman, answer.body.decode())
        return answer

    doorman.secrets.clear()
    aws.respond = respond
    return aws


def know(doorman: Doorman, answer: str) -> None:
    """Have the doorman know the credentials in an answer of STS."""
    key, secret, token = (
        answer.partition(f"<{name}>")[2].partition("<")[0]
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    )
    doorman.secrets[key] = (secret, token)


@both
def test_an_assumed_role_signs_in(guarded, doorman, assumed, use):
    assert use()
    assert assumed.actions == ["AssumeRole"]
    assert doorman.refusals == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (THROTTLED, "sts:AssumeRole was throttled (Throttling)"),
        (Answer(status=503, body=b"<html>"), "sts:AssumeRole failed on Amazon's side (HTTP 503)"),
        (Answer(status=500), "sts:AssumeRole failed on Amazon's side (HTTP 500)"),
        (
            Answer(status=200, body=b"\x00garbage"),
            "What AWS answered to IAM authentication makes no sense",
        ),
        (
            Answer(status=403, body=THROTTLED.body.replace(b"Throttling", b"AccessDenied")),
            "lacks the action sts:AssumeRole",
        ),
    ],
    ids=["throttled", "5xx with a page", "5xx", "garbage", "denied"],
)
def test_what_sts_answers_is_told_and_asked_a_bounded_number_of_times(
    guarded, assumed, answer, words
):
    assumed.respond = lambda request: answer
    with pytest.raises(SessionStoreUnavailable) as caught:
        save()
    assert words in str(caught.value)
    assert len(assumed.requests) <= 2


def test_a_throttled_assumption_is_tried_again_and_the_next_visitors_are_served(guarded, assumed):
    respond = assumed.respond
    assumed.respond = lambda request: THROTTLED
    with pytest.raises(SessionStoreUnavailable):
        save()
    assumed.respond = respond
    wait_until(is_served, what="a session saved")


def is_served() -> bool:
    try:
        return bool(save())
    except SessionStoreUnavailable:
        return False


def test_one_token_serves_all_connections(guarded, doorman, static, monkeypatch):
    made = count_signings(monkeypatch)
    save()
    asyncio.run(asave())
    asyncio.run(asave())
    assert len(made) == 1
    assert doorman.admitted >= 3


def count_signings(monkeypatch) -> list[float]:
    made: list[float] = []
    sign = iam.sign

    def counting(*arguments):
        made.append(time.time())
        return sign(*arguments)

    monkeypatch.setattr(iam, "sign", counting)
    return made


def test_a_token_is_renewed_for_a_new_connection_before_it_ends(
    guarded, doorman, static, monkeypatch
):
    made = count_signings(monkeypatch)
    save()
    for minutes, signings in ((9, 1), (11, 2), (20, 2), (22, 3)):
        let_pass(monkeypatch, doorman, minutes * 60)
        asyncio.run(asave())
        assert len(made) == signings
    assert doorman.refusals == []


def let_pass(monkeypatch, doorman: Doorman, seconds: float) -> None:
    """Have the clocks here and there show so many seconds more than they do."""
    real, moved = time.time, FakeTime(seconds)
    monkeypatch.setattr(signing, "time", moved)
    doorman.clock = lambda: real() + seconds
    monkeypatch.setattr("botocore.auth.get_current_datetime", moved.datetime)


class FakeTime:
    """The wall clock, ahead of itself."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time() + self._ahead

    def datetime(self, remove_tzinfo: bool = True) -> datetime:
        """Return what botocore asks for."""
        now = datetime.fromtimestamp(self.time(), UTC)
        return now.replace(tzinfo=None) if remove_tzinfo else now


def test_while_renewing_fails_the_token_is_used_until_shortly_before_its_end(
    guarded, doorman, endpoint, monkeypatch
):
    save()
    endpoint.respond = lambda request: Answer(status=503)
    provider = make_credential_provider(IAM)
    provider._session = None
    let_pass(monkeypatch, doorman, 13 * 60)
    assert asyncio.run(asave())
    assert len(endpoint.requests) > 1
    let_pass(monkeypatch, doorman, 14 * 60 + 1)
    with pytest.raises(SessionStoreUnavailable, match="nothing to sign in with"):
        asyncio.run(asave())
    assert doorman.refusals == []


def test_a_clock_that_is_set_back_has_the_token_made_anew(guarded, doorman, static, monkeypatch):
    made = count_signings(monkeypatch)
    save()
    let_pass(monkeypatch, doorman, -3600)
    asyncio.run(asave())
    assert len(made) == 2
    assert doorman.refusals == []


@pytest.mark.parametrize("minutes", [16, -16], ids=["late", "early"])
@both
def test_with_a_wrong_clock_the_door_stays_shut_and_the_log_says_what_to_look_at(
    guarded, doorman, static, caplog, minutes, use
):
    doorman.skew_seconds = minutes * 60
    with pytest.raises(SessionStoreUnavailable, match="it refused the user name or password"):
        use()
    assert set(doorman.refusals) == {"time"}
    [record] = [record for record in caplog.records if record.name == iam.logger.name]
    assert "this machine's clock" in record.getMessage()
    assert "user 'app' for cache 'sessions' in region 'eu-central-1'" in record.getMessage()


@for_something_else
@both
def test_a_token_for_something_else_opens_nothing(
    guarded, doorman, static, settings, wrong, reason, use
):
    settings.CACHES["sessions"]["OPTIONS"]["IAM"] = {**IAM, **wrong}
    settings.CACHES = {**settings.CACHES}
    with pytest.raises(SessionStoreUnavailable, match="it refused the user name or password"):
        use()
    assert set(doorman.refusals) == {reason}


def test_a_refusal_is_logged_once_a_minute(guarded, doorman, static, caplog):
    doorman.secrets.clear()
    for _ in range(5):
        with pytest.raises(SessionStoreUnavailable):
            save()
    assert len([record for record in caplog.records if record.name == iam.logger.name]) == 1


@both
def test_credentials_that_were_revoked_are_fetched_anew(guarded, doorman, endpoint, use):
    use()
    doorman.secrets.clear()
    sync.get_driver("sessions").close()
    with pytest.raises(SessionStoreUnavailable, match="it refused"):
        use()
    assert use()
    assert len(endpoint.requests) == 2


def test_static_credentials_that_were_revoked_stay_refused(guarded, doorman, static):
    save()
    doorman.secrets.clear()
    sync.get_driver("sessions").close()
    for _ in range(3):
        with pytest.raises(SessionStoreUnavailable, match="it refused"):
            save()


@both
def test_without_credentials_nobody_is_let_in_unsigned(guarded, doorman, use):
    with pytest.raises(
        SessionStoreUnavailable, match=r"needs credentials, and boto3 found none .*Give the task"
    ):
        use()
    assert doorman.admitted == 0
    assert doorman.refusals == []
    assert guarded.requests == []


def test_after_a_failure_no_visitor_has_aws_asked_at_once(guarded, monkeypatch):
    monkeypatch.setattr(iam, "PAUSE_SECONDS", 60)
    made = count_signings(monkeypatch)
    for _ in range(20):
        with pytest.raises(SessionStoreUnavailable, match="boto3 found none that can be used"):
            save()
    assert len(made) == 1


@both
def test_an_endpoint_that_never_answers_is_waited_for_a_bounded_time(
    guarded, endpoint, monkeypatch, use
):
    monkeypatch.setattr(iam, "PATIENCE_SECONDS", 0.1)
    endpoint.hold()
    with pytest.raises(SessionStoreUnavailable, match="AWS did not give credentials in time"):
        use()
    endpoint.let_go()
    wait_until(is_served, what="a session saved")


def test_instance_metadata_that_nobody_answers_is_bounded(guarded, monkeypatch):
    with HttpService() as service:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
        service.hold()
        with pytest.raises(SessionStoreUnavailable, match="nothing to sign in with"):
            save()
        assert len(service.requests) <= 2


def test_a_hundred_threads_sign_once(guarded, doorman, endpoint, monkeypatch):
    made = count_signings(monkeypatch)
    endpoint.hold()
    provider = make_credential_provider(IAM)
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(provider.get_credentials()))
        for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: endpoint.requests, what="credentials asked for")
    endpoint.let_go()
    for thread in threads:
        thread.join()
    assert len(found) == 100
    assert len(set(found)) == len(made) == len(endpoint.requests) == 1


def test_a_loop_runs_on_while_credentials_are_fetched(guarded, endpoint):
    endpoint.hold()

    async def use() -> None:
        saving = asyncio.gather(*(asave() for _ in range(5)))
        await until(lambda: endpoint.requests, what="credentials asked for")
        for _ in range(100):
            await asyncio.sleep(0)
        assert not saving.done()
        endpoint.let_go()
        assert len(await saving) == 5

    asyncio.run(use())
    assert len(endpoint.requests) == 1


def test_a_task_that_is_cancelled_takes_nothing_from_the_others(endpoint):
    endpoint.hold()
    provider = make_credential_provider(IAM)

    async def use() -> tuple[str, str]:
        first = asyncio.create_task(provider.get_credentials_async())
        second = asyncio.create_task(provider.get_credentials_async())
        await until(lambda: endpoint.requests, what="credentials asked for")
        first.cancel()
        await asyncio.wait([first])
        endpoint.let_go()
        return await second

    assert asyncio.run(use())[0] == "app"


def test_the_same_settings_share_a_token(static):
    assert make_credential_provider(IAM) is make_credential_provider(dict(IAM))
    assert make_credential_provider(IAM) is not make_credential_provider({**IAM, "USER": "other"})


def test_a_child_of_a_process_that_is_signing_signs_by_itself(endpoint):
    endpoint.hold()
    provider = make_credential_provider(IAM)
    waiting = threading.Thread(target=provider.get_credentials)
    waiting.start()
    wait_until(lambda: endpoint.requests, what="credentials asked for")
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()

    def sign_in_there() -> None:
        theirs.send(provider.get_credentials()[0])

    endpoint.let_go()
    waiting.join()
    provider._lock.acquire()
    child = fork.Process(target=sign_in_there, daemon=True)
    with warnings.catch_warnings():
        # From Python 3.12 on: a fork with threads is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    provider._lock.release()
    assert ours.poll(30)
    assert ours.recv() == "app"
    child.join()


class TestAge:
    """Connections are replaced before ElastiCache ends them."""

    @pytest.fixture
    def age(self, monkeypatch):
        """Let hours pass for connections."""

        def pass_hours(hours: float) -> None:
            real = time.monotonic
            monkeypatch.setattr(authentication, "now", lambda: real() + hours * 3600)
            for module in ("lines", "aio_lines", "wire"):
                monkeypatch.setattr(
                    f"django_elasticache_sessions.drivers.{module}.now",
                    lambda: real() + hours * 3600,
                )

        return pass_hours

    @pytest.mark.parametrize(("hours", "connections"), [(9.8, 1), (11.1, 2)])
    def test_a_threads_connection_is_replaced_within_twelve_hours(
        self, guarded, static, age, hours, connections
    ):
        key = save()
        before = guarded.connections
        age(hours)
        for _ in range(3):
            assert SessionStore(key)["a"] == 1
        assert guarded.connections == before + connections - 1

    @pytest.mark.parametrize(("hours", "connections"), [(9.8, 1), (11.1, 2)])
    def test_a_loops_connection_is_replaced_within_twelve_hours(
        self, guarded, static, age, hours, connections
    ):
        async def use() -> None:
            key = await asave()
            before = guarded.connections
            age(hours)
            for _ in range(3):
                assert await SessionStore(key).aget("a") == 1
            assert guarded.connections == before + connections - 1

        asyncio.run(use())

    def test_what_is_on_its_way_over_an_old_connection_is_answered(self, guarded, static, age):
        async def use() -> None:
            key = await asave()
            guarded.stall_reply_after(0, on="HGETALL")
            slow = asyncio.create_task(SessionStore(key).aget("a"))
            await until(lambda: "HGETALL" in guarded.requests, what="the slow request sent")
            age(12)
            assert await SessionStore(key).aget("a") == 1
            guarded.heal()
            assert await slow == 1
            assert guarded.requests.count("HGETALL") == 2

        asyncio.run(use())

    def test_no_two_connections_need_end_at_once(self):
        class Connection:
            credential_provider = iam.IAMCredentialProvider

        ends = {authentication.end_of(Connection) - authentication.now() for _ in range(50)}
        assert max(ends) - min(ends) > 60
        assert 9.8 * 3600 < min(ends) < max(ends) <= 11 * 3600

    def test_a_connection_with_a_password_does_not_age(self, valkey, server, settings, age):
        key = save()
        before = valkey.info("stats")["total_connections_received"]
        age(1000)
        assert SessionStore(key)["a"] == 1
        assert valkey.info("stats")["total_connections_received"] == before


def test_a_projects_other_caches_can_sign_in_the_same_way(guarded, doorman, static, settings):
    settings.CACHES["sessions"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]["protocol"] = 2
    settings.CACHES = {**settings.CACHES}
    caches["sessions"].set("a", 1)
    assert caches["sessions"].get("a") == 1
    assert doorman.refusals == []


def test_no_token_and_no_secret_is_logged_or_shown(guarded, doorman, endpoint, caplog):
    with caplog.at_level(logging.DEBUG):
        save()
        provider = make_credential_provider(IAM)
        user, token = provider.get_credentials()
        doorman.secrets.clear()
        sync.get_driver("sessions").close()
        with pytest.raises(SessionStoreUnavailable) as caught:
            save()
    signature = token.rpartition("=")[2]
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    shown = "\n".join(
        [
            caplog.text,
            repr((provider, provider._signed, (user, token))),
            *(str(frame.locals) for frame in frames if frame.filename != __file__),
        ]
    )
    assert len(signature) == 64
    for secret in (signature, "secret01", "session/+=01", "session%2F%2B%3D01"):
        assert secret not in shown


def test_logs_of_other_threads_are_not_kept_back(endpoint, caplog):
    endpoint.hold()
    provider = make_credential_provider(IAM)
    waiting = threading.Thread(target=provider.get_credentials)
    waiting.start()
    wait_until(lambda: endpoint.requests, what="credentials asked for")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("botocore.auth").debug("of another thread")
    endpoint.let_go()
    waiting.join()
    assert "of another thread" in caplog.text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "OPTIONS['IAM'] must be a dict, found list. Write \"IAM\": {"),
        ({**IAM, "USSER": "a"}, "unknown key 'USSER'. Did you mean 'USER'?"),
        ({**IAM, "CACHE_NAME": "Sessions"}, 'Write "CACHE_NAME": "sessions".'),
    ],
)
def test_wrong_options_are_told_with_the_line_to_write(options, text):
    with pytest.raises(ImproperlyConfigured) as caught:
        make_credential_provider(options)
    assert text in str(caught.value)


def test_without_boto3_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(
        ImproperlyConfigured, match=r'pip install "django-elasticache-sessions\[aws\]"'
    ):
        make_credential_provider(IAM)


def test_without_a_region_none_is_guessed(static):
    provider = make_credential_provider({"USER": "app", "CACHE_NAME": "sessions"})
    with pytest.raises(
        CredentialsUnavailable, match=r"needs a region, and none is set\. Set AWS_REGION"
    ):
        provider.get_credentials()


@pytest.mark.parametrize("where", ["AWS_REGION", "AWS_DEFAULT_REGION", "profile"])
def test_the_region_may_stand_in_the_environment(static, monkeypatch, aws_profiles, where):
    if where == "profile":
        aws_profiles.write_text("[default]\nregion = eu-north-1\n")
    else:
        monkeypatch.setenv(where, "eu-north-1")
    _, token = make_credential_provider({"USER": "app", "CACHE_NAME": "s"}).get_credentials()
    assert "%2Feu-north-1%2F" in token


def test_when_no_thread_can_be_started_nobody_hangs(static, monkeypatch):
    def no_thread(self) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    provider = make_credential_provider(IAM)
    with pytest.raises(CredentialsUnavailable, match="no thread to sign in"):
        provider.get_credentials()
