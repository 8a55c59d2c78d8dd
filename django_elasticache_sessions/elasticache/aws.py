"""What everything of Amazon's needs: a botocore session, a region, and errors without secrets.

botocore (of the extra `aws`) is imported when it is used, so that the package works without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.session import Session

INSTALL = "Install it: python -m pip install django-elasticache-sessions[aws]"
#: Each wait of one attempt, in seconds; a call to AWS makes `ATTEMPTS` at most.
CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
ATTEMPTS = 2
_LONGEST_CODE = 64
# They log at DEBUG what they sign and what AWS answered, tokens and keys included.
_TALKATIVE = ("auth", "credentials", "endpoint", "hooks", "parsers", "utils")


def is_installed() -> bool:
    """Tell whether botocore is there."""
    return find_spec("botocore") is not None


def make_session() -> Session:
    """Make a session with the default credential chain, none of whose calls waits for long."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    # botocore itself reads AWS_DEFAULT_REGION only; containers of AWS set AWS_REGION.
    if region := os.environ.get("AWS_REGION"):
        session.set_config_variable("region", region)
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        )
    )
    return session


def find_region() -> str:
    """Return the region of `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile; else nothing."""
    return make_session().get_config_variable("region") or "" if is_installed() else ""


def explain(error: Exception) -> str:
    """Say what kept AWS from serving, in words that hold no secret."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return "no AWS credentials were found: give the task, instance or function a role"
    if isinstance(error, exceptions.NoRegionError):
        return "no AWS region is set: set AWS_REGION"
    if isinstance(error, exceptions.ClientError):
        return f"AWS answered {code_of(error) or 'an error'!r} to {error.operation_name}"
    if isinstance(error, (ResponseParserError, LookupError)):
        return "what AWS answered makes no sense"
    if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        return f"AWS was not reached ({type(error).__name__})"
    if isinstance(error, (exceptions.CredentialRetrievalError, exceptions.ProfileNotFound)):
        return f"the AWS credentials could not be fetched ({type(error).__name__})"
    return f"AWS could not be asked ({type(error).__name__})"


def code_of(error: Exception) -> str:
    """Return the code that AWS gives an error; empty for what does not look like one."""
    answer = getattr(error, "response", None) or {}
    code = str(answer.get("Error", {}).get("Code", "")).rpartition("#")[2]
    return code if code.isalnum() and code.isascii() and len(code) <= _LONGEST_CODE else ""


@contextmanager
def hushed() -> Iterator[None]:
    """Keep botocore from logging secrets, in this thread only."""
    caller = get_ident()

    def is_of_another(record: logging.LogRecord) -> bool:
        return record.thread != caller

    with ExitStack() as stack:
        for name in _TALKATIVE:
            logger = logging.getLogger(f"botocore.{name}")
            logger.addFilter(is_of_another)
            stack.callback(logger.removeFilter, is_of_another)
        yield
