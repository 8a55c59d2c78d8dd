"""Asking AWS in bounded time: its sessions, its clients, its region, and its operations by name.

botocore (of the extra `aws`) is imported when it is used, so that the package works without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.util import find_spec
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ..exceptions import AWSUnavailable
from ..texts import Text
from .explanations import code_of, explain, makes_no_sense

if TYPE_CHECKING:
    from botocore.session import Session

_COMMAND = 'pip install "django-elasticache-sessions[aws]"'
INSTALL = f"Run: {_COMMAND}"
#: Each wait of one attempt, in seconds. With what botocore waits for instance metadata by itself, a
#: call is over within about a quarter of a minute whatever happens.
CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
ATTEMPTS = 2
# They log at DEBUG what they sign and what AWS answered, tokens and keys included.
_TALKATIVE = ("auth", "credentials", "endpoint", "hooks", "parsers", "utils")


def not_installed(need: str) -> Text:
    """Say that something needs what the extra brings."""
    return Text("%(need)s needs boto3, which is not installed.", need=need)


def is_installed() -> bool:
    """Tell whether botocore is there."""
    return find_spec("botocore") is not None


def ask(
    service: str, operation: str, *, region: str | None = None, **parameters: Any
) -> dict[str, Any]:
    """Call an operation of a service by its name in Amazon's API reference; return its answer.

    Without a region, asks in that of `find_region()`. Raises `AWSUnavailable`, whose text shows
    nothing that Amazon or the credentials say.
    """
    action = f"{service}:{operation}"
    if not is_installed():
        raise AWSUnavailable(
            Text("%(problem)s Run: %(command)s", problem=not_installed(action), command=_COMMAND)
        )
    try:
        with hushed():
            region = region or find_region()
            client = _client(service, region, os.getpid())
            answer = getattr(client, _method(operation))(**parameters)
    except Exception as error:
        # Whoever found no credentials would never look for them again.
        _client.cache_clear()
        reason, code = explain(error, action, region), code_of(error)
    else:
        if isinstance(answer, dict):
            return answer
        reason, code = makes_no_sense(action), ""
    raise AWSUnavailable(reason, code=code)


@lru_cache(maxsize=16)
def _client(service: str, region: str, pid: int) -> Any:
    # One for each process: connections do not outlive a fork.
    return make_session().create_client(service, region_name=region or None)


def _method(operation: str) -> str:
    from botocore import xform_name

    return str(xform_name(operation))


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
