"""Every exception this package raises on its own account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db.transaction import TransactionManagementError
from redis.exceptions import AuthenticationError


class SessionStoreError(Exception):
    """The session store could not do what was asked."""


class SessionStoreUnavailable(SessionStoreError):
    """The session store could not be reached or refused to serve.

    Nothing is known of the session: it is neither missing nor empty, and its cookie must be kept.
    `django_elasticache_sessions.middleware.SessionMiddleware` answers it with HTTP 503.
    """


class StoreRefused(SessionStoreUnavailable):
    """The session store answered with an error or hung up: it made nobody wait."""


class LimitReached(SessionStoreUnavailable):
    """A limit left no connection for this request: this process's own, or the server's of clients.

    The session store serves others; it is not unavailable. The text names the limit to raise.
    """


class PartUnavailable(SessionStoreUnavailable):
    """A node of the session store's cluster did not serve; sessions on others are served.

    `replies` has those that came, in the places of their commands; `None` stands for others.
    """

    def __init__(self, text: str, replies: Sequence[Any] = ()) -> None:
        """Take the text to show."""
        super().__init__(text)
        self.replies = replies


class DatabaseUnavailable(SessionStoreUnavailable):
    """The fallback database could not be reached or refused to serve."""


class RowRefused(DatabaseUnavailable):
    """The fallback database does not take this row: it serves all others."""


class DatabaseBusy(DatabaseUnavailable):
    """The fallback database did not do one statement in time, which says little of others.

    A lock was held, or it took longer than `ELASTICACHE_SESSIONS["DATABASE_TIMEOUT"]`. `asker`
    stands for the session that it was for; `None` where the statement was not even tried.
    """

    def __init__(self, text: str, asker: object) -> None:
        """Take the text to show."""
        super().__init__(text)
        self.asker = asker


class TransactionBroken(SessionStoreUnavailable):
    """The fallback database failed inside a transaction, which cannot continue."""

    def __init__(self, text: str, *, is_store_away: bool = False) -> None:
        """Take the text to show, and whether the database does not serve others either."""
        super().__init__(text)
        self.is_store_away = is_store_away


class TransactionFailed(TransactionBroken, TransactionManagementError):
    """A transaction was broken before the session was used in it: an error of the caller's.

    It is Django's error too, and answered as such: HTTP 500, not 503.
    """


class SessionTooLarge(SessionStoreError):
    """The session to be saved is above `ELASTICACHE_SESSIONS["MAX_SESSION_BYTES"]`.

    Nothing was written; the stored session is as it was before the save.
    """


class SessionNotSerializable(SessionStoreError, TypeError):
    """A session value cannot be encoded by `SESSION_SERIALIZER`. Nothing was written."""


class SessionEnded(UpdateError, SessionInterrupted):
    """The session to be saved or rotated is gone: logged out, ended by staff, expired or evicted.

    An `UpdateError`, as `SessionBase.save()` promises, and a `SessionInterrupted`, so that Django
    answers HTTP 400 also where the save or `cycle_key()` is called in a view.
    """


class AWSUnavailable(Exception):
    """Amazon's APIs did not tell what they were asked; the text says what to mend.

    `code` is Amazon's for its refusal, or empty. Sessions depend on none of this but for keys that
    KMS has wrapped.
    """

    def __init__(self, text: str, *, code: str = "") -> None:
        """Take the text to show."""
        super().__init__(text)
        self.code = code


class InvalidValue(Exception):
    """A stored value is not one this session wrote under a key of the key ring."""


class UnknownFormat(SessionStoreUnavailable):
    """A stored value is of a later release: during a rolling deployment its cookie must be kept."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "A stored session was written by a later release of django-elasticache-sessions. "
            "Finish the deployment, or go back to the release that can read it."
        )


class ReplyTooLarge(InvalidValue):
    """The store answered with more bytes than any session that would be saved has."""

    def __str__(self) -> str:
        return "it is larger than any session that would be saved"


class CredentialsUnavailable(AuthenticationError):
    """There is nothing to sign in to the session store with: AWS gives no credentials.

    An error of redis-py, for it is raised while redis-py connects.
    """


class ForeignType(Exception):
    """The store holds something other than a hash under a session's name."""
