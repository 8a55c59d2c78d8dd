"""Amazon refusing, failing, babbling or silent: told in our words, in bounded time."""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from django_elasticache_sessions import cloudwatch
from django_elasticache_sessions.cloudwatch.reading import fetch, get_options
from django_elasticache_sessions.elasticache import aws as asking
from django_elasticache_sessions.exceptions import AWSUnavailable
from tests.servers.aws import REGION, Aws, Moto
from tests.servers.http import Answer
from tests.servers.ports import LOOPBACK, free_port

from .conftest import SECRET, name_cache

#: Attempts, pauses between them and the search for credentials, on a busy machine.
BOUND_SECONDS = 20
THROTTLED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded"
    b"</Message></Error><RequestId>1</RequestId></ErrorResponse>"
)
GARBAGE = [b"", b"<html>a proxy's page</html>", b"\xff\xfe\x00", b"{}", b"<a>"]


def problem() -> str:
    """Read, and return why that did not work."""
    began = time.monotonic()
    with pytest.raises(AWSUnavailable) as caught:
        cloudwatch.read(patience_seconds=60)
    assert time.monotonic() - began < BOUND_SECONDS
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert "arn:" not in shown
    return str(caught.value)


@pytest.fixture
def user(ask, moto: Moto, group, monkeypatch) -> Iterator[str]:
    """A user who is allowed nothing yet, and is who boto3 asks as."""
    iam = ask("iam")
    iam.create_user(UserName="web")
    key = iam.create_access_key(UserName="web")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    yield "web"
    moto.enforce_policies(after=float("inf"))


def allow(ask, user: str, *actions: str) -> None:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    ask("iam").put_user_policy(UserName=user, PolicyName="some", PolicyDocument=document)


def test_a_role_that_may_not_describe_is_told_the_missing_action(user, moto):
    moto.enforce_policies(after=0)
    assert problem() == (
        "The IAM policy lacks the action elasticache:DescribeReplicationGroups. Allow it to the "
        "role in use."
    )


def test_a_role_that_may_not_read_metrics_is_told_the_missing_action(user, ask, moto):
    allow(ask, user, "elasticache:DescribeReplicationGroups")
    moto.enforce_policies(after=0)
    assert "lacks the action cloudwatch:GetMetricData" in problem()


@pytest.mark.parametrize("code", ["AccessDenied", "com.amazon.coral.service#AccessDeniedException"])
def test_however_amazon_words_it_the_missing_action_is_told(group, amazon: Aws, code):
    body = json.dumps({"__type": code, "message": "User: arn:aws:iam::1:user/web is not allowed"})
    amazon.answers["GetMetricData"] = Answer(status=400, body=body.encode())
    assert problem() == (
        "The IAM policy lacks the action cloudwatch:GetMetricData. Allow it to the role in use."
    )


def test_a_role_with_both_actions_is_enough(user, ask, moto):
    # moto takes the name that requests are signed for; in IAM it is cloudwatch:GetMetricData.
    allow(ask, user, "elasticache:DescribeReplicationGroups", "monitoring:GetMetricData")
    moto.enforce_policies(after=0)
    assert cloudwatch.read(patience_seconds=60).series == ()


def test_credentials_that_amazon_does_not_know_are_told(user, moto, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    moto.enforce_policies(after=0)
    assert "the credentials are expired or wrong" in problem()


def test_a_group_that_is_not_there_is_told(group, settings):
    name_cache(settings, REPLICATION_GROUP_ID="shpo")
    assert "found no such cache in region eu-central-1" in problem()


def test_a_group_of_another_region_is_told(group, settings):
    name_cache(settings, REPLICATION_GROUP_ID="shop", REGION="eu-west-1")
    assert "found no such cache in region eu-west-1" in problem()


def test_a_serverless_cache_that_is_not_there_is_told(serverless, amazon: Aws):
    amazon.answers["DescribeServerlessCaches"] = Answer(
        status=404,
        body=b"<ErrorResponse><Error><Code>ServerlessCacheNotFoundFault</Code></Error></ErrorResponse>",
    )
    assert "found no such cache" in problem()


@pytest.mark.parametrize("operation", ["DescribeReplicationGroups", "GetMetricData"])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failure_of_amazons_is_told_after_a_second_attempt(group, amazon, operation, status):
    amazon.answers[operation] = Answer(status=status, body=b"<html>down</html>")
    assert f"failed on Amazon's side in region {REGION} (HTTP {status})" in problem()
    assert amazon.calls[operation] == asking.ATTEMPTS


def test_throttling_is_told_after_a_second_attempt(group, amazon: Aws):
    amazon.answers["DescribeReplicationGroups"] = Answer(status=400, body=THROTTLED)
    assert "was throttled" in problem()
    assert amazon.calls["DescribeReplicationGroups"] == asking.ATTEMPTS


@pytest.mark.parametrize("operation", ["DescribeReplicationGroups", "GetMetricData"])
@pytest.mark.parametrize("body", GARBAGE)
def test_garbage_is_no_data_and_no_crash(group, amazon: Aws, operation, body):
    amazon.answers[operation] = Answer(status=200, body=body)
    try:
        readings = cloudwatch.read(patience_seconds=60)
    except AWSUnavailable as refusal:
        assert operation in str(refusal)  # noqa: PT017 - either outcome is one
    else:
        assert readings.series == ()


def test_an_amazon_that_says_nothing_is_given_up(group, amazon: Aws, monkeypatch):
    monkeypatch.setattr(asking, "READ_SECONDS", 0.2)
    amazon.hold("DescribeReplicationGroups")
    assert "was not answered in region eu-central-1 (ReadTimeoutError)" in problem()


def test_an_amazon_that_drops_every_packet_is_given_up(group, monkeypatch):
    monkeypatch.setattr(asking, "CONNECT_SECONDS", 0.2)
    with ExitStack() as stack:
        # A full queue of connections is as good as a security group that lets nothing in.
        full = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{full.getsockname()[1]}")
        assert "was not answered in region eu-central-1 (ConnectTimeoutError)" in problem()


def test_an_amazon_that_cannot_be_reached_is_told(group, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{free_port()}")
    assert "a NAT gateway or a VPC endpoint" in problem()


def test_no_credentials_anywhere_are_told(group, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "boto3 found none that can be used (NoCredentialsError)" in problem()


def test_instance_metadata_that_cannot_be_reached_is_given_up(group, monkeypatch):
    with socket.create_server((LOOPBACK, 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{LOOPBACK}:{port}")
        assert "Give the task, instance, pod or function a role" in problem()


def test_no_region_anywhere_is_told(group, settings):
    settings.ELASTICACHE_SESSIONS = {"CLOUDWATCH": {"REPLICATION_GROUP_ID": "shop"}}
    assert "Set AWS_REGION, or write 'REGION' in CLOUDWATCH" in problem()


def test_the_region_of_the_environment_is_asked_in(group, settings, monkeypatch):
    settings.ELASTICACHE_SESSIONS = {"CLOUDWATCH": {"REPLICATION_GROUP_ID": "shop"}}
    monkeypatch.setenv("AWS_REGION", REGION)
    assert cloudwatch.read(patience_seconds=60).target.name == "shop"


def test_credentials_that_come_later_are_found(group, monkeypatch):
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(AWSUnavailable):
            fetch(get_options())
    assert fetch(get_options()).target.name == "shop"


def test_a_role_that_may_not_be_assumed_is_told_by_the_action_of_sts(
    group, amazon: Aws, aws_profiles, monkeypatch
):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    aws_profiles.write_text(
        "[default]\nsource_profile = base\nrole_arn = arn:aws:iam::123456789012:role/shop\n"
        "region = eu-west-1\n"
        f"[profile base]\naws_access_key_id = A\naws_secret_access_key = {SECRET}\n"
    )
    amazon.answers["AssumeRole"] = Answer(
        status=403, body=THROTTLED.replace(b"Throttling", b"AccessDenied")
    )
    assert "lacks the action sts:AssumeRole" in problem()


def test_nothing_of_a_request_is_logged(group, caplog):
    with caplog.at_level(logging.DEBUG):
        cloudwatch.read(patience_seconds=60)
    assert "urllib3" in caplog.text
    assert not [record for record in caplog.records if record.name == "botocore.auth"]


def test_a_missing_boto3_names_the_extra(group, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    assert problem().endswith('Run: pip install "django-elasticache-sessions[aws]"')


def test_a_refusal_is_not_asked_about_again_for_a_minute(group, amazon: Aws):
    amazon.answers["GetMetricData"] = Answer(status=400)
    first = problem()
    assert problem() == first
    assert amazon.calls["GetMetricData"] == 1
