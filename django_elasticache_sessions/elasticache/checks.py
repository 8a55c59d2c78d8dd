"""System checks of what needs AWS: IAM authentication, keys wrapped by KMS, and CloudWatch.

They read settings, and AWS's configuration files for a region; none opens a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs

from django.conf import settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Error

from ..conf import SETTING, read_options
from ..drivers.pools import parse_location, primary_url
from .aws import INSTALL, find_region, is_installed, not_installed
from .iam_options import EXAMPLE, read_iam_options

_ID = "django_elasticache_sessions."
_WRAPPED_KEYS = f"{SETTING}['KMS_WRAPPED_KEYS']"
_SIGN_IN = ("username", "password", "credential_provider")


def check_iam(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E041-E043, E045, E048: `OPTIONS["IAM"]` of every cache alias that has it."""
    return [message for alias in _iam_aliases() for message in _check_alias(alias)]


def check_extra(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E040: the extra `aws` is installed where something needs it."""
    if is_installed():
        return []
    return [Error(not_installed(need), hint=INSTALL, id=_ID + "E040") for need in _needs()]


def check_region(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E044: AWS is asked in a region that somebody has named."""
    needs = [need for need, region in _needs().items() if not region]
    if not needs or not is_installed() or find_region():
        return []
    return [
        Error(
            f"{need} needs an AWS region, and none is set.",
            hint="Set AWS_REGION in the environment"
            + ("." if need == _WRAPPED_KEYS else ', or write "REGION": "eu-central-1" in it.'),
            id=_ID + "E044",
        )
        for need in needs
    ]


def _needs() -> dict[str, str]:
    """Return which settings need AWS, each with the region that it names."""
    options, _ = read_options(getattr(settings, SETTING, {}))
    needs = {
        f"OPTIONS['IAM'] of CACHES[{alias!r}]": _region_of(_options(alias)["IAM"])
        for alias in _iam_aliases()
    }
    if options.kms_wrapped_keys is not None:
        needs[_WRAPPED_KEYS] = ""
    if options.cloudwatch is not None:
        needs[f"{SETTING}['CLOUDWATCH']"] = options.cloudwatch.region or ""
    return needs


def _region_of(raw: object) -> str:
    return str(raw.get("REGION") or "") if isinstance(raw, Mapping) else "not to be asked for"


def _check_alias(alias: str) -> Iterator[CheckMessage]:
    options = _options(alias)
    _, problems = read_iam_options(options["IAM"])
    for found in problems:
        yield Error(f"CACHES[{alias!r}]: {found.message}", hint=found.hint, id=_ID + found.code)
    url = parse_location(alias)
    if url is not None:
        yield from _check_tls(alias, url)
    if _has_another_way(options, url):
        yield Error(
            f"CACHES[{alias!r}] has a user name or password beside OPTIONS['IAM'], which takes "
            "their place.",
            hint="Remove USERNAME and PASSWORD from its OPTIONS, and both from its LOCATION and "
            "CONNECTION_POOL_KWARGS.",
            id=_ID + "E045",
        )
    elif not problems:
        yield from _check_factory(alias)


def _check_tls(alias: str, url: SplitResult) -> Iterator[CheckMessage]:
    if url.scheme == "rediss":
        return
    yield Error(
        f"CACHES[{alias!r}] signs in by IAM without TLS, which ElastiCache does not allow: the "
        "token could be read on the network.",
        hint='Turn on encryption in transit and write its LOCATION as "rediss://...".',
        id=_ID + "E043",
    )


def _has_another_way(options: Mapping[str, Any], url: SplitResult | None) -> bool:
    pool_options: Any = options.get("CONNECTION_POOL_KWARGS")
    if not isinstance(pool_options, Mapping):
        pool_options = {}
    query = parse_qs(url.query) if url else {}
    return bool(
        options.get("USERNAME")
        or options.get("PASSWORD")
        or (url and (url.username or url.password))
        or any(pool_options.get(name) or name in query for name in _SIGN_IN)
    )


def _check_factory(alias: str) -> Iterator[CheckMessage]:
    try:
        factory = caches[alias].client.connection_factory  # type: ignore[attr-defined]
        signs_in = "credential_provider" in factory.make_connection_params(primary_url(alias))
    except Exception:
        # Something else is wrong, of which other checks tell: boto3 or the cache itself.
        return
    if not signs_in:
        yield Error(
            f"CACHES[{alias!r}] has OPTIONS['IAM'], but connects through "
            f"{type(factory).__name__}, which does not heed it.",
            hint='Write "CONNECTION_FACTORY": '
            f'"django_elasticache_sessions.elasticache.ConnectionFactory" beside {EXAMPLE}.',
            id=_ID + "E048",
        )


def _iam_aliases() -> list[str]:
    return [alias for alias in settings.CACHES if _options(alias).get("IAM") is not None]


def _options(alias: str) -> Mapping[str, Any]:
    options: Any = settings.CACHES[alias].get("OPTIONS", {})
    return options if isinstance(options, Mapping) else {}


Check = Callable[..., Iterable[CheckMessage]]
CHECKS: tuple[Check, ...] = (check_extra, check_iam, check_region)
