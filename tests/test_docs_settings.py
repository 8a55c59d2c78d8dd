"""The settings that pages on ElastiCache give: whole, and nothing that `check` finds wrong."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from django.core.checks import Tags, run_checks

from . import template

DOCS = Path(__file__).resolve().parent.parent / "docs"
KINDS = {"REPLICATION_GROUP_ID": (False, False), "SERVERLESS_CACHE_NAME": (True, True)}


def blocks(page: str) -> list[dict[str, Any]]:
    """Return the settings of each block of a page that has `CACHES`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text)
    return [
        {
            node.targets[0].id: ast.literal_eval(node.value)  # type: ignore[attr-defined]
            for node in ast.parse(dedent(block)).body
            if isinstance(node, ast.Assign)
        }
        for block in found
        if "CACHES" in block
    ]


def complaints() -> list[str]:
    return [str(message) for message in run_checks(tags=[Tags.caches])]


@pytest.mark.parametrize("page", ["deploy.rst", "elasticache.rst", "iam.rst"])
def test_check_has_nothing_to_say(settings, page):
    found = blocks(page)
    assert found
    for block in found:
        settings.SESSION_CACHE_ALIAS = "sessions"
        for name, value in block.items():
            setattr(settings, name, value)
        settings.CACHES["default"].setdefault(
            "BACKEND", "django.core.cache.backends.locmem.LocMemCache"
        )
        assert complaints() == []


def test_each_kind_of_cache_has_its_settings():
    found: dict[str, tuple[bool, bool]] = {}
    for block in blocks("deploy.rst"):
        options = block["CACHES"]["sessions"]["OPTIONS"]
        [kind] = block["ELASTICACHE_SESSIONS"]["CLOUDWATCH"].keys() - {"REGION"}
        assert options["IAM"]["USER"] == options["IAM"]["CACHE_NAME"] == "django-sessions"
        found[kind] = (options.get("CLUSTER", False), options["IAM"].get("SERVERLESS", False))
    assert found == KINDS


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_the_settings_are_what_the_template_puts_out(kind):
    given = template.outputs(CacheKind=kind)
    [block] = [
        block
        for block in blocks("deploy.rst")
        if ("SERVERLESS_CACHE_NAME" in block["ELASTICACHE_SESSIONS"]["CLOUDWATCH"])
        is (kind == "Serverless")
    ]
    cache = block["CACHES"]["sessions"]
    iam = cache["OPTIONS"]["IAM"]
    assert (iam["USER"], iam["CACHE_NAME"]) == (given["UserName"], given["CacheName"])
    assert given["CacheName"] in block["ELASTICACHE_SESSIONS"]["CLOUDWATCH"].values()
    assert re.fullmatch(r"rediss://[\w.]+:[\w.]+/0", given["Location"])
    assert re.fullmatch(r"rediss://[\w.-]+:6379/0", cache["LOCATION"])
