"""What kept AWS from serving, and what mends it, in words of ours.

AWS's own texts name roles, accounts and requests; none of them is shown.
"""

from __future__ import annotations

from typing import Any

from ..texts import Text

_LONGEST_CODE = 64
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
    "InvalidSignatureException",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)


def makes_no_sense(action: str) -> Text:
    """Say that an answer cannot be read."""
    return Text("What AWS answered to %(action)s makes no sense.", action=action)


def explain(error: Exception, action: str, region: str | None = None) -> Text:
    """Say what went wrong with an action (`"service:Operation"`, or what needs AWS) in a region."""
    from botocore import exceptions as known
    from botocore.parsers import ResponseParserError

    where = Text(" in region %(region)s", region=region) if region else ""
    name = type(error).__name__
    if isinstance(error, known.ClientError):
        return _explain_refusal(error, action, where)
    if isinstance(error, known.NoRegionError):
        return _without_region(action)
    if isinstance(
        error,
        (
            known.NoCredentialsError,
            known.PartialCredentialsError,
            known.CredentialRetrievalError,
            known.MetadataRetrievalError,
            known.ProfileNotFound,
            known.TokenRetrievalError,
            known.UnauthorizedSSOTokenError,
            known.SSOTokenLoadError,
        ),
    ):
        return Text(
            "%(action)s needs credentials, and boto3 found none that can be used (%(error)s). Give "
            "the task, instance, pod or function a role, or set AWS_PROFILE.",
            action=action,
            error=name,
        )
    if isinstance(error, (known.HTTPClientError, known.ConnectionError, known.InvalidRegionError)):
        return Text(
            "%(action)s was not answered%(where)s (%(error)s). Check the region, and the way out: "
            "a NAT gateway or a VPC endpoint for %(service)s.",
            action=action,
            where=where,
            error=name,
            service=_service_of(action),
        )
    if isinstance(error, (ResponseParserError, LookupError, ValueError)):
        return makes_no_sense(action)
    return Text("AWS could not be asked for %(action)s (%(error)s).", action=action, error=name)


def code_of(error: Exception) -> str:
    """Return the code that AWS gives an error; empty for what does not look like one."""
    answer = getattr(error, "response", None) or {}
    code = str(answer.get("Error", {}).get("Code", "")).rpartition("#")[2].rpartition("/")[2]
    return code if code.isalnum() and code.isascii() and len(code) <= _LONGEST_CODE else ""


def _explain_refusal(error: Any, action: str, where: str) -> Text:
    if error.operation_name != action.partition(":")[2]:
        # Something on the way to credentials, in a region of its own.
        action, where = _on_the_way(error.operation_name), ""
    code = code_of(error)
    told: dict[str, object] = {"action": action, "where": where, "code": code}
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _NOT_ALLOWED:
        return Text(
            "The IAM policy lacks the action %(action)s. Allow it to the role in use.",
            action=action,
        )
    if code in _BAD_CREDENTIALS:
        return Text(
            "%(action)s was refused%(where)s: the credentials are expired or wrong (%(code)s). "
            "Check this machine's clock, and the credentials.",
            **told,
        )
    if "Throttl" in code or code in ("RequestLimitExceeded", "TooManyRequestsException"):
        return Text("%(action)s was throttled%(where)s (%(code)s). Ask less often.", **told)
    if "NotFound" in code and _service_of(action) == "elasticache":
        return Text(
            "%(action)s found no such cache%(where)s (%(code)s). Correct REGION and the cache's "
            "name in CLOUDWATCH.",
            **told,
        )
    if status == 403:
        return Text(
            "%(action)s was refused%(where)s (HTTP 403). Most likely the IAM policy lacks the "
            "action %(action)s.",
            **told,
        )
    if status >= 500:
        known = "" if not code or code.isdigit() else f", {code}"
        told["code"] = f"HTTP {status}{known}"
        return Text("%(action)s failed on Amazon's side%(where)s (%(code)s).", **told)
    told["code"] = code or Text("no known reason")
    return Text("%(action)s was refused%(where)s (%(code)s).", **told)


def _on_the_way(operation: str) -> str:
    return f"sts:{operation}" if operation.startswith("AssumeRole") else operation


def _service_of(action: str) -> str:
    service, colon, _ = action.partition(":")
    return service if colon else Text("the service")


def _without_region(action: str) -> Text:
    if _service_of(action) == "kms":
        return Text("%(action)s needs a region, and none is set. Set AWS_REGION.", action=action)
    return Text(
        "%(action)s needs a region, and none is set. Set AWS_REGION, or write 'REGION' in "
        "CLOUDWATCH or OPTIONS['IAM'].",
        action=action,
    )
