"""The demo as a running process, and visitors with cookies of their own."""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import django_elasticache_sessions

MANAGE = Path(__file__).resolve().parents[2] / "example_project" / "manage.py"
START_SECONDS = 60


@dataclass
class Demo:
    """A running demo: what it printed, and where it listens."""

    process: subprocess.Popen[str]
    output: str

    @property
    def url(self) -> str:
        """Where the shop is."""
        return re.search(r"The shop\s+(http://[\d.:]+)/", self.output)[1]

    @property
    def valkey_port(self) -> int:
        """Where its Valkey listens."""
        return int(re.search(r"valkey-cli -p (\d+)", self.output)[1])

    def stop(self, signum: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        self.process.communicate(timeout=30)
        return self.process.returncode


def start_demo(data: Path, *arguments: str, **variables: str) -> Demo:
    """Start the demo, with environment variables, and wait until it has said where it is."""
    return introduced(launch_demo(data, *arguments, **variables))


def launch_demo(data: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start the demo and do not wait."""
    environment = {**os.environ, "DEMO_DATA": str(data), "PYTHONUNBUFFERED": "1"}
    for name in ("REDIS_URL", "DATABASE_URL", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)
    # The demo has to find the very package that is under test, installed or not.
    package = str(Path(django_elasticache_sessions.__file__).parents[1])
    paths = [package, *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), **variables}
    return subprocess.Popen(
        [sys.executable, str(MANAGE), "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def introduced(process: subprocess.Popen[str]) -> Demo:
    """Wait until a demo has said where it is, or has ended."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            break
    output = "".join(lines)
    if "Ctrl-C" not in output:
        process.wait(timeout=START_SECONDS)
    return Demo(process, output)


class Visitor:
    """A browser: cookies, forms, links."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def send_always(self, name: str, value: str) -> None:
        """Send a header with every request."""
        self._opener.addheaders.append((name, value))

    def get(self, path: str) -> str:
        """Return a page."""
        return self._open(urllib.request.Request(self.url + path))

    def post(self, form_page: str, path: str, **fields: object) -> str:
        """Send a form as the page has it, with its CSRF token; return the page it leads to."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(form_page))[1]
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields}, doseq=True).encode()
        return self._open(urllib.request.Request(self.url + path, data=data))

    def log_in(self, name: str, password: str) -> str:
        """Log in and return the page after it."""
        return self.post("/login/", "/login/", username=name, password=password, next="/")

    @property
    def session_key(self) -> str:
        """The session cookie, empty when there is none."""
        return next((cookie.value for cookie in self.cookies if cookie.name == "shop_session"), "")

    def _open(self, request: urllib.request.Request) -> str:
        with self._opener.open(request, timeout=20) as response:
            return response.read().decode()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One running demo, on a free port."""
    running = start_demo(tmp_path_factory.mktemp("demo"), "--port", "0", "--sessions", "12")
    yield running
    assert running.stop() == 0


@pytest.fixture
def launch() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start demos that have all ended after the test, with everything that they started."""
    with ExitStack() as stack:

        def launch(data: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
            process = launch_demo(data, *arguments, **variables)
            stack.callback(end_group, process)
            return process

        yield launch


def end_group(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a demo's process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


@pytest.fixture
def visitor(demo: Demo) -> Visitor:
    """A browser without cookies."""
    return Visitor(demo.url)
