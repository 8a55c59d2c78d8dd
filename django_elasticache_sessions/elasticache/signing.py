"""The IAM token: a request to connect, signed into its own URL (SigV4), without the scheme."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .iam_options import IAMOptions

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

#: ElastiCache's limit, in seconds; a connection that has signed in outlives its token.
TOKEN_SECONDS = 900
_SERVICE = "elasticache"


class Token(str):
    """A token's text, which is a secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Hide it, as where a debugger or an error page shows variables."""
        return "<IAM token>"


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token and when it was made, in seconds since the epoch."""

    text: Token = field(repr=False)
    made_at: float

    def is_younger_than(self, seconds: float) -> bool:
        """Tell its age, by the clock that the server compares with; one set back says nothing."""
        return 0 <= time.time() - self.made_at < seconds


def sign(options: IAMOptions, region: str, credentials: ReadOnlyCredentials | None) -> SignedToken:
    """Sign a token.

    Raises botocore's `NoCredentialsError` and `NoRegionError`.
    """
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import NoCredentialsError, NoRegionError

    if credentials is None:
        raise NoCredentialsError
    if not region:
        raise NoRegionError
    request = AWSRequest("GET", f"https://{options.cache_name}/?{_query(options)}")
    made_at = time.time()
    SigV4QueryAuth(credentials, _SERVICE, region, expires=TOKEN_SECONDS).add_auth(request)
    return SignedToken(Token(request.url.removeprefix("https://")), made_at)


def _query(options: IAMOptions) -> str:
    parameters = {"Action": "connect", "User": options.user}
    if options.serverless:
        parameters["ResourceType"] = "ServerlessCache"
    return urlencode(parameters)
