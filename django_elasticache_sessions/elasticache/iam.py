"""Signing in to ElastiCache by IAM: a short-lived token takes the place of the password.

The token is a signed request that is never sent: the server checks its signature with IAM. Rules:
"Authenticating with IAM" in the ElastiCache guide
(https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html) and "Signature Version 4".
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from functools import lru_cache
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from redis.credentials import CredentialProvider

from ..exceptions import CredentialsUnavailable
from ..texts import Text
from .aws import INSTALL, find_region, hushed, is_installed, make_session, not_installed
from .explanations import explain
from .iam_options import IAMOptions, read_iam_options
from .signing import SignedToken, sign

if TYPE_CHECKING:
    from botocore.session import Session

#: A token older than this is renewed. botocore keeps no credentials with less life than that.
RENEW_SECONDS = 600
#: While renewing fails, a token is used up to this age.
LAST_USE_SECONDS = 840
#: How long a caller waits for a token; from the second attempt on, hardly.
PATIENCE_SECONDS = 5.0
IMPATIENCE_SECONDS = 0.25
#: Between two attempts.
PAUSE_SECONDS = 1.0
#: An attempt that took longer is given up.
LOST_SECONDS = 60.0
#: How often a refusal is logged, and has the credentials fetched anew, at most.
REFUSAL_SECONDS = 60.0
_NEED = Text("IAM authentication")

logger = logging.getLogger(__name__)


def make_credential_provider(options: Mapping[str, Any]) -> IAMCredentialProvider:
    """Return what signs in for the settings in `OPTIONS["IAM"]`; one for all who give the same.

    Raises `ImproperlyConfigured` for the first problem, and where botocore is missing.
    """
    read, problems = read_iam_options(options)
    if problems:
        raise ImproperlyConfigured(f"{problems[0].message} {problems[0].hint}")
    if not is_installed():
        raise ImproperlyConfigured(f"{not_installed(_NEED)} {INSTALL}")
    return _provider(read)


@lru_cache(maxsize=64)
def _provider(options: IAMOptions) -> IAMCredentialProvider:
    return IAMCredentialProvider(options)


class _Attempt:
    """One signing, on its way in a thread."""

    def __init__(self, patience: float) -> None:
        self.done: Future[None] = Future()
        self._began = time.monotonic()
        self._patience = patience

    @property
    def seconds_left(self) -> float:
        """How long to wait for it: however many wait, all wait until the same moment."""
        return max(0.0, self._began + self._patience - time.monotonic())

    @property
    def is_lost(self) -> bool:
        return time.monotonic() - self._began > LOST_SECONDS


class IAMCredentialProvider(CredentialProvider):
    """Gives a user name and a token to each connection of redis-py; for all threads and loops.

    Credentials may have to be fetched over the network first: one thread at a time does that, and
    callers wait for it for a bounded time. A token serves every connection until it is renewed.
    """

    #: A connection is closed 12 hours after it signed in; it is replaced before, in seconds.
    connection_seconds = 11 * 3600.0

    _pid: int
    _lock: Lock
    _session: Session | None
    _signed: SignedToken | None
    _attempt: _Attempt | None
    _failure: str
    _next_attempt: float
    _next_refusal: float

    def __init__(self, options: IAMOptions) -> None:
        """Take options that have been checked."""
        self._options = options
        self._begin_anew()

    def get_credentials(self) -> tuple[str, str]:
        """Return user name and token. Raises `CredentialsUnavailable`."""
        attempt = self._renewal()
        if attempt is not None:
            wait([attempt.done], timeout=attempt.seconds_left)
        return self._answer()

    async def get_credentials_async(self) -> tuple[str, str]:
        """See get_credentials()."""
        attempt = self._renewal()
        if attempt is not None:
            await asyncio.wait([asyncio.wrap_future(attempt.done)], timeout=attempt.seconds_left)
        return self._answer()

    def refused(self) -> None:
        """Forget the token that the server refused; sometimes the credentials behind it too."""
        with self._guard():
            self._signed = None
            if time.monotonic() < self._next_refusal:
                return
            self._next_refusal = time.monotonic() + REFUSAL_SECONDS
            self._session = None
        logger.warning(
            "The server refused the IAM token of user %r for cache %r in region %r. Check that the "
            "user exists with this id as its name and with authentication mode IAM; that cache "
            "name and region are right and SERVERLESS tells its kind; that the role may "
            "elasticache:Connect to both; and this machine's clock.",
            self._options.user,
            self._options.cache_name,
            self._region(),
        )

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._session = None
        self._signed = None
        self._attempt = None
        self._failure = ""
        self._next_attempt = 0.0
        self._next_refusal = 0.0

    def _guard(self) -> Lock:
        if self._pid != os.getpid():
            # After a fork the thread that signs, and whoever holds a lock, is the parent's.
            self._begin_anew()
        return self._lock

    def _renewal(self) -> _Attempt | None:
        """Return the attempt to wait for, if any."""
        with self._guard():
            if self._signed is not None and self._signed.is_younger_than(RENEW_SECONDS):
                return None
            if self._attempt is not None and not self._attempt.is_lost:
                return self._attempt
            if time.monotonic() < self._next_attempt:
                return None
            attempt = _Attempt(IMPATIENCE_SECONDS if self._failure else PATIENCE_SECONDS)
            self._attempt = attempt
        try:
            Thread(target=self._sign, args=(attempt,), name="iam-token", daemon=True).start()
        except RuntimeError as error:
            self._settle(
                attempt, None, Text("no thread to sign in (%(error)s).", error=type(error).__name__)
            )
        return attempt

    def _answer(self) -> tuple[str, str]:
        signed = self._signed
        if signed is not None and signed.is_younger_than(LAST_USE_SECONDS):
            return self._options.user, signed.text
        raise CredentialsUnavailable(self._failure or Text("AWS did not give credentials in time."))

    def _sign(self, attempt: _Attempt) -> None:
        signed: SignedToken | None = None
        failure = ""
        try:
            with hushed():
                signed = self._make_token()
        except Exception as error:
            failure = explain(error, _NEED)
        self._settle(attempt, signed, failure)

    def _settle(self, attempt: _Attempt, signed: SignedToken | None, failure: str) -> None:
        with self._lock:
            if signed is not None:
                self._signed = signed
            self._failure = failure
            if failure:
                self._next_attempt = time.monotonic() + PAUSE_SECONDS
            if self._attempt is attempt:
                self._attempt = None
        attempt.done.set_result(None)

    def _make_token(self) -> SignedToken:
        session = self._session
        if session is None:
            session = self._session = make_session()
        # Asked for each token: they are refreshed there, when they have to be.
        credentials = session.get_credentials()
        frozen = credentials and credentials.get_frozen_credentials()
        return sign(self._options, self._region(), frozen)

    def _region(self) -> str:
        return self._options.region or find_region()
