"""Who may use a relay: those with an IAM token that ElastiCache would accept.

The signature is computed here from the rules of Signature Version 4, not by a library that the
package under test uses.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from .tape import Command

#: How far in the future a token may have been made, by the server's clock.
MOST_SKEW_SECONDS = 300
LONGEST_SECONDS = 900

OK = b"+OK\r\n"
WRONGPASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
NOAUTH = b"-NOAUTH Authentication required.\r\n"


@dataclass(kw_only=True)
class Doorman:
    """Knows one user of one cache, and the secrets of those who may sign in as that user.

    ``secrets`` has the secret key and the session token (or "") by access key id. ``skew_seconds``
    is how far this clock is ahead. ``refusals`` says why somebody was not admitted.
    """

    user: str = "app"
    cache_name: str = "sessions"
    region: str = "eu-central-1"
    serverless: bool = False
    secrets: dict[str, tuple[str, str]] = field(default_factory=dict)
    skew_seconds: float = 0.0
    admitted: int = 0
    refusals: list[str] = field(default_factory=list)
    clock: Callable[[], float] = time.time

    def answer(self, command: Command, *, has_signed_in: bool) -> bytes | None:
        """Return the reply to a command that the server is not to see."""
        name = command[0].upper()
        if name == b"AUTH":
            return self._judged(command[1].decode(), command[2].decode())
        if name == b"HELLO" or has_signed_in:
            return None
        return NOAUTH

    def _judged(self, user: str, token: str) -> bytes:
        problem = self._problem(user, token)
        if problem:
            self.refusals.append(problem)
            return WRONGPASS
        self.admitted += 1
        return OK

    def _problem(self, user: str, token: str) -> str:
        host, _, query = token.partition("/?")
        given = dict(parse_qsl(query, keep_blank_values=True))
        signature = given.pop("X-Amz-Signature", "")
        access_key, *scope = given.get("X-Amz-Credential", "").split("/")
        secret, session_token = self.secrets.get(access_key, ("", ""))
        wanted = {
            "Action": "connect",
            "User": self.user,
            **({"ResourceType": "ServerlessCache"} if self.serverless else {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-SignedHeaders": "host",
            **({"X-Amz-Security-Token": session_token} if session_token else {}),
        }
        left = {key: value for key, value in given.items() if wanted.pop(key, None) != value}
        made = _seconds(left.pop("X-Amz-Date", ""))
        expires = int(left.pop("X-Amz-Expires", "0"))
        left.pop("X-Amz-Credential", None)
        now = self.clock() + self.skew_seconds
        if not secret:
            return "access key"
        if user != self.user:
            return "user"
        if host != self.cache_name:
            return "cache name"
        if wanted or left:
            return f"parameters {sorted(wanted)} {sorted(left)}"
        if scope[1:] != [self.region, "elasticache", "aws4_request"]:
            return "scope"
        if not 0 < expires <= LONGEST_SECONDS or not -MOST_SKEW_SECONDS <= now - made < expires:
            return "time"
        mine = _signature(secret, host, given, scope)
        return "" if hmac.compare_digest(mine, signature) else "signature"


def _seconds(date: str) -> float:
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _signature(secret: str, host: str, parameters: dict[str, str], scope: list[str]) -> str:
    query = "&".join(
        f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}"
        for key, value in sorted(parameters.items())
    )
    request = f"GET\n/\n{query}\nhost:{host}\n\nhost\n{hashlib.sha256().hexdigest()}"
    text = "\n".join(
        (
            "AWS4-HMAC-SHA256",
            parameters["X-Amz-Date"],
            "/".join(scope),
            hashlib.sha256(request.encode()).hexdigest(),
        )
    )
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
