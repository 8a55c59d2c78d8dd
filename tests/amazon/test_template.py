"""The CloudFormation template: linted, made at moto, and looked at by the doctor.

moto makes the key, its alias, the security group, the policy and the dashboards from a template,
and neither alarms nor anything of ElastiCache's. What the template says of alarms, the user and the
replication group is therefore sent to the services' own operations, which boto3 checks by their
definitions; the serverless cache, its user group, the parameter and the subnet group are linted
only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from cfnlint import lint_file

from django_elasticache_sessions.cloudwatch.metrics import OF_NODES, OF_SERVERLESS
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.doctor import cloud
from tests import template
from tests.servers.aws import REGION

from .conftest import name_cache

NAME = "shop"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"


@pytest.mark.parametrize("name", ["a--b", "a-", "A", "1a", ""])
def test_a_name_that_elasticache_refuses_is_refused_by_the_template(name):
    rule = template.load()["Parameters"]["CacheName"]
    assert re.fullmatch(rule["AllowedPattern"], "shop-1")
    assert not re.fullmatch(rule["AllowedPattern"], name)
    assert rule["MaxLength"] <= 40


@pytest.fixture
def network(ask) -> dict[str, str]:
    """A VPC with two subnets and the application's security group, as parameters."""
    ec2 = ask("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{place}.0/24", AvailabilityZone=f"{REGION}{letter}"
        )["Subnet"]["SubnetId"]
        for place, letter in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    return {"VpcId": vpc, "SubnetIds": ",".join(subnets), "ClientSecurityGroupId": group}


@pytest.fixture
def make(ask, network) -> Callable[..., dict[str, str]]:
    """Make the stack; the physical ids of what moto made of it, by logical ids."""

    def create(kind: str, **parameters: str) -> dict[str, str]:
        body = template.load()
        # Of a resource that moto does not know.
        del body["Outputs"]["Location"]
        given = {"CacheName": NAME, "CacheKind": kind, **network, **parameters}
        client = ask("cloudformation")
        client.create_stack(
            StackName="sessions",
            TemplateBody=json.dumps(body),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
            ],
        )
        [stack] = client.describe_stacks(StackName="sessions")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        resources = client.describe_stack_resources(StackName="sessions")["StackResources"]
        # What moto does not know has no name here.
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for one in resources
            if one.get("PhysicalResourceId")
        }

    return create


@pytest.fixture
def alarms(ask) -> Callable[..., dict[str, dict[str, Any]]]:
    """Make the alarms; what CloudWatch then has, by name."""

    def put(kind: str, **parameters: str) -> dict[str, dict[str, Any]]:
        given = {"CacheName": NAME, "CacheKind": kind, **parameters}
        for alarm in template.resources("AWS::CloudWatch::Alarm", **given).values():
            ask("cloudwatch").put_metric_alarm(**alarm)
        found = ask("cloudwatch").describe_alarms()["MetricAlarms"]
        return {alarm["AlarmName"]: alarm for alarm in found}

    return put


def test_the_linter_has_nothing_to_say():
    assert lint_file(template.PATH) == []


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_the_stack_is_made(make, kind):
    made = make(kind)
    dashboard = "CacheDashboard" if kind == "Serverless" else "GroupDashboard"
    assert made.keys() == {"Key", "KeyAlias", "SecurityGroup", "Policy", dashboard}


def test_a_group_has_the_alarms_of_nodes(alarms):
    assert alarms("ReplicationGroup").keys() == {
        "shop-memory",
        "shop-evictions",
        "shop-engine",
        "shop-replication",
        "shop-breaker",
        "shop-fallback",
    }


def test_a_serverless_cache_has_alarms_of_its_own(alarms):
    assert alarms("Serverless").keys() == {
        "shop-storage",
        "shop-throttling",
        "shop-breaker",
        "shop-fallback",
    }


@pytest.mark.parametrize("topic", ["", TOPIC])
def test_alarms_go_to_the_topic_that_is_given(alarms, topic):
    for alarm in alarms("ReplicationGroup", AlarmTopicArn=topic).values():
        assert alarm.get("AlarmActions", []) == ([topic] if topic else [])


def test_the_application_alone_reaches_the_cache(make, ask, network):
    made = make("ReplicationGroup")
    [group] = ask("ec2").describe_security_groups(GroupIds=[made["SecurityGroup"]])[
        "SecurityGroups"
    ]
    [rule] = group["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (6379, 6379, [])
    [source] = rule["UserIdGroupPairs"]
    assert source["GroupId"] == network["ClientSecurityGroupId"]


def test_the_key_turns_every_year(make, ask):
    made = make("ReplicationGroup")
    assert ask("kms").get_key_rotation_status(KeyId=made["Key"])["KeyRotationEnabled"]


@pytest.mark.parametrize(
    ("kind", "resource"),
    [("ReplicationGroup", "replicationgroup:shop"), ("Serverless", "serverlesscache:shop")],
)
def test_the_policy_allows_to_connect_to_this_cache_as_this_user(make, ask, kind, resource):
    made = make(kind, UserName="web")
    iam = ask("iam")
    version = iam.get_policy(PolicyArn=made["Policy"])["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=made["Policy"], VersionId=version)
    statements = {
        statement["Sid"]: statement
        for statement in document["PolicyVersion"]["Document"]["Statement"]
    }
    account = "arn:aws:elasticache:eu-central-1:123456789012"
    assert statements["Connect"]["Resource"] == [f"{account}:{resource}", f"{account}:user:web"]
    assert statements["PublishMetrics"]["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": "ElastiCacheSessions"}
    }
    actions = {
        action
        for statement in statements.values()
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
    }
    assert actions == {
        "elasticache:Connect",
        "elasticache:DescribeReplicationGroups",
        "elasticache:DescribeServerlessCaches",
        "cloudwatch:GetMetricData",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:PutMetricData",
        "kms:Decrypt",
        "kms:GenerateDataKeyWithoutPlaintext",
    }


def test_elasticache_takes_the_user(ask):
    [wanted] = template.resources("AWS::ElastiCache::User", UserName="web").values()
    user = ask("elasticache").create_user(**wanted)
    assert (user["UserId"], user["UserName"]) == ("web", "web")
    assert user["Authentication"]["Type"] == "iam"
    assert user["AccessString"] == template.access_string()


def test_the_doctor_finds_nothing_to_mend_in_the_group(alarms, ask, settings):
    alarms("ReplicationGroup", AlarmTopicArn=TOPIC)
    [wanted] = template.resources("AWS::ElastiCache::ReplicationGroup", CacheName=NAME).values()
    ask("elasticache").create_replication_group(**wanted)
    name_cache(settings, REPLICATION_GROUP_ID=NAME)
    assert levels() == {"ok"}


def test_the_doctor_finds_nothing_to_mend_in_the_serverless_cache(alarms, settings, amazon):
    alarms("Serverless", AlarmTopicArn=TOPIC)
    [wanted] = template.resources(
        "AWS::ElastiCache::ServerlessCache", CacheName=NAME, CacheKind="Serverless"
    ).values()
    amazon.describe_serverless(
        wanted["ServerlessCacheName"], SnapshotRetentionLimit=str(wanted["SnapshotRetentionLimit"])
    )
    name_cache(settings, SERVERLESS_CACHE_NAME=NAME)
    assert levels() == {"ok"}


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_the_dashboard_is_one_that_cloudwatch_takes(make, ask, kind):
    make(kind)
    body = json.loads(ask("cloudwatch").get_dashboard(DashboardName=NAME)["DashboardBody"])
    assert len(body["widgets"]) == 6
    assert all(widget["properties"]["region"] == REGION for widget in body["widgets"])


def test_every_metric_of_amazons_that_is_watched_is_one_that_is_read():
    read = {metric.name for metric in (*OF_NODES, *OF_SERVERLESS)}
    watched = {
        metric["MetricName"]
        for kind in ("ReplicationGroup", "Serverless")
        for alarm in template.resources("AWS::CloudWatch::Alarm", CacheKind=kind).values()
        for metric in metrics_of(alarm)
        if metric["Namespace"] == "AWS/ElastiCache"
    }
    assert len(watched) == 6
    assert watched <= read


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_every_alarm_says_why(kind):
    for alarm in template.resources("AWS::CloudWatch::Alarm", CacheKind=kind).values():
        assert len(alarm["AlarmDescription"]) > 80


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    queries = alarm.get("Metrics", ())
    return [query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query] or [alarm]


def levels() -> set[str]:
    options = cloud.get_target(get_configuration())
    assert options
    findings = cloud.examine(options, is_named=True, is_durable=True)
    return {finding.level for finding in findings}
