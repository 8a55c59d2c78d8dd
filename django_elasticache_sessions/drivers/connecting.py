"""Why there is no connection, and what mends that, in words that show nothing of the other side."""

from __future__ import annotations

import errno
import socket
import ssl

from hiredis import HiredisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from ..texts import Text

#: What was said in another protocol.
NOT_OF_THE_PROTOCOL = (HiredisError, InvalidResponse)
#: What redis-py says when connecting took too long, and when the other side closed.
TOO_LATE = "Timeout connecting to server"
_CLOSED_BY_SERVER = "Connection closed by server."
#: OpenSSL's: https://docs.openssl.org/master/man1/openssl-verification-options/
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_ANOTHER_NAME = frozenset({62, 64})

_AUTHORITY = Text(
    "its certificate is of an authority that is not believed; if that is yours, name the file of "
    "its certificate as CA_FILE in the OPTIONS of the alias."
)
_OTHER_NAME = Text(
    "its certificate is for another host name; LOCATION, or the name by which the cluster calls "
    "its node, must be one that the certificate has."
)
_HAS_EXPIRED = Text(
    "its certificate has expired; renew it there, or set this machine's clock right."
)
_IS_NOT_YET_VALID = Text(
    "its certificate is not valid yet; renew it there, or set this machine's clock right."
)
_NOT_TRUSTED = Text("its certificate is not to be trusted.")
_NO_TLS = Text(
    "it does not speak TLS with us; turn on encryption in transit there, or write redis:// in "
    "LOCATION."
)
_NO_NAME = Text("its host name is not known; correct LOCATION, or look at DNS.")
_NOBODY = Text("nobody listens there; correct host and port in LOCATION, or start it.")
_NO_WAY = Text("no way leads there; look at its security group and at the route.")
_MUTE = Text(
    "it did not answer in time when it was connected to; look at its security group, and at "
    "whether it speaks TLS (rediss:// in LOCATION) or none (redis://)."
)
_CLOSED = Text(
    "it closed the connection; where it always does, it may want TLS (rediss:// in LOCATION), or "
    "none (redis://)."
)


def reason(error: BaseException) -> Text:
    """Say why, with the name of the error that tells most."""
    if isinstance(error, NOT_OF_THE_PROTOCOL):
        return Text(
            "it answered with an error (%(error)s): what it says is not of Valkey's or Redis's "
            "protocol; correct the port in LOCATION, and write rediss:// where it wants TLS.",
            error=type(error).__name__,
        )
    root = root_of(error)
    mend = _mend(root)
    name = type(root).__name__
    if mend is None:
        return Text("no connection to it (%(error)s).", error=name)
    return Text("no connection to it (%(error)s): %(reason)s", error=name, reason=mend)


def reason_of_timeout(error: BaseException) -> Text:
    """Say in what time ran out."""
    return _MUTE if str(error) == TOO_LATE else Text("it did not answer in time.")


def root_of(error: BaseException) -> BaseException:
    """Return what the system said, where redis-py has wrapped it."""
    # redis-py puts what the system says into a text, and into nothing else.
    while isinstance(error, RedisConnectionError):
        earlier = error.__cause__ or error.__context__
        if not isinstance(earlier, (OSError, RedisConnectionError)):
            break
        error = earlier
    return error


def _mend(error: BaseException) -> Text | None:
    match error:
        case ssl.SSLCertVerificationError():
            return _mend_of_certificate(getattr(error, "verify_code", 0))
        case ssl.SSLError():
            return _NO_TLS
        case socket.gaierror():
            return _NO_NAME
        case ConnectionRefusedError():
            return _NOBODY
        case ConnectionError():
            return _CLOSED
        case RedisConnectionError() if str(error) == _CLOSED_BY_SERVER:
            return _CLOSED
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return _NO_WAY
        case _:
            return None


def _mend_of_certificate(code: int) -> Text:
    if code in _UNKNOWN_AUTHORITY:
        return _AUTHORITY
    if code in _ANOTHER_NAME:
        return _OTHER_NAME
    if code == _EXPIRED:
        return _HAS_EXPIRED
    if code == _NOT_YET_VALID:
        return _IS_NOT_YET_VALID
    return _NOT_TRUSTED
