"""Asking Amazon's APIs through boto3, in bounded time, and saying what is missing when they refuse.

boto3 is imported when something is asked, not before: without the extra `aws` the rest works.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed

from .exceptions import AWSUnavailable

#: For each attempt; with instance metadata, which boto3 asks for a second each time by itself, a
#: call is over within about a quarter of a minute whatever happens.
CONNECT_SECONDS = 2
READ_SECONDS = 4
ATTEMPTS = 2
INSTALL = 'pip install "django-elasticache-sessions[aws]"'


def ask(service: str, operation: str, *, region: str | None, **parameters: Any) -> dict[str, Any]:
    """Call an operation of a service by its name in Amazon's API reference; return its answer.

    Raises `AWSUnavailable`, whose text shows nothing that Amazon or the credentials say.
    """
    action = f"{service}:{operation}"
    try:
        client = _client(service, region, os.getpid())
        answer = getattr(client, _method(operation))(**parameters)
    except Exception as error:
        raise AWSUnavailable(_explain(error, action, region)) from None
    if not isinstance(answer, dict):
        raise AWSUnavailable(_GARBAGE.format(action))
    return answer


@lru_cache(maxsize=16)
def _client(service: str, region: str | None, pid: int) -> Any:
    # One for each process: connections do not outlive a fork.
    from boto3.session import Session
    from botocore.config import Config

    bounds = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    return Session().client(service, region_name=region, config=bounds)


def _method(operation: str) -> str:
    from botocore import xform_name

    return str(xform_name(operation))


def _explain(error: Exception, action: str, region: str | None) -> str:
    """Say what went wrong. Amazon's own texts name roles and accounts; they are left out."""
    if isinstance(error, ImportError):
        return f"{action} needs boto3, which is not installed. Run: {INSTALL}"
    from botocore import exceptions as known

    where = f"in region {region}" if region else "in boto3's default region"
    if isinstance(error, known.ClientError):
        return _explain_refusal(error.response, action, where)
    if isinstance(error, known.NoRegionError):
        return (
            f"{action} needs a region, and boto3 found none. Write 'REGION' in CLOUDWATCH, or set "
            "AWS_REGION."
        )
    if isinstance(error, _exceptions(known, _WITHOUT_CREDENTIALS)):
        return (
            f"{action} needs credentials, and boto3 found none that can be used "
            f"({type(error).__name__}). Give the task, instance or pod a role, or set AWS_PROFILE."
        )
    if isinstance(error, _exceptions(known, _UNREACHABLE)):
        return (
            f"{action} was not answered {where} ({type(error).__name__}). Check REGION, and the "
            "way out: a NAT gateway or a VPC endpoint of the service."
        )
    return _GARBAGE.format(action) + f" ({type(error).__name__})"


def _explain_refusal(response: Any, action: str, where: str) -> str:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    name = code.rpartition("#")[2].rpartition("/")[2]
    if name in _NOT_ALLOWED:
        return f"The IAM policy lacks the action {action}. Allow it to the role in use."
    if name in _BAD_CREDENTIALS:
        return f"{action} was refused {where}: the credentials are expired or wrong ({name})."
    if "Throttl" in name or name in ("RequestLimitExceeded", "TooManyRequestsException"):
        return f"{action} was throttled {where}. Ask less often."
    if "NotFound" in name:
        return (
            f"{action} found no such cache {where} ({name}). Correct REGION and the cache's name "
            "in CLOUDWATCH."
        )
    if status == 403:
        return (
            f"{action} was refused {where} (HTTP 403). Most likely the IAM policy lacks the action "
            f"{action}."
        )
    if status >= 500:
        return f"{action} failed on Amazon's side {where} (HTTP {status})."
    return f"{action} was refused {where} ({name if name.isalnum() else 'no known reason'})."


def _exceptions(known: Any, names: tuple[str, ...]) -> tuple[type[Exception], ...]:
    return tuple(getattr(known, name) for name in names if hasattr(known, name))


_GARBAGE = "{} was answered with something that makes no sense"
_NOT_ALLOWED = (
    "AccessDenied",
    "AccessDeniedException",
    "NotAuthorized",
    "UnauthorizedOperation",
)
_BAD_CREDENTIALS = (
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
_WITHOUT_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "MetadataRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "SSOTokenLoadError",
)
_UNREACHABLE = ("HTTPClientError", "ConnectionError", "InvalidRegionError")


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "ELASTICACHE_SESSIONS":
        _client.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_elasticache_sessions.amazon")
