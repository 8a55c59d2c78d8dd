"""Every system check of IAM and KMS by its id, with the line that it says to write."""

from __future__ import annotations

import base64
import subprocess
import sys
import textwrap

import pytest
from django.core.checks import ERROR, CheckMessage
from django.core.checks.registry import registry

from django_elasticache_sessions.elasticache import aws

from .test_iam import IAMFactory

PREFIX = "django_elasticache_sessions."
IAM = {"USER": "app", "CACHE_NAME": "sessions", "REGION": "eu-central-1"}
LOCATION = "rediss://sessions.example.org:6379/0"
WRAPPED = [base64.b64encode(bytes([n]) * 100).decode() for n in range(2)]
CANARY = "canary0secret"

pytestmark = pytest.mark.usefixtures("aws_profiles")


@pytest.fixture(autouse=True)
def production(settings):
    """Settings that no check objects to."""
    settings.SESSION_COOKIE_SECURE = True
    settings.ELASTICACHE_SESSIONS = {}
    iam_at(settings, IAM)


def iam_at(settings, iam: object, location: str = LOCATION, **options: object) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "sessions": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": location,
            "OPTIONS": {
                "CONNECTION_FACTORY": f"{IAMFactory.__module__}.IAMFactory",
                "IAM": iam,
                **options,
            },
        },
    }


def found() -> list[tuple[str, CheckMessage]]:
    """Return the messages of those registered checks that are ours, `--deploy` included."""
    return [
        (str(message.id).removeprefix(PREFIX), message)
        for check in registry.get_checks(include_deployment_checks=True)
        if check.__module__.startswith(PREFIX)
        for message in check(app_configs=None, databases=None)
    ]


@pytest.mark.parametrize(
    "iam",
    [
        IAM,
        {**IAM, "SERVERLESS": True},
        {**IAM, "USER": "app-2", "CACHE_NAME": "a" * 40, "REGION": "us-gov-west-1"},
    ],
)
def test_good_settings_give_no_message(settings, iam):
    settings.ELASTICACHE_SESSIONS = {"KMS_WRAPPED_KEYS": WRAPPED}
    factory = "django_elasticache_sessions.elasticache.ConnectionFactory"
    cluster = {"CLUSTER": True, "CONNECTION_FACTORY": factory} if "SERVERLESS" in iam else {}
    iam_at(settings, iam, **cluster)
    assert [code for code, _ in found()] == ["E044"]
    settings.ELASTICACHE_SESSIONS = {}
    assert found() == []


@pytest.mark.parametrize(
    ("iam", "code", "message", "hint"),
    [
        ([], "E041", "must be a dict, found list", '"IAM": {"USER": "app"'),
        ("app", "E041", "must be a dict, found str", '"IAM": {"USER": "app"'),
        ({**IAM, "USSER": "a"}, "E041", "unknown key 'USSER'", "Did you mean 'USER'?"),
        ({**IAM, "Region": "a"}, "E041", "unknown key 'Region'", "Did you mean 'REGION'?"),
        ({**IAM, "zzz": 1}, "E041", "unknown key 'zzz'", "Known keys: USER, CACHE_NAME, REGION"),
        ({**IAM, "USER": ""}, "E041", "'USER': expected letters", '"USER": "app"'),
        ({**IAM, "USER": None}, "E041", "found None", '"USER": "app"'),
        ({**IAM, "USER": "App"}, "E042", "has his id as his name", 'Write "USER": "app".'),
        ({**IAM, "USER": "1app"}, "E041", "found '1app'", '"USER": "app"'),
        ({**IAM, "USER": "a b"}, "E041", "digits and hyphens", '"USER": "app"'),
        ({**IAM, "USER": "/" * 41}, "E041", "found 41 characters", '"USER": "app"'),
        ({**IAM, "USER": "a" * 41}, "E041", "40 at most, found 41 characters", '"USER": "app"'),
        ({**IAM, "CACHE_NAME": "a" * 41}, "E041", "found 41 characters", '"CACHE_NAME": "sess'),
        ({**IAM, "CACHE_NAME": None}, "E041", "'CACHE_NAME': expected", '"CACHE_NAME": "sess'),
        ({**IAM, "CACHE_NAME": "a.b.cache.amazonaws.com"}, "E041", "expected", '"CACHE_NAME": '),
        ({**IAM, "CACHE_NAME": "My-Cache"}, "E042", "has capitals", '"CACHE_NAME": "my-cache".'),
        ({**IAM, "REGION": "Frankfurt"}, "E041", "expected a region", '"REGION": "eu-central-1"'),
        ({**IAM, "REGION": 7}, "E041", "found 7", '"REGION": "eu-central-1"'),
        ({**IAM, "SERVERLESS": "yes"}, "E041", "True or False, found 'yes'", '"IAM": {'),
    ],
)
def test_each_wrong_option_of_iam_is_an_error_that_says_what_to_write(
    settings, iam, code, message, hint
):
    iam_at(settings, iam)
    [(name, problem)] = found()
    assert (name, problem.level) == (code, ERROR)
    assert "CACHES['sessions']: OPTIONS['IAM']" in problem.msg
    assert message in problem.msg
    assert hint in problem.hint


def test_iam_without_tls_is_e043(settings):
    iam_at(settings, IAM, "redis://sessions.example.org:6379/0")
    [problem] = [problem for name, problem in found() if name == "E043"]
    assert "signs in by IAM without TLS" in problem.msg
    assert '"rediss://..."' in problem.hint


def test_iam_without_a_region_is_e044(settings, monkeypatch):
    iam_at(settings, {"USER": "app", "CACHE_NAME": "sessions"})
    [(name, problem)] = found()
    assert name == "E044"
    assert "CACHES['sessions'] needs an AWS region" in problem.msg
    assert "AWS_REGION" in problem.hint
    assert '"REGION": "eu-central-1"' in problem.hint
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert found() == []


def test_cloudwatch_without_a_region_is_e044(settings, monkeypatch):
    settings.ELASTICACHE_SESSIONS = {"CLOUDWATCH": {"REPLICATION_GROUP_ID": "shop"}}
    [(name, problem)] = found()
    assert name == "E044"
    assert "ELASTICACHE_SESSIONS['CLOUDWATCH'] needs an AWS region" in problem.msg
    assert '"REGION": "eu-central-1"' in problem.hint
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert found() == []


def test_wrapped_keys_without_a_region_are_e044(settings, monkeypatch):
    settings.ELASTICACHE_SESSIONS = {"KMS_WRAPPED_KEYS": WRAPPED}
    [(name, problem)] = found()
    assert name == "E044"
    assert "ELASTICACHE_SESSIONS['KMS_WRAPPED_KEYS'] needs an AWS region" in problem.msg
    assert problem.hint == "Set AWS_REGION in the environment."
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert found() == []


@pytest.mark.parametrize(
    ("location", "options"),
    [
        (LOCATION, {"USERNAME": "app"}),
        (LOCATION, {"PASSWORD": CANARY}),
        (f"rediss://app:{CANARY}@sessions.example.org:6379/0", {}),
        (f"rediss://sessions.example.org:6379/0?password={CANARY}", {}),
        (LOCATION, {"CONNECTION_POOL_KWARGS": {"password": CANARY}}),
        (LOCATION, {"CONNECTION_POOL_KWARGS": {"credential_provider": object()}}),
    ],
)
def test_another_way_to_sign_in_beside_iam_is_e045(settings, location, options):
    iam_at(settings, IAM, location, **options)
    [(name, problem)] = found()
    assert name == "E045"
    assert "Remove USERNAME and PASSWORD from its OPTIONS" in problem.hint
    assert CANARY not in f"{problem}"


def test_a_factory_that_does_not_heed_iam_is_e048(settings):
    iam_at(settings, IAM, CONNECTION_FACTORY="django_redis.pool.ConnectionFactory")
    [(name, problem)] = found()
    assert name == "E048"
    assert "connects through ConnectionFactory, which does not heed it" in problem.msg
    assert '"django_elasticache_sessions.elasticache.ConnectionFactory"' in problem.hint


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "an empty list"),
        (WRAPPED[0], "a list of keys, newest first, found str"),
        ([WRAPPED[0]] * 2, "twice"),
        ([WRAPPED[0], "%%%"], "key 1: expected base64 text of a key that AWS KMS has wrapped"),
        ([b"A" * 44], "found bytes"),
        ([base64.b64encode(bytes(32)).decode()], "32 bytes, as a key has that is not wrapped"),
        ([base64.b64encode(bytes(20)).decode()], "found 20 bytes"),
        ([base64.b64encode(bytes(6145)).decode()], "found 6145 bytes"),
        ([CANARY, WRAPPED[0]], "key 0: "),
        (["SECRET_KEY"], "key 0: "),
    ],
)
def test_wrapped_keys_that_are_none_are_e046(settings, keys, message):
    settings.ELASTICACHE_SESSIONS = {"KMS_WRAPPED_KEYS": keys}
    [(name, problem)] = found()
    assert (name, problem.level) == ("E046", ERROR)
    assert "ELASTICACHE_SESSIONS['KMS_WRAPPED_KEYS']: " in problem.msg
    assert message in problem.msg
    assert "manage.py rekeysessions --new-kms-key" in problem.hint
    assert CANARY not in f"{problem}"


def test_keys_that_wrapped_ones_replace_are_e047(settings, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    plain = base64.b64encode(CANARY.ljust(32).encode()).decode()
    settings.ELASTICACHE_SESSIONS = {"KMS_WRAPPED_KEYS": WRAPPED, "ENCRYPTION_KEYS": [plain]}
    [(name, problem)] = found()
    assert name == "E047"
    assert "'ENCRYPTION_KEYS' beside 'KMS_WRAPPED_KEYS'" in problem.msg
    assert 'Put "ENCRYPTION_KEYS" behind the wrapped keys' in problem.hint
    settings.ELASTICACHE_SESSIONS["KMS_WRAPPED_KEYS"] = [*WRAPPED, "ENCRYPTION_KEYS"]
    assert found() == []


def test_none_is_no_iam(settings):
    iam_at(settings, None, CONNECTION_FACTORY="django_redis.pool.ConnectionFactory")
    assert [name for name, _ in found()] == ["W002"]


def test_other_caches_are_checked_too_and_those_without_iam_are_not(settings):
    iam_at(settings, IAM)
    settings.CACHES["pages"] = {
        **settings.CACHES["sessions"],
        "OPTIONS": {"IAM": {**IAM, "USER": ""}},
    }
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    [(name, problem)] = found()
    assert name == "E041"
    assert "CACHES['pages']" in problem.msg


def test_without_the_extra_everything_works_until_something_needs_it():
    script = """
        import sys
        sys.modules["botocore"] = sys.modules["boto3"] = None
        from django.conf import settings
        from tests import settings as base
        names = {name: getattr(base, name) for name in dir(base) if name.isupper()}
        settings.configure(**names)
        import django
        django.setup()
        from django.core.cache import caches
        from django.core.checks import run_checks
        print([message.id for message in run_checks()])
        settings.ELASTICACHE_SESSIONS = {
            "KMS_WRAPPED_KEYS": ["QUFB" * 30],
            "CLOUDWATCH": {"REPLICATION_GROUP_ID": "shop"},
        }
        settings.CACHES["sessions"]["LOCATION"] = "rediss://sessions.example.org/0"
        settings.CACHES["sessions"]["OPTIONS"] = {
            "IAM": {"USER": "app", "CACHE_NAME": "sessions"},
            "CONNECTION_FACTORY": "tests.test_iam.IAMFactory",
        }
        del caches["sessions"]
        for message in run_checks():
            print(message.id.rpartition(".")[2], message.msg, message.hint)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert first == "[]"
    assert others == [
        f"E040 {need} needs boto3, which is not installed. {aws.INSTALL}"
        for need in (
            "OPTIONS['IAM'] of CACHES['sessions']",
            "ELASTICACHE_SESSIONS['KMS_WRAPPED_KEYS']",
            "ELASTICACHE_SESSIONS['CLOUDWATCH']",
        )
    ]


def test_no_check_asks_aws(settings, monkeypatch):
    from .servers.http import HttpService

    with HttpService() as service:
        for name in ("AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
            monkeypatch.setenv(name, service.url)
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        settings.ELASTICACHE_SESSIONS = {"KMS_WRAPPED_KEYS": WRAPPED}
        found()
        assert service.requests == []
