"""The CloudFormation template, as its long form says it, and what its properties come to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).resolve().parent.parent / "example_project" / "aws" / "sessions.yaml"

NOTHING = "AWS::NoValue"
#: What no default says: Amazon's own names, and the parameters that whoever deploys it gives.
GIVEN = {
    NOTHING: NOTHING,
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/sessions/0a1b2c3d-0000",
    "VpcId": "vpc-1",
    "SubnetIds": ["subnet-1", "subnet-2"],
    "ClientSecurityGroupId": "sg-1",
}
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
#: What makes a difference: the kind of cache, and what conditions look at.
VARIANTS = {
    "group": {"AlarmTopicArn": TOPIC, "MaintenanceWindow": "tue:03:00-tue:04:00"},
    "large group": {"NodeType": "cache.m7g.xlarge", "Replicas": 2},
    "serverless": {"CacheKind": "Serverless", "AlarmTopicArn": TOPIC},
    "serverless, untold": {"CacheKind": "Serverless"},
}


class _Loader(yaml.SafeLoader):
    """Reads `!Sub x` as `{"Fn::Sub": "x"}`."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


@cache
def load() -> dict[str, Any]:
    """Return the template; the same one to everybody."""
    loaded: dict[str, Any] = yaml.load(PATH.read_text(encoding="utf-8"), _Loader)
    return loaded


def defaults() -> dict[str, Any]:
    """Return the parameters that have defaults."""
    return {
        name: parameter["Default"]
        for name, parameter in load()["Parameters"].items()
        if "Default" in parameter
    }


def resolve(value: Any, known: Mapping[str, Any]) -> Any:
    """Put what is known in the place of functions; a resource's attribute is "<id>.<attribute>".

    Raises `KeyError` for a parameter that is not known and a resource that is not made.
    """
    match value:
        case {"Ref": name}:
            return known[name]
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{known[name]}.{attribute}"
        case {"Fn::Sub": str(text)}:
            return _substitute(text, known)
        case {"Fn::Sub": [text, more]}:
            return _substitute(text, {**known, **resolve(more, known)})
        case {"Fn::Select": [place, among]}:
            return resolve(among, known)[int(place)]
        case {"Fn::Split": [delimiter, text]}:
            return resolve(text, known).split(delimiter)
        case {"Fn::If": [condition, then, otherwise]}:
            return resolve(then if holds(condition, known) else otherwise, known)
        case dict():
            resolved = {name: resolve(inner, known) for name, inner in value.items()}
            return {name: inner for name, inner in resolved.items() if inner != NOTHING}
        case list():
            return [inner for inner in (resolve(one, known) for one in value) if inner != NOTHING]
    return value


def _substitute(text: str, known: Mapping[str, Any]) -> str:
    def put(found: re.Match[str]) -> str:
        name, dot, attribute = found[1].partition(".")
        return f"{known[name]}{dot}{attribute}"

    return re.sub(r"\$\{(.*?)\}", put, text)


def holds(condition: str, known: Mapping[str, Any]) -> bool:
    """Tell whether one of the template's conditions is met."""
    return _is_true(load()["Conditions"][condition], known)


def _is_true(function: dict[str, Any], known: Mapping[str, Any]) -> bool:
    match function:
        case {"Condition": name}:
            return holds(name, known)
        case {"Fn::Not": [inner]}:
            return not _is_true(inner, known)
        case {"Fn::And": inner}:
            return all(_is_true(one, known) for one in inner)
        case {"Fn::Or": inner}:
            return any(_is_true(one, known) for one in inner)
        case {"Fn::Equals": [left, right]}:
            return str(resolve(left, known)) == str(resolve(right, known))
    raise ValueError("a function of conditions that the template did not use before")


def know(**parameters: Any) -> dict[str, Any]:
    """Return what functions may name: parameters, what Amazon gives, and the resources made."""
    known = {**GIVEN, **defaults(), **parameters}
    made = {
        name: name
        for name, resource in load()["Resources"].items()
        if "Condition" not in resource or holds(resource["Condition"], known)
    }
    return {**known, **made}


def stack(**parameters: Any) -> dict[str, dict[str, Any]]:
    """Return the resources that are made, resolved, by logical id."""
    known = know(**parameters)
    return {
        name: resolve(resource, known)
        for name, resource in load()["Resources"].items()
        if name in known
    }


def outputs(**parameters: Any) -> dict[str, Any]:
    """Return the values of the outputs."""
    known = know(**parameters)
    return {name: resolve(one["Value"], known) for name, one in load()["Outputs"].items()}


def resources(kind: str, **parameters: Any) -> dict[str, dict[str, Any]]:
    """Return the properties of the resources of a type that are made, by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in stack(**parameters).items()
        if resource["Type"] == kind
    }


def access_string(prefix: str = "session") -> str:
    """Return the access string of the sessions' user."""
    user = resources("AWS::ElastiCache::User", KeyPrefix=prefix)["User"]
    return str(user["AccessString"])
