"""Run Django's own session tests against our engine and our middleware.

    python -m tests.contract.django_suite [--django-source DIRECTORY] [--engine NAME] [-v]

Django's wheels have no tests, so pip downloads the source distribution of the installed release,
unless `DIRECTORY` is one, unpacked. Needs a Valkey that `tests.servers` finds. Exit status: 0 all
passed, 1 some failed, 2 the tests could not be had.

Run are every test of `SessionTestsMixin` on our `SessionStore`, and every one of
`SessionMiddlewareTests` under Django's middleware and under ours, each with `USE_TZ` on and off.
Not run are the few that Django adds for an engine of its own: they ask for a model's rows, a
folder's files or a cache's `cache_key`.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tarfile
import tempfile
import unittest
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import django
from django.conf import settings
from django.test import SimpleTestCase, TestCase, override_settings
from django.test.runner import DiscoverRunner

from tests import settings as base
from tests.servers.valkey import Valkey

SUITE = "sessions_tests"
ENGINES = ("cache", "cached_db")
#: Tests of Django's that do not apply to our engine: name of the test, and why.
NOT_APPLICABLE = {
    "test_session_key_valid_string_saved": "a session key has 30 characters at least, not 8",
}


class NoSource(Exception):
    """Django's tests are not there."""


def main(arguments: list[str]) -> int:
    """Fetch the tests, run them and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.contract.django_suite", description="Run Django's session tests."
    )
    parser.add_argument(
        "--django-source",
        type=Path,
        metavar="DIRECTORY",
        help="an unpacked source distribution of Django; default: pip downloads the installed "
        "release's",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="name each test")
    parser.add_argument(
        "--engine", choices=ENGINES, action="append", help="default: each, one after the other"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Valkey() as server:
        try:
            tests = options.django_source or _downloaded(Path(folder))
            module = _imported(tests / "tests", server.url)
        except NoSource as problem:
            sys.stderr.write(f"{problem}\n")
            return 2
        suite = unittest.TestSuite(_suite(module, engine) for engine in options.engine or ENGINES)
        return _report(_run(suite, verbosity=2 if options.verbose else 1))


def _downloaded(folder: Path) -> Path:
    """Return the unpacked source distribution, of which only the session tests are there."""
    release = f"django=={version('django')}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    if subprocess.run([*pip, "--no-binary", "django", release], check=False).returncode:
        raise NoSource(f"pip could not download {release}. Give --django-source DIRECTORY.")
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        wanted = [member for member in source if f"/tests/{SUITE}/" in member.name]
        source.extractall(folder, members=wanted, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _imported(tests: Path, url: str) -> ModuleType:
    """Set Django up with sessions on a server, and import the tests."""
    if not (tests / SUITE / "tests.py").is_file():
        raise NoSource(f"{tests / SUITE} is not there: not a source distribution of Django?")
    sys.path.insert(0, str(tests))
    names = {name: getattr(base, name) for name in dir(base) if name.isupper()}
    names["CACHES"]["sessions"]["LOCATION"] = url
    names["CACHES"]["sessions"]["OPTIONS"] = {"SOCKET_TIMEOUT": 10, "SOCKET_CONNECT_TIMEOUT": 10}
    names["INSTALLED_APPS"] = [*base.INSTALLED_APPS, SUITE]
    settings.configure(**names)
    django.setup()
    return importlib.import_module(f"{SUITE}.tests")


def _suite(module: ModuleType, engine: str) -> unittest.TestSuite:
    loader = unittest.TestLoader()
    path = f"django_elasticache_sessions.backends.{engine}"
    return unittest.TestSuite(
        loader.loadTestsFromTestCase(override_settings(USE_TZ=use_tz, SESSION_ENGINE=path)(case))
        for use_tz in (True, False)
        for case in _cases(module, path, f"USE_TZ={use_tz}")
    )


def _cases(module: ModuleType, engine: str, variant: str) -> Iterator[type[SimpleTestCase]]:
    from django.contrib.sessions import middleware as theirs

    from django_elasticache_sessions import middleware as ours

    store = importlib.import_module(engine).SessionStore
    yield _named(f"{engine}, {variant}", (module.SessionTestsMixin, TestCase), {"backend": store})
    for whose, middleware in (("Django's", theirs), ("our", ours)):
        replaced = {
            "SessionMiddleware": middleware.SessionMiddleware,
            "DatabaseSession": store,
            "Session": SimpleNamespace(objects=SimpleNamespace(get=StoredSession)),
        }
        yield _named(
            f"{whose} middleware, {engine}, {variant}",
            (module.SessionMiddlewareTests,),
            {"setUp": _setting_up(mock.patch.multiple(module, **replaced))},
        )


class StoredSession:
    """Stands for the database row that one test reads a saved session from."""

    def __init__(self, *, session_key: str) -> None:
        self._session_key = session_key

    def get_decoded(self) -> dict[str, Any]:
        """Return what is stored, as a new request reads it."""
        store = importlib.import_module(settings.SESSION_ENGINE).SessionStore
        session = store(self._session_key)
        assert session.exists(self._session_key)
        return dict(session.items())


def _setting_up(patch: Any) -> Any:
    def set_up(case: unittest.TestCase) -> None:
        case.enterContext(patch)

    return set_up


def _named(name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> type[SimpleTestCase]:
    skipped = {
        test: unittest.skip(reason)(lambda case: None) for test, reason in NOT_APPLICABLE.items()
    }
    return type(name, bases, {"__module__": SUITE, **attributes, **skipped})


def _run(suite: unittest.TestSuite, *, verbosity: int) -> unittest.TestResult:
    runner = DiscoverRunner(verbosity=0, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    try:
        return unittest.TextTestRunner(verbosity=verbosity, warnings="error").run(suite)
    finally:
        runner.teardown_databases(databases)
        runner.teardown_test_environment()


def _report(result: unittest.TestResult) -> int:
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    for test, reason in NOT_APPLICABLE.items():
        sys.stdout.write(f"Not applicable: {test}: {reason}\n")
    sys.stdout.write(
        f"Django {django.get_version()}: {result.testsRun} run, {failed} failed, "
        f"{len(result.skipped)} skipped\n"
    )
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
