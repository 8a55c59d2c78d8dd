"""The CloudFormation template, as its long form says it, and what its properties come to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).resolve().parent.parent / "example_project" / "aws" / "sessions.yaml"


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


def load() -> dict[str, Any]:
    """Return the template."""
    loaded: dict[str, Any] = yaml.load(PATH.read_text(encoding="utf-8"), _Loader)
    return loaded


def defaults() -> dict[str, Any]:
    """Return the parameters that have defaults."""
    return {
        name: parameter["Default"]
        for name, parameter in load()["Parameters"].items()
        if "Default" in parameter
    }


def resolve(value: Any, parameters: Mapping[str, Any]) -> Any:
    """Put parameters in the place of functions; a `Ref` to a resource becomes its logical id."""
    match value:
        case {"Ref": name}:
            return parameters.get(name, name)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{(.*?)\}", lambda found: str(parameters[found[1]]), text)
        case {"Fn::If": [condition, then, otherwise]}:
            return resolve(then if holds(condition, parameters) else otherwise, parameters)
        case dict():
            resolved = {name: resolve(inner, parameters) for name, inner in value.items()}
            return {name: inner for name, inner in resolved.items() if inner != "AWS::NoValue"}
        case list():
            return [resolve(inner, parameters) for inner in value]
    return value


def holds(condition: str, parameters: Mapping[str, Any]) -> bool:
    """Tell whether one of the template's conditions is met."""
    return _is_true(load()["Conditions"][condition], parameters)


def _is_true(function: dict[str, Any], parameters: Mapping[str, Any]) -> bool:
    match function:
        case {"Fn::Not": [inner]}:
            return not _is_true(inner, parameters)
        case {"Fn::Equals": [left, right]}:
            return bool(resolve(left, parameters) == resolve(right, parameters))
    raise ValueError("a function of conditions that the template did not use before")


def resources(kind: str, **parameters: Any) -> dict[str, dict[str, Any]]:
    """Return the properties of the resources of a type that are made, by logical id."""
    known = {**defaults(), **parameters}
    return {
        name: resolve(resource["Properties"], known)
        for name, resource in load()["Resources"].items()
        if resource["Type"] == kind
        and ("Condition" not in resource or holds(resource["Condition"], known))
    }


def access_string(prefix: str = "session") -> str:
    """Return the access string of the sessions' user."""
    user = resources("AWS::ElastiCache::User", KeyPrefix=prefix)["User"]
    return str(user["AccessString"])
