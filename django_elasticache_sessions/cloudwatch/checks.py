"""E061: what `CLOUDWATCH` needs is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from ..amazon import INSTALL
from ..conf import SETTING, read_options


def check_boto3(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E061: boto3 is there where CloudWatch is to be asked."""
    options, _ = read_options(getattr(settings, SETTING, {}))
    if options.cloudwatch is None or find_spec("boto3") is not None:
        return []
    return [
        Error(
            f"{SETTING}['CLOUDWATCH'] needs boto3, which is not installed.",
            hint=f"Run: {INSTALL}",
            id="django_elasticache_sessions.E061",
        )
    ]
