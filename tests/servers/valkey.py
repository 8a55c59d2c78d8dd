"""A Valkey, Redis or Sentinel process that a test owns.

with Valkey(password="secret") as server:
    server.client().set("key", "value")
    server.freeze()
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import configuration, serverless
from .configuration import SERVICE_NAME, Peer
from .ports import LOOPBACK, free_port
from .process import Process
from .releases import CHOSEN, RELEASES, Release, binary
from .waiting import wait_until

__all__ = ["RELEASES", "SERVICE_NAME", "Release", "Valkey"]

ANSWER_SECONDS = 5.0


class Valkey:
    """One server process on one port, which stays the same over restarts.

    Of the release that was chosen for this run of the tests, unless a test names another.
    It persists nothing by itself (``save ""``, ``appendonly no``). ``config`` adds or replaces
    lines of the configuration file, ``acl`` adds users ("app on >secret ~* +@all"). With
    ``replica_of`` it starts as a replica; with ``sentinel`` it is a Sentinel that monitors the
    server ``monitors`` under the name `SERVICE_NAME`.

    Whoever comes by ``url`` may not do what ElastiCache Serverless refuses, so that nothing
    relies on that; ``client()`` is the administrator's. With ``restricted=False`` both may do all.
    """

    host = LOOPBACK

    def __init__(
        self,
        release: Release | None = None,
        *,
        config: Mapping[str, str] | None = None,
        password: str = "",
        acl: Sequence[str] = (),
        replica_of: "Valkey | None" = None,
        sentinel: bool = False,
        monitors: "Valkey | None" = None,
        quorum: int = 1,
        restricted: bool = True,
    ) -> None:
        if sentinel != (monitors is not None):
            raise ValueError("sentinel=True and monitors=SERVER belong together: give both.")
        self.release: Release = release or CHOSEN.release
        self.port = free_port()
        self.password = password
        self.replica_of = replica_of
        self.monitors = monitors
        self._quorum = quorum
        self._config = dict(config or {})
        self._is_restricted = restricted and not sentinel
        self._acl = tuple(acl)
        self._directory: Path | None = None
        self._process: Process | None = None
        self._clients: list[redis.Redis] = []

    def __enter__(self) -> Self:
        """Start the server unless it runs already."""
        return self if self.running else self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See stop()."""
        self.stop()

    def __repr__(self) -> str:
        """Name the release and the port."""
        return f"<{type(self).__name__} {self.release} on port {self.port}>"

    @staticmethod
    def available(release: Release) -> bool:
        """Tell whether this machine has the release's server program."""
        return binary(release) is not None

    @property
    def url(self) -> str:
        """The server's URL, with its password when it has one."""
        userinfo = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{userinfo}{self.host}:{self.port}"

    @property
    def administrator(self) -> tuple[str | None, str | None]:
        """The name and the password of who may do all; None: the default user, no password."""
        if self._is_restricted:
            return serverless.NAME, serverless.PASSWORD
        return None, self.password or None

    @property
    def administrators_url(self) -> str:
        """The URL for who may do all, as to use other databases than the first."""
        username, password = self.administrator
        userinfo = f"{username or ''}:{quote(password, safe='')}@" if password else ""
        return f"redis://{userinfo}{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process is alive; a frozen one is."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The process id; RuntimeError when the server is not running."""
        return self._running_process().pid

    @property
    def log(self) -> str:
        """What the server has logged since it had a directory."""
        path = self._directory and self._directory / "server.log"
        return path.read_text(errors="replace") if path and path.exists() else ""

    def start(self) -> Self:
        """Start the server on what its directory holds, and return it once it is ready."""
        if self.running:
            raise RuntimeError(f"{self!r} is running already.")
        self._spawn()
        try:
            self.wait_until_ready()
            self._hasten()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process, close its clients and forget all data; harmless when it has ended."""
        for client in self._clients:
            client.close()
        self._end_process()
        self._forget_data()

    def kill(self) -> None:
        """End the process at once, as a crash does: memory is lost, files stay."""
        self._running_process().kill()

    def freeze(self) -> None:
        """Keep the process from running; its connections stay open and go unanswered."""
        self._running_process().freeze()

    def thaw(self) -> None:
        """Let a frozen process run on."""
        self._running_process().thaw()

    def restart(self, *, keep_data: bool) -> None:
        """End the process if it still runs, and start it again on the same port.

        With ``keep_data`` a running server is saved first; a killed one has only the files that
        its own configuration made it write. A Sentinel keeps or forgets what it has discovered.
        """
        saves = keep_data and self.running and self.monitors is None
        if saves:
            self._save()
        self._end_process()
        if not keep_data:
            self._forget_data()
        self.start()
        if saves:
            # Else a later crash would bring back what was saved here.
            (self._made_directory() / "dump.rdb").unlink(missing_ok=True)

    def client(self, *, username: str | None = None, password: str | None = None) -> redis.Redis:
        """Return a new client, the administrator's unless another user is named.

        It answers in bytes and retries nothing; stop() closes it.
        """
        client = self._new_client(username=username, password=password)
        self._clients.append(client)
        return client

    def wait_until_ready(self, *, timeout_seconds: float = 10.0) -> None:
        """Wait for an answer; a replica's link to its primary; a Sentinel's sight of its own."""
        with self._new_client() as client:
            wait_until(
                lambda: self._is_ready(client),
                what=f"{self!r} ready",
                timeout_seconds=timeout_seconds,
            )

    def _new_client(
        self, *, username: str | None = None, password: str | None = None
    ) -> redis.Redis:
        if username is None and password is None:
            username, password = self.administrator
        return redis.Redis(
            host=self.host,
            port=self.port,
            username=username,
            password=password or None,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )

    def _is_ready(self, client: redis.Redis) -> bool:
        if not self.running:
            raise RuntimeError(f"{self!r} ended by itself:\n{self.log}")
        try:
            return self._answers_in_its_role(client)
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            return True
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def _answers_in_its_role(self, client: redis.Redis) -> bool:
        if self.monitors:
            seen = cast(dict[str, object], client.sentinel_master(SERVICE_NAME))
            return seen["flags"] == "master"
        if self.replica_of:
            state: dict[str, object] = client.info("replication")
            return state["role"] == "master" or state["master_link_status"] == "up"
        return client.ping() is True

    def _hasten(self) -> None:
        # With the usual periods a Sentinel doubts a new primary before it has asked it once, and
        # takes ten seconds to make a replica of the old one. Redis 6.2 knows no other.
        if self.monitors and self.release != "redis-6.2":
            with self._new_client() as client:
                client.execute_command("SENTINEL", "DEBUG", *configuration.SENTINEL_PERIODS)

    def _save(self) -> None:
        self.thaw()
        with self._new_client() as client:
            client.save()

    def _spawn(self) -> None:
        program = binary(self.release)
        if program is None:
            raise RuntimeError(f"This machine has no server program of release {self.release!r}.")
        role = ["--sentinel"] if self.monitors else []
        self._process = Process([str(program), str(self._configuration_file()), *role])

    def _running_process(self) -> Process:
        if self._process is None or not self._process.running:
            raise RuntimeError(f"{self!r} is not running: call start().")
        return self._process

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.end()

    def _configuration_file(self) -> Path:
        # Written once: Sentinels and failovers rewrite it, and a restart has to find that.
        path = self._made_directory() / "server.conf"
        if not path.exists():
            acl = [*self._usual_users(), *self._acl]
            path.write_text(configuration.rendered(self._settings(path.parent), acl=acl))
        return path

    def _usual_users(self) -> list[str]:
        if not self._is_restricted:
            return []
        return [serverless.user(self.release, password=self.password), serverless.ADMINISTRATOR]

    def _settings(self, directory: Path) -> dict[str, str]:
        # Of a restricted server the rule of the default user has the password.
        password = "" if self._is_restricted else self.password
        settings = configuration.basics(port=self.port, directory=directory, password=password)
        return settings | self._settings_of_its_role() | self._config

    def _settings_of_its_role(self) -> dict[str, str]:
        if self.monitors:
            return configuration.sentinel(monitors=self.monitors._as_peer(), quorum=self._quorum)
        return configuration.store(
            self.release,
            replica_of=self.replica_of._as_peer() if self.replica_of else None,
            itself=self._as_peer(),
        )

    def _as_peer(self) -> Peer:
        username, password = self.administrator
        return Peer(port=self.port, username=username or "", password=password or "")

    def _made_directory(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="valkey-"))
        return self._directory

    def _forget_data(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
