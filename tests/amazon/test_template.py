"""The CloudFormation template: linted, made at moto, and resolved for each kind of cache.

moto makes the key, its alias, the security group, the policy, the logs and the dashboards from a
template, and nothing of ElastiCache's. The user is therefore sent to the service's own operation,
and of the others the properties are held against what boto3 knows of theirs; the parameter group is
linted only.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from cfnlint import lint_file
from cfnlint.config import ManualArgs

from django_elasticache_sessions.elasticache import kms
from tests import template
from tests.servers.aws import REGION

NAME = "shop"


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
        body = copy.deepcopy(template.load())
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


def test_the_linter_has_nothing_to_say():
    # Errors, warnings and what it would only mention; but for descriptions in its own form.
    strict = ManualArgs(
        include_checks=["I"],
        include_experimental=True,
        ignore_checks=["I4010"],
        regions=["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"],
    )
    assert lint_file(template.PATH, config=strict) == []


BOTH = {
    "Key",
    "KeyAlias",
    "SecurityGroup",
    "User",
    "UserGroup",
    "Policy",
    "BreakerAlarm",
    "FallbackAlarm",
}
OF_GROUPS = {
    "SubnetGroup",
    "ParameterGroup",
    "LogGroup",
    "Group",
    "MemoryAlarm",
    "EvictionsAlarm",
    "LoadAlarm",
    "ReplicationAlarm",
    "GroupDashboard",
}
OF_CACHES = {"Cache", "StorageAlarm", "CacheEvictionsAlarm", "ThrottlingAlarm", "CacheDashboard"}


@pytest.mark.parametrize(
    ("variant", "made"),
    [
        ("group", BOTH | OF_GROUPS | {"CreditsAlarm"}),
        ("large group", BOTH | OF_GROUPS),
        ("serverless", BOTH | OF_CACHES),
        ("serverless, untold", BOTH | OF_CACHES),
    ],
)
def test_each_variant_has_its_resources_and_none_of_the_other(variant, made):
    assert template.stack(**template.VARIANTS[variant]).keys() == made


@pytest.mark.parametrize("variant", template.VARIANTS)
def test_every_name_in_a_variant_is_of_something_that_it_has(variant):
    # Resolving fails at what is not there; what is left would be a function we do not know.
    parameters = template.VARIANTS[variant]
    left = json.dumps([template.stack(**parameters), template.outputs(**parameters)])
    assert not re.findall(r'"(?:Fn::\w+|Ref)"|\$\{|AWS::NoValue', left)


def test_what_a_variant_does_not_have_may_not_be_named():
    known = template.know(CacheKind="Serverless")
    for function in ({"Ref": "Group"}, {"Fn::GetAtt": ["Group", "A"]}, {"Fn::Sub": "${Group.A}"}):
        with pytest.raises(KeyError):
            template.resolve(function, known)


@pytest.mark.parametrize(
    ("kind", "operation", "renamed"),
    [
        ("AWS::ElastiCache::ReplicationGroup", "CreateReplicationGroup", {}),
        ("AWS::ElastiCache::User", "CreateUser", {}),
        ("AWS::ElastiCache::UserGroup", "CreateUserGroup", {}),
        (
            "AWS::ElastiCache::SubnetGroup",
            "CreateCacheSubnetGroup",
            {"Description": "CacheSubnetGroupDescription"},
        ),
        (
            "AWS::ElastiCache::ServerlessCache",
            "CreateServerlessCache",
            {},
        ),
        ("AWS::Logs::LogGroup", "CreateLogGroup", {"LogGroupName": "logGroupName"}),
    ],
)
def test_the_properties_are_those_of_the_operation(kind, operation, renamed):
    # Of the resource alone, not of what makes it: when it goes, and how long logs are kept.
    apart = {"FinalSnapshotName", "RetentionInDays"}
    found = [
        one
        for variant in template.VARIANTS.values()
        for one in template.resources(kind, **variant).values()
    ]
    assert found
    service = "logs" if "Logs" in kind else "elasticache"
    shape = Loader().load_service_model(service, "service-2")
    wanted = ServiceModel(shape).operation_model(operation).input_shape
    for properties in found:
        given = {
            renamed.get(name, name): value
            for name, value in properties.items()
            if name not in apart
        }
        assert not ParamValidator().validate(given, wanted).has_errors()
        assert given.keys() <= wanted.members.keys()


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_the_stack_is_made(make, kind):
    made = make(kind)
    more = {"CacheDashboard"} if kind == "Serverless" else {"GroupDashboard", "LogGroup"}
    assert made.keys() == {"Key", "KeyAlias", "SecurityGroup", "Policy", *more}


def test_the_application_alone_reaches_the_cache(make, ask, network):
    made = make("ReplicationGroup")
    [group] = ask("ec2").describe_security_groups(GroupIds=[made["SecurityGroup"]])[
        "SecurityGroups"
    ]
    [rule] = group["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (6379, 6379, [])
    [source] = rule["UserIdGroupPairs"]
    assert source["GroupId"] == network["ClientSecurityGroupId"]


def test_the_cache_reaches_nothing():
    [wanted] = template.resources("AWS::EC2::SecurityGroup").values()
    assert [rule["CidrIp"] for rule in wanted["SecurityGroupEgress"]] == ["127.0.0.1/32"]


def test_the_logs_of_a_group_are_kept_for_two_weeks(make, ask):
    name = make("ReplicationGroup")["LogGroup"]
    [found] = ask("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert found["retentionInDays"] == 14
    [group] = template.resources("AWS::ElastiCache::ReplicationGroup").values()
    assert {one["LogType"] for one in group["LogDeliveryConfigurations"]} == {
        "slow-log",
        "engine-log",
    }


@pytest.mark.parametrize(
    ("wanted", "made"), [("", None), ("tue:03:00-tue:04:00", "tue:03:00-tue:04:00")]
)
def test_amazon_chooses_the_window_where_none_is_given(wanted, made):
    [group] = template.resources(
        "AWS::ElastiCache::ReplicationGroup", MaintenanceWindow=wanted
    ).values()
    assert group.get("PreferredMaintenanceWindow") == made
    rule = template.load()["Parameters"]["MaintenanceWindow"]["AllowedPattern"]
    assert re.fullmatch(rule, wanted)
    assert not re.fullmatch(rule, "tuesday at three")


@pytest.mark.parametrize("policy", ["volatile-ttl", "noeviction"])
def test_the_eviction_policy_is_one_that_keeps_the_indexes(policy):
    assert policy in template.load()["Parameters"]["EvictionPolicy"]["AllowedValues"]
    [group] = template.resources("AWS::ElastiCache::ParameterGroup", EvictionPolicy=policy).values()
    assert group["Properties"]["maxmemory-policy"] == policy


def test_a_cache_that_is_deleted_leaves_a_snapshot():
    group = template.stack()["Group"]
    assert (group["DeletionPolicy"], group["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
    [cache] = template.resources(
        "AWS::ElastiCache::ServerlessCache", CacheKind="Serverless"
    ).values()
    assert cache["FinalSnapshotName"] == "django-sessions-final-0a1b2c3d"


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
    assert statements["KeysOfSessions"]["Condition"]["StringEquals"] == {
        f"kms:EncryptionContext:{name}": value for name, value in kms.ENCRYPTION_CONTEXT.items()
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


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_the_dashboard_is_one_that_cloudwatch_takes(make, ask, kind):
    make(kind)
    body = json.loads(ask("cloudwatch").get_dashboard(DashboardName=NAME)["DashboardBody"])
    assert len(body["widgets"]) == (6 if kind == "Serverless" else 7)
    assert all(widget["properties"]["region"] == REGION for widget in body["widgets"])


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_dashboard_shows_every_node(make, ask, replicas):
    make("ReplicationGroup", Replicas=str(replicas), NodeType="cache.m7g.xlarge")
    text = ask("cloudwatch").get_dashboard(DashboardName=NAME)["DashboardBody"]
    of_nodes = [one for one in json.loads(text)["widgets"] if "CacheClusterId" in json.dumps(one)]
    assert len(of_nodes) == 5
    for widget in of_nodes:
        names = re.findall(r"shop-\d+", json.dumps(widget))
        assert len(names) % (replicas + 1) == 0
        assert set(names) == {f"shop-00{number + 1}" for number in range(replicas + 1)}
    assert '"EngineCPUUtilization"' in text
