"""What a credential provider has a say in beyond user name and password.

`connection_seconds` of it is how long its connections may be used, and `refused()` is called when
the server did not admit it; a provider without these has no say.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from typing import Any

from redis.exceptions import AuthenticationError

from ..exceptions import CredentialsUnavailable

# Connections opened together are not all replaced together.
_LEAST_SHARE = 0.9


def now() -> float:
    """Return the time that `end_of` tells in."""
    return time.monotonic()


def end_of(connection: Any) -> float:
    """Return until when a connection that has just signed in is to be used."""
    provider = getattr(connection, "credential_provider", None)
    seconds = getattr(provider, "connection_seconds", math.inf)
    return now() + float(seconds) * random.uniform(_LEAST_SHARE, 1)  # noqa: S311 - no secret


def tell_refusal(options: Mapping[str, Any], error: Exception) -> None:
    """Tell the provider in a pool's options, if the error is that it was refused."""
    if isinstance(error, AuthenticationError) and not isinstance(error, CredentialsUnavailable):
        refused = getattr(options.get("credential_provider"), "refused", None)
        if refused is not None:
            refused()
