"""`sessionstats --cloudwatch` and `--publish`."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from prometheus_client.parser import text_string_to_metric_families

from tests.servers.http import Answer


@pytest.fixture(autouse=True)
def store(valkey):
    """A session cache that answers."""
    return valkey


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("sessionstats", *arguments, stdout=output, stderr=io.StringIO())
    return output.getvalue()


def test_the_table_shows_the_latest_values_with_their_units(of_node):
    of_node("CacheHitRate", 97.54)
    of_node("BytesUsedForCache", 1024 * 1024)
    of_node("SuccessfulReadRequestLatency", 123.0)
    of_node("ReplicationLag", 0.25)
    of_node("TrafficManagementActive", 0.0)
    of_node("NewConnections", 3.0)
    lines = [" ".join(line.split()) for line in run("--cloudwatch").splitlines()]
    assert "CloudWatch replication group shop" in lines
    for line in (
        "hit rate 97.5%",
        "memory used 1.0 MB",
        "time to read 0.12 ms",
        "lag of the replica 0.250 s",
        "traffic is managed no",
        "new connections 3 in the minute",
    ):
        assert line in lines


def test_the_json_has_the_whole_series(of_node):
    of_node("CacheHitRate", 97.0, minutes=3)
    of_node("CacheHitRate", 98.0, minutes=2)
    told = json.loads(run("--cloudwatch", "--json"))["cloudwatch"]
    assert (told["kind"], told["name"], told["region"]) == (
        "replication group",
        "shop",
        "eu-central-1",
    )
    [series] = told["series"]
    assert (series["metric"], series["unit"], series["node"]) == (
        "CacheHitRate",
        "Percent",
        "shop-001",
    )
    assert [value for _, value in series["points"]] == [97.0, 98.0]


def test_prometheus_can_read_the_latest_values(of_node):
    of_node("CacheHitRate", 98.0)
    families = {
        family.name: family
        for family in text_string_to_metric_families(run("--cloudwatch", "--prometheus"))
    }
    [sample] = families["django_elasticache_sessions_cloudwatch"].samples
    assert sample.value == 98.0
    assert sample.labels == {
        "metric": "CacheHitRate",
        "node": "shop-001",
        "statistic": "Average",
        "unit": "Percent",
    }


def test_a_cache_without_any_data_is_told_as_such(group):
    assert "no data" in run("--cloudwatch")
    assert "cloudwatch" not in run("--cloudwatch", "--prometheus")


def test_amazon_is_not_asked_without_the_option(group, amazon):
    assert "CloudWatch" not in run()
    assert "cloudwatch" not in json.loads(run("--json"))
    assert not amazon.calls


@pytest.mark.parametrize("form", [[], ["--json"], ["--prometheus"]])
def test_a_cloudwatch_that_does_not_answer_costs_only_its_own_part(group, amazon, form):
    amazon.answers["GetMetricData"] = Answer(status=400)
    output = io.StringIO()
    with pytest.raises(CommandError, match="Does not answer: CloudWatch") as error:
        call_command("sessionstats", "--cloudwatch", *form, stdout=output)
    assert error.value.returncode == 1
    shown = output.getvalue()
    if form == ["--json"]:
        told = json.loads(shown)
        assert told["cloudwatch"] is None
        assert "cloudwatch:GetMetricData" in told["problems"]["cloudwatch"]
        assert told["live"] == {"signed_in": 0, "anonymous": 0}
    else:
        assert ("cloudwatch:GetMetricData" in shown) == (not form)
        assert "live" in shown.lower()


def test_publishing_says_how_much(group, amazon):
    told = io.StringIO()
    call_command("sessionstats", "--publish", "--json", stdout=io.StringIO(), stderr=told)
    assert told.getvalue().strip() == "4 metrics published."
    assert amazon.calls["PutMetricData"] == 1


def test_publishing_that_fails_is_told_and_ends_with_1(group, amazon):
    amazon.answers["PutMetricData"] = Answer(status=400)
    told = io.StringIO()
    with pytest.raises(CommandError, match="Does not answer: CloudWatch") as error:
        call_command("sessionstats", "--publish", stdout=io.StringIO(), stderr=told)
    assert error.value.returncode == 1
    assert told.getvalue().startswith("Not published: cloudwatch:PutMetricData")


@pytest.mark.parametrize("option", ["--cloudwatch", "--publish"])
def test_without_the_setting_the_options_are_wrong(settings, option):
    settings.ELASTICACHE_SESSIONS = {}
    with pytest.raises(CommandError, match="has no 'CLOUDWATCH'") as error:
        run(option)
    assert error.value.returncode == 2
