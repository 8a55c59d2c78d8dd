"""Encryption keys wrapped by AWS KMS: opened at start, rotated, and never replaced in silence."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
import threading
import traceback

import pytest
from botocore.session import Session
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import CACHE_ENGINE, CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.doctor import examine
from django_elasticache_sessions.elasticache import aws as aws_module
from django_elasticache_sessions.elasticache import kms
from django_elasticache_sessions.middleware import SessionMiddleware

from .servers.aws import Aws
from .servers.http import Answer

CONTEXT = {"purpose": "django-elasticache-sessions"}
PLAIN = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def kms_service(aws, monkeypatch) -> Aws:
    """Have KMS at the moto server, in one region, for credentials that it takes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", aws.url)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAKMS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret0of0kms")
    return aws


@pytest.fixture
def client(kms_service):
    """A client of KMS."""
    return Session().create_client("kms", region_name="eu-central-1")


@pytest.fixture
def kms_key(client) -> str:
    """The id of a new KMS key."""
    return client.create_key()["KeyMetadata"]["KeyId"]


@pytest.fixture
def use_keys(settings):
    """Set the wrapped keys, and more options."""

    def use(*keys: str, **options: object) -> None:
        settings.ELASTICACHE_SESSIONS = {"KMS_WRAPPED_KEYS": list(keys), **options}

    return use


@pytest.fixture
def wrap(client, kms_key):
    """Wrap a text with the KMS key."""

    def wrap_it(text: bytes = bytes(32), context: dict[str, str] | None = None) -> str:
        answer = client.encrypt(
            KeyId=kms_key, Plaintext=text, EncryptionContext=CONTEXT if context is None else context
        )
        return base64.b64encode(answer["CiphertextBlob"]).decode()

    return wrap_it


def rekeysessions(**options: object) -> str:
    output = io.StringIO()
    call_command("rekeysessions", stdout=output, **options)
    return output.getvalue()


def new_key(kms_key: str) -> dict[str, object]:
    return json.loads(rekeysessions(new_kms_key=kms_key, json=True))


def forget_as_a_new_process(settings) -> None:
    kms._opened.clear()
    kms._failure_ends = 0.0
    settings.ELASTICACHE_SESSIONS = dict(settings.ELASTICACHE_SESSIONS)


def decryptions(aws: Aws) -> int:
    return aws.actions.count("Decrypt")


def test_a_rotation_to_kms_and_on_to_the_next_key_loses_no_session(
    valkey, settings, new_session, kms_key, use_keys
):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPTION_KEYS": [PLAIN]}
    session = new_session(a=1)
    present: list[str] = []
    for _ in range(2):
        made = new_key(kms_key)
        for keys in (made["first"], made["then"]):
            use_keys(*keys, ENCRYPTION_KEYS=[PLAIN])
            if "ENCRYPTION_KEYS" not in keys:
                use_keys(*keys)
            forget_as_a_new_process(settings)
            assert SessionStore(session.session_key)["a"] == 1
        assert rekeysessions() == "1 sessions, 1 re-encrypted, 0 unreadable.\n"
        present = [made["wrapped_key"]]
        use_keys(*present)
        forget_as_a_new_process(settings)
        assert SessionStore(session.session_key)["a"] == 1
        assert rekeysessions() == "1 sessions, 0 re-encrypted, 0 unreadable.\n"


def test_from_secret_key_the_way_is_the_same(valkey, settings, new_session, kms_key, use_keys):
    session = new_session(a=1)
    made = new_key(kms_key)
    assert made["first"] == ["ENCRYPTION_KEYS", made["wrapped_key"]]
    for keys in (made["first"], made["then"]):
        use_keys(*keys)
        assert SessionStore(session.session_key)["a"] == 1
    rekeysessions()
    use_keys(made["wrapped_key"])
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert SessionStore(session.session_key)["a"] == 1


def test_values_are_encrypted_under_the_wrapped_key_alone(valkey, new_session, wrap, use_keys):
    use_keys(wrap())
    session = new_session(a=1)
    assert SessionStore(session.session_key)["a"] == 1
    assert len(get_configuration().policy.ring.by_id) == 1
    use_keys(wrap(b"\x01" * 32))
    assert SessionStore(session.session_key).get("a") is None


def test_the_command_says_what_to_write_and_in_which_order(kms_key, use_keys, wrap):
    old = wrap()
    use_keys(old)
    output = rekeysessions(new_kms_key=kms_key)
    new = next(line for line in output.splitlines() if line.startswith('    "') and old not in line)
    first = f'ELASTICACHE_SESSIONS = {{..., "KMS_WRAPPED_KEYS": [\n    "{old}",\n{new}\n]}}'
    then = f'ELASTICACHE_SESSIONS = {{..., "KMS_WRAPPED_KEYS": [\n{new}\n    "{old}",\n]}}'
    assert output.index(first) < output.index(then) < output.index("manage.py rekeysessions")
    assert f":key/{kms_key} made" in output


def test_an_alias_names_a_kms_key_too(client, kms_key):
    client.create_alias(AliasName="alias/shop", TargetKeyId=kms_key)
    assert kms_key in str(new_key("alias/shop")["kms_key"])
    client.delete_alias(AliasName="alias/shop")


def test_a_new_key_needs_neither_the_store_nor_the_present_keys(kms_key, use_keys, wrap, client):
    use_keys(wrap(context={"purpose": "another"}))
    assert new_key(kms_key)["wrapped_key"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, ["AWS answered 'NotFoundException'", "does not exist in this region"]),
        (
            "AccessDeniedException",
            ["'AccessDeniedException'", "Allow kms:GenerateDataKeyWithoutPlaintext"],
        ),
        ("ThrottlingException", ["was throttled", "(ThrottlingException)", "Ask less often"]),
        (
            Answer(body=b"{}"),
            ["What AWS answered to kms:GenerateDataKeyWithoutPlaintext makes no sense"],
        ),
    ],
)
def test_a_new_key_that_kms_does_not_make_is_told(aws, answer, words):
    if answer is not None:
        answer = answer if isinstance(answer, Answer) else refusal(answer)
        aws.respond = lambda request: answer
    with pytest.raises(CommandError) as caught:
        rekeysessions(new_kms_key="alias/nothing")
    assert caught.value.returncode == 1
    assert "KMS did not make a key with 'alias/nothing'" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_failed_new_key_does_not_say_to_start_again(aws):
    aws.respond = lambda request: refusal("SomethingElse")
    with pytest.raises(CommandError) as caught:
        rekeysessions(new_kms_key="alias/nothing")
    assert "start again" not in str(caught.value)


def test_a_new_key_of_no_kms_key_is_refused_without_asking(aws):
    with pytest.raises(CommandError, match="expected the id, ARN or alias of a KMS key"):
        rekeysessions(new_kms_key="")


def test_a_new_key_and_a_dry_run_exclude_each_other():
    with pytest.raises(CommandError, match="not allowed with"):
        call_command("rekeysessions", "--dry-run", "--new-kms-key", "x")


def refusal(code: str, status: int = 400) -> Answer:
    return Answer(
        status=status,
        headers={"Content-Type": "application/x-amz-json-1.1"},
        body=json.dumps({"__type": code, "message": "canary0message"}).encode(),
    )


def test_kms_is_asked_once_for_a_process_and_key(aws, valkey, new_session, wrap, use_keys):
    keys = wrap(), wrap(b"\x01" * 32)
    use_keys(*keys)
    new_session(a=1)
    use_keys(*reversed(keys), KEY_PREFIX="other")
    new_session(a=1)
    assert decryptions(aws) == 2


def test_kms_that_goes_down_means_nothing_to_a_running_process(
    aws, valkey, new_session, wrap, use_keys
):
    key = wrap()
    use_keys(key)
    session = new_session(a=1)
    aws.respond = lambda request: Answer(status=503)
    assert SessionStore(session.session_key)["a"] == 1
    use_keys(key, COMPRESS_ABOVE_BYTES=None)
    assert SessionStore(session.session_key)["a"] == 1


FAILURES = {
    "denied": (refusal("AccessDeniedException"), "Allow kms:Decrypt on the key in the role's"),
    "to be deleted": (refusal("KMSInvalidStateException"), "cancel its deletion"),
    "disabled": (refusal("DisabledException"), "Enable the KMS key"),
    "throttled": (
        refusal("ThrottlingException"),
        "kms:Decrypt was throttled in region eu-central-1 (ThrottlingException)",
    ),
    "expired": (
        refusal("ExpiredTokenException"),
        "credentials are expired or wrong (ExpiredTokenException)",
    ),
    "clock": (refusal("InvalidSignatureException"), "Check this machine's clock"),
    "500": (refusal("KMSInternalException", 500), "(HTTP 500, KMSInternalException)"),
    "503 with a page": (
        Answer(status=503, body=b"<html>"),
        "failed on Amazon's side in region eu-central-1 (HTTP 503)",
    ),
    "garbage": (Answer(body=b"\x00garbage"), "expected a key of 32 bytes in it, found 0"),
    "nothing": (Answer(body=b"{}"), "expected a key of 32 bytes in it, found 0"),
    "no base64": (Answer(body=b'{"Plaintext": "%%%"}'), "KMS_WRAPPED_KEYS"),
    "short": (Answer(body=b'{"Plaintext": "YWJj"}'), "expected a key of 32 bytes in it, found 3"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_whatever_keeps_kms_from_serving_stops_sessions_with_what_mends_it(
    aws, valkey, wrap, use_keys, what
):
    answer, words = FAILURES[what]
    use_keys(wrap())
    aws.requests.clear()
    aws.respond = lambda request: answer
    with pytest.raises(ImproperlyConfigured) as caught:
        save()
    assert "ELASTICACHE_SESSIONS['KMS_WRAPPED_KEYS']: key 0 was not decrypted: " in str(
        caught.value
    )
    assert words in str(caught.value)
    assert "canary0message" not in str(caught.value)
    assert valkey.dbsize() == 0
    assert len(aws.requests) <= aws_module.ATTEMPTS


def save() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"context": {"purpose": "another"}}, "InvalidCiphertextException"),
        ({"context": {}}, "InvalidCiphertextException"),
        ({"text": b"short"}, "expected a key of 32 bytes in it, found 5"),
    ],
)
def test_what_was_wrapped_for_something_else_is_refused(valkey, wrap, use_keys, spoil, words):
    use_keys(wrap(**spoil))
    with pytest.raises(
        ImproperlyConfigured, match=r"manage\.py rekeysessions --new-kms-key"
    ) as caught:
        save()
    assert words in str(caught.value)


def test_the_place_of_the_key_that_fails_is_told(valkey, wrap, use_keys):
    use_keys(wrap(), wrap(context={}))
    with pytest.raises(ImproperlyConfigured, match="key 1 was not decrypted"):
        save()


def test_a_kms_key_that_does_not_exist_opens_nothing(valkey, wrap, use_keys, kms_key):
    wrapped = base64.b64decode(wrap())
    assert kms_key.encode() in wrapped
    gone = wrapped.replace(kms_key.encode(), b"0" * len(kms_key))
    use_keys(base64.b64encode(gone).decode())
    with pytest.raises(ImproperlyConfigured, match="AccessDeniedException"):
        save()


def test_kms_that_is_not_there_at_start_is_a_clear_failure(valkey, wrap, use_keys, monkeypatch):
    use_keys(wrap())
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    with pytest.raises(
        ImproperlyConfigured, match=r"kms:Decrypt was not answered.*VPC endpoint for kms"
    ):
        save()


def test_a_web_process_without_its_keys_does_not_begin_to_serve(aws, wrap, use_keys):
    use_keys(wrap())
    aws.respond = lambda request: refusal("AccessDeniedException")
    with pytest.raises(ImproperlyConfigured, match="Allow kms:Decrypt"):
        SessionMiddleware(lambda request: None)


def test_a_web_process_without_wrapped_keys_asks_nobody(aws, settings):
    settings.ELASTICACHE_SESSIONS = {}
    SessionMiddleware(lambda request: None)
    settings.ELASTICACHE_SESSIONS = []
    SessionMiddleware(lambda request: None)
    assert aws.requests == []


def test_no_page_falls_back_to_other_keys(valkey, wrap, use_keys, settings):
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    use_keys(wrap(context={}), ENCRYPT=False)
    with pytest.raises(ImproperlyConfigured):
        Client().get("/steps/", {"steps": '[["set", "a", 1]]', "status": "200"})
    assert valkey.dbsize() == 0


def test_kms_that_never_answers_is_waited_for_a_bounded_time(
    aws, valkey, wrap, use_keys, monkeypatch
):
    monkeypatch.setattr(aws_module, "READ_SECONDS", 0.1)
    use_keys(wrap())
    aws.requests.clear()
    aws.hold()
    with pytest.raises(
        ImproperlyConfigured, match=r"was not answered in region eu-central-1 \(ReadTimeoutError"
    ):
        save()
    aws.let_go()
    assert len(aws.requests) == aws_module.ATTEMPTS


def test_visitors_who_come_together_wait_together(aws, valkey, wrap, use_keys):
    use_keys(wrap())
    aws.requests.clear()
    aws.respond = lambda request: refusal("AccessDeniedException")
    problems: list[str] = []

    def visit() -> None:
        try:
            get_configuration()
        except ImproperlyConfigured as problem:
            problems.append(str(problem))

    threads = [threading.Thread(target=visit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(problems) == 20
    assert len(set(problems)) == decryptions(aws) == 1


def test_after_a_failure_kms_is_asked_again(aws, valkey, wrap, use_keys, monkeypatch):
    monkeypatch.setattr(kms, "FAILURE_SECONDS", 0.0)
    use_keys(wrap())
    aws.once.append(refusal("AccessDeniedException"))
    with pytest.raises(ImproperlyConfigured):
        save()
    save()
    assert valkey.dbsize() > 0


def test_one_key_wrapped_twice_is_one_key(valkey, wrap, use_keys):
    use_keys(wrap(), wrap())
    save()
    assert len(get_configuration().policy.ring.by_id) == 1


def test_without_credentials_it_says_where_they_come_from(valkey, wrap, use_keys, monkeypatch):
    use_keys(wrap())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(
        ImproperlyConfigured,
        match=r"boto3 found none that can be used \(NoCredentialsError\)\. Give the task",
    ):
        save()


def test_without_a_region_it_says_so(valkey, wrap, use_keys, monkeypatch):
    use_keys(wrap())
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(
        ImproperlyConfigured, match=r"needs a region, and none is set\. Set AWS_REGION\."
    ):
        save()


def test_without_boto3_it_says_what_to_install(valkey, wrap, use_keys, monkeypatch):
    use_keys(wrap())
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(
        ImproperlyConfigured, match=r'pip install "django-elasticache-sessions\[aws\]"'
    ):
        save()


def test_no_key_is_logged_or_shown(aws, valkey, wrap, use_keys, caplog):
    secret = b"canary0plaintext0of0thirty0two00"
    shapes = (secret.decode(), base64.b64encode(secret).decode(), repr(secret)[2:-1])
    good, bad = wrap(secret), wrap(secret[:31])
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    use_keys(good)
    save()
    use_keys(good, bad)
    with pytest.raises(ImproperlyConfigured) as caught:
        save()
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    shown = "\n".join(
        [
            caplog.text,
            repr(get_configuration.__globals__["_current"]),
            str(caught.value),
            *(str(frame.locals) for frame in frames if frame.filename != __file__),
        ]
    )
    assert "urllib3" in caplog.text
    for shape in (*shapes, shapes[1][:40], "secret0of0kms"):
        assert shape not in shown


class TestTheCommands:
    """While KMS opens no key."""

    @pytest.fixture(autouse=True)
    def _closed(self, settings, fallback_database, aws, valkey, wrap, use_keys):
        settings.SESSION_ENGINE = CACHED_DB_ENGINE
        alias = fallback_database("sqlite")
        use_keys(wrap(), FALLBACK_DATABASE=alias)
        aws.respond = lambda request: Answer(status=503)

    @pytest.mark.parametrize(
        "command",
        [
            ("sessionstats",),
            ("clearsessions_cache",),
            ("syncsessions",),
            ("migratesessions", "--from", "django.contrib.sessions.backends.db"),
            ("rekeysessions",),
        ],
    )
    def test_commands_that_need_keys_end_with_what_mends_it(self, command):
        with pytest.raises(CommandError, match="key 0 was not decrypted") as caught:
            call_command(*command)
        assert caught.value.returncode == 1

    def test_the_doctor_tells_and_examines_what_needs_no_keys(self, settings):
        findings = {finding.subject: finding for finding in examine(CACHED_DB_ENGINE)}
        assert findings["encryption keys"].level == "problem"
        assert "key 0 was not decrypted" in findings["encryption keys"].found
        alias = settings.ELASTICACHE_SESSIONS["FALLBACK_DATABASE"]
        for subject in ("server", "hash encoding", "waiting for the database"):
            assert findings[subject].level == "ok"
        assert f"database {alias!r}" in findings


def test_the_doctor_says_that_kms_opened_the_keys(valkey, wrap, use_keys):
    use_keys(wrap())
    findings = {finding.subject: finding for finding in examine(CACHE_ENGINE)}
    assert findings["encryption keys"].level == "ok"
