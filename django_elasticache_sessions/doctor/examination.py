"""The whole examination: settings, then the server, the database and Amazon, each if it can be."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import ERROR, Tags, run_checks
from django.core.exceptions import ImproperlyConfigured

from ..conf import CACHED_DB_ENGINE, Outline, get_configuration, get_outline
from ..drivers.cluster.sync import ClusterDriver
from ..drivers.sync import Driver, make_driver
from ..exceptions import SessionStoreUnavailable
from ..health import Health
from . import cloud, connection, database, permissions, probe, server
from .findings import Finding, ok, problem


class _Quiet(Health):
    """Tells nobody: that something is refused is what the doctor wants to know."""

    __slots__ = ()

    def failed(self, problem: SessionStoreUnavailable) -> None:
        """See Health."""
        self._changes(is_up=False)

    def answered(self) -> None:
        """See Health."""
        self._changes(is_up=True)


def examine(engine: str) -> Iterator[Finding]:
    """Yield what is found, for one of this package's engines, as soon as it is.

    Changes nothing. Each question is answered or given up within the timeouts of the session cache,
    of the database and of `elasticache.aws`; a store that does not answer is a finding.
    """
    wrong = list(_settings())
    yield from wrong or (ok("settings", "no error"),)
    if wrong:
        return
    is_durable = engine == CACHED_DB_ENGINE
    outline = get_outline()
    if outline.options.kms_wrapped_keys is not None:
        yield _keys()
    yield from _cache(outline, is_durable=is_durable)
    if is_durable:
        yield from database.examine(outline.options.fallback_database)
    target = cloud.get_target(outline)
    if target:
        is_named = outline.options.cloudwatch is not None
        yield from cloud.examine(target, is_named=is_named, is_durable=is_durable)


def _settings() -> Iterator[Finding]:
    for message in run_checks(tags=[Tags.caches]):
        if message.is_serious(ERROR) and str(message.id).startswith("django_elasticache_sessions."):
            yield problem("settings", str(message.msg), str(message.hint or ""))


def _keys() -> Finding:
    subject = "encryption keys"
    try:
        get_configuration()
    except ImproperlyConfigured as closed:
        return problem(
            subject, str(closed), "Until then no process that starts can read or save sessions."
        )
    return ok(subject, "opened by KMS")


def _cache(outline: Outline, *, is_durable: bool) -> Iterator[Finding]:
    subject = "session cache"
    try:
        driver = make_driver(outline.alias, _Quiet)
    except ImproperlyConfigured as error:
        yield problem(subject, str(error), "Correct CACHES.")
        return
    # Whoever answers is examined, be it a replica.
    driver.follows_name = False
    pool = driver.pool
    transport = list(connection.judge_transport(pool.connection_class, pool.connection_kwargs))
    try:
        facts = driver.run(probe.look(outline, is_durable=is_durable))
    except SessionStoreUnavailable as absent:
        # What should make it safe was not seen to.
        yield from (finding for finding in transport if finding.level != "ok")
        yield _absent(driver, absent)
        return
    finally:
        driver.close()
    yield from transport
    yield connection.judge_user(facts.user, pool.connection_kwargs)
    yield permissions.judge(
        refused=facts.refused,
        beyond=facts.beyond,
        reads_elsewhere=facts.reads_elsewhere,
        rule=permissions.rules(
            outline.options.key_prefix,
            is_durable=is_durable,
            in_cluster=isinstance(driver, ClusterDriver),
        ),
    )
    amazons = cloud.get_target(outline)
    yield from server.judge(
        facts,
        is_durable=is_durable,
        is_serverless=bool(amazons and amazons.serverless_cache_name),
        is_behind=is_durable and outline.options.fallback_writes == "behind",
    )


def _absent(driver: Driver, absent: SessionStoreUnavailable) -> Finding:
    if not isinstance(driver, ClusterDriver):
        return _away(absent)
    if not driver.cluster.primaries:
        return _away(
            absent,
            " If it says that the user lacks a permission: in a cluster it needs +cluster|slots.",
        )
    lost = [
        str(address) for address in driver.cluster.primaries if not driver.health_of(address).is_up
    ]
    return problem(
        "cluster",
        f"{' '.join(lost) or 'a primary'} did not serve: sessions there do not work. {absent}",
        "Look at its load, or bring it back; a replica takes the place of a lost primary.",
    )


def _away(absent: SessionStoreUnavailable, more: str = "") -> Finding:
    found, _, mend = str(absent).partition("; ")
    if mend:
        return problem("session cache", f"{found}.", f"{mend[0].upper()}{mend[1:]}{more}")
    mend = (
        "Look at LOCATION and its OPTIONS, the security group between here and there, and the "
        "server."
    )
    return problem("session cache", found, mend + more)
