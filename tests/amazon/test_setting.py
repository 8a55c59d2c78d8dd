"""`CLOUDWATCH` in the settings: what is taken, what is refused, and with which words."""

from __future__ import annotations

import sys

import pytest
from django.core.checks import run_checks

from django_elasticache_sessions.cloudwatch_options import CloudWatchOptions
from django_elasticache_sessions.conf import get_configuration

ID = "django_elasticache_sessions."


def found(settings, value: object) -> list[tuple[str, str, str]]:
    settings.ELASTICACHE_SESSIONS = {"CLOUDWATCH": value}
    return [
        (message.id.removeprefix(ID), message.msg, message.hint)
        for message in run_checks(tags=["caches"])
        if message.id.removeprefix(ID) in ("E040", "E060")
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (
            {"REPLICATION_GROUP_ID": "shop-1"},
            CloudWatchOptions(replication_group_id="shop-1"),
        ),
        (
            {"SERVERLESS_CACHE_NAME": "shop", "REGION": "us-gov-west-1", "NAMESPACE": "Shop/Web"},
            CloudWatchOptions(
                serverless_cache_name="shop", region="us-gov-west-1", namespace="Shop/Web"
            ),
        ),
        (
            {"REPLICATION_GROUP_ID": None, "SERVERLESS_CACHE_NAME": "shop", "REGION": None},
            CloudWatchOptions(serverless_cache_name="shop"),
        ),
    ],
)
def test_it_is_taken_as_it_is_written(settings, value, expected):
    assert found(settings, value) == []
    assert get_configuration().options.cloudwatch == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("shop", "expected a dict or None, found str"),
        ({}, "'REPLICATION_GROUP_ID' or 'SERVERLESS_CACHE_NAME', found neither"),
        (
            {"REPLICATION_GROUP_ID": "a", "SERVERLESS_CACHE_NAME": "b"},
            "either 'REPLICATION_GROUP_ID' or 'SERVERLESS_CACHE_NAME', found both",
        ),
        (
            {"REPLICATION_GROUP": "a"},
            "unknown key 'REPLICATION_GROUP'; did you mean 'REPLICATION_GROUP_ID'?",
        ),
        ({"REPLICATION_GROUP_ID": "a", 1: 2}, "unknown key 1; known keys: REPLICATION_GROUP_ID"),
        ({"REPLICATION_GROUP_ID": "a--b"}, "hyphens that stand alone"),
        ({"SERVERLESS_CACHE_NAME": "a-"}, "hyphens that stand alone"),
        ({"REPLICATION_GROUP_ID": "a" * 41}, "as 'REPLICATION_GROUP_ID'"),
        ({"REPLICATION_GROUP_ID": "Shop"}, "a lower-case name of letters, digits and hyphens"),
        ({"REPLICATION_GROUP_ID": ["a"]}, "as 'REPLICATION_GROUP_ID', found list"),
        ({"REPLICATION_GROUP_ID": "a", "REGION": "Frankfurt"}, 'a region such as "eu-central-1"'),
        ({"REPLICATION_GROUP_ID": "a", "NAMESPACE": ":x"}, "up to 255 of A-Z a-z 0-9"),
        ({"REPLICATION_GROUP_ID": "a", "NAMESPACE": "AWS/Mine"}, "Amazon keeps for itself"),
    ],
)
def test_what_is_wrong_is_told_with_the_line_to_write(settings, value, text):
    [(code, message, hint)] = found(settings, value)
    assert code == "E060"
    assert message.startswith("ELASTICACHE_SESSIONS['CLOUDWATCH']: ")
    assert text in message
    assert '"CLOUDWATCH": {"REPLICATION_GROUP_ID": "<id>", "REGION": "<region>"}}' in hint


def test_a_missing_boto3_is_told_with_the_extra(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    [(code, message, hint)] = found(settings, {"REPLICATION_GROUP_ID": "a"})
    assert code == "E040"
    assert message.startswith("ELASTICACHE_SESSIONS['CLOUDWATCH'] needs boto3")
    assert hint == 'Run: pip install "django-elasticache-sessions[aws]"'


def test_boto3_is_not_missed_where_nothing_needs_it(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    assert found(settings, None) == []
