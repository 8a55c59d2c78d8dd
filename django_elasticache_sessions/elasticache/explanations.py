"""What kept AWS from serving, and what mends it, in words of ours.

AWS's own texts name roles, accounts and requests; none of them is shown.
"""

from __future__ import annotations

from typing import Any

MAKES_NO_SENSE = "What AWS answered to {} makes no sense."
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


def explain(error: Exception, action: str, region: str | None = None) -> str:
    """Say what went wrong with an action (`"service:Operation"`, or what needs AWS) in a region."""
    from botocore import exceptions as known
    from botocore.parsers import ResponseParserError

    where = f" in region {region}" if region else ""
    if isinstance(error, known.ClientError):
        return _explain_refusal(error, action, where)
    if isinstance(error, known.NoRegionError):
        return f"{action} needs a region, and none is set. Set AWS_REGION{_elsewhere(action)}."
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
        return (
            f"{action} needs credentials, and boto3 found none that can be used "
            f"({type(error).__name__}). Give the task, instance, pod or function a role, or set "
            "AWS_PROFILE."
        )
    if isinstance(error, (known.HTTPClientError, known.ConnectionError, known.InvalidRegionError)):
        return (
            f"{action} was not answered{where} ({type(error).__name__}). Check the region, and the "
            f"way out: a NAT gateway or a VPC endpoint for {_service_of(action)}."
        )
    if isinstance(error, (ResponseParserError, LookupError, ValueError)):
        return MAKES_NO_SENSE.format(action)
    return f"AWS could not be asked for {action} ({type(error).__name__})."


def code_of(error: Exception) -> str:
    """Return the code that AWS gives an error; empty for what does not look like one."""
    answer = getattr(error, "response", None) or {}
    code = str(answer.get("Error", {}).get("Code", "")).rpartition("#")[2].rpartition("/")[2]
    return code if code.isalnum() and code.isascii() and len(code) <= _LONGEST_CODE else ""


def _explain_refusal(error: Any, action: str, where: str) -> str:
    if error.operation_name != action.partition(":")[2]:
        # Something on the way to credentials, in a region of its own.
        action, where = _on_the_way(error.operation_name), ""
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _NOT_ALLOWED:
        return f"The IAM policy lacks the action {action}. Allow it to the role in use."
    if code in _BAD_CREDENTIALS:
        return (
            f"{action} was refused{where}: the credentials are expired or wrong ({code}). Check "
            "this machine's clock, and the credentials."
        )
    if "Throttl" in code or code in ("RequestLimitExceeded", "TooManyRequestsException"):
        return f"{action} was throttled{where} ({code}). Ask less often."
    if "NotFound" in code and _service_of(action) == "elasticache":
        return (
            f"{action} found no such cache{where} ({code}). Correct REGION and the cache's name in "
            "CLOUDWATCH."
        )
    if status == 403:
        return (
            f"{action} was refused{where} (HTTP 403). Most likely the IAM policy lacks the action "
            f"{action}."
        )
    if status >= 500:
        told = "" if not code or code.isdigit() else f", {code}"
        return f"{action} failed on Amazon's side{where} (HTTP {status}{told})."
    return f"{action} was refused{where} ({code or 'no known reason'})."


def _on_the_way(operation: str) -> str:
    return f"sts:{operation}" if operation.startswith("AssumeRole") else operation


def _service_of(action: str) -> str:
    service, colon, _ = action.partition(":")
    return service if colon else "the service"


def _elsewhere(action: str) -> str:
    """Name the settings in which a region can stand too."""
    if _service_of(action) == "kms":
        return ""
    return ", or write 'REGION' in CLOUDWATCH or OPTIONS['IAM']"
