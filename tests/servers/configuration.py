"""The lines of a server's configuration file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .ports import LOOPBACK
from .releases import Release

SERVICE_NAME = "sessions"

# Milliseconds; for SENTINEL DEBUG, as no line of the file sets them.
SENTINEL_PERIODS = ("PING-PERIOD", "100", "INFO-PERIOD", "200", "PUBLISH-PERIOD", "200")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another server that this one follows or monitors."""

    port: int
    username: str
    password: str


def basics(*, port: int, directory: Path, password: str) -> dict[str, str]:
    """Return what any server needs, a Sentinel too."""
    settings = {
        "port": str(port),
        "bind": LOOPBACK,
        "dir": str(directory),
        "logfile": str(directory / "server.log"),
        "daemonize": "no",
    }
    return settings | ({"requirepass": password} if password else {})


def store(release: Release, *, replica_of: Peer | None, itself: Peer) -> dict[str, str]:
    """Return the settings of a data server, which persists nothing and ends and syncs at once."""
    settings = {
        "save": "",
        "appendonly": "no",
        "repl-diskless-sync-delay": "0",
        "repl-ping-replica-period": "1",
    }
    if release != "redis-6.2":
        # There DEBUG is never refused, and a primary that ends waits for no replica.
        settings |= {"enable-debug-command": "local", "shutdown-timeout": "0"}
    # A primary needs them too, once a failover has made it a replica. Valkey's newer names for
    # them are unknown to Redis; these are known to both.
    primary = replica_of or itself
    if primary.password:
        settings["masterauth"] = primary.password
    if primary.username:
        settings["masteruser"] = primary.username
    if replica_of:
        settings["replicaof"] = f"{LOOPBACK} {replica_of.port}"
    return settings


def sentinel(*, monitors: Peer, quorum: int) -> dict[str, str]:
    """Return the settings of a Sentinel that notices within half a second."""
    settings = {
        "sentinel monitor": f"{SERVICE_NAME} {LOOPBACK} {monitors.port} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE_NAME}": "500",
        f"sentinel failover-timeout {SERVICE_NAME}": "1000",
    }
    if monitors.password:
        settings[f"sentinel auth-pass {SERVICE_NAME}"] = monitors.password
    if monitors.username:
        settings[f"sentinel auth-user {SERVICE_NAME}"] = monitors.username
    return settings


def rendered(settings: Mapping[str, str], *, acl: Iterable[str]) -> str:
    """Return the file's text; ``acl`` are the ``user`` lines without that word."""
    lines = [f"{name} {value or chr(34) * 2}" for name, value in settings.items()]
    lines += [f"user {rule}" for rule in acl]
    return "\n".join(lines) + "\n"
