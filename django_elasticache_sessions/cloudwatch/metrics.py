"""The metrics in the namespace AWS/ElastiCache that say how a store of sessions is.

Names, units and meaning: "Metrics for Valkey and Redis OSS", "Host-Level Metrics" and "Metrics and
events for Valkey and Redis OSS serverless caches" in the Amazon ElastiCache User Guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

NAMESPACE = "AWS/ElastiCache"

Statistic = Literal["Average", "Maximum", "Sum"]
Unit = Literal["Bytes", "Count", "Microseconds", "Percent", "Seconds", "None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric, the statistic that is asked for, and the unit it comes in."""

    name: str
    title: str | Promise
    statistic: Statistic
    unit: Unit


def _metric(name: str, title: str | Promise, statistic: Statistic, unit: Unit) -> Metric:
    return Metric(name=name, title=title, statistic=statistic, unit=unit)


_HIT_RATE = _metric("CacheHitRate", _("Hit rate"), "Average", "Percent")
_HITS = _metric("CacheHits", _("Hits"), "Sum", "Count")
_MISSES = _metric("CacheMisses", _("Misses"), "Sum", "Count")
_BYTES = _metric("BytesUsedForCache", _("Memory used"), "Maximum", "Bytes")
_MEMORY = _metric("DatabaseMemoryUsagePercentage", _("Share of memory"), "Maximum", "Percent")
_ITEMS = _metric("CurrItems", _("Keys"), "Maximum", "Count")
_CONNECTIONS = _metric("CurrConnections", _("Connections"), "Maximum", "Count")
_NEW_CONNECTIONS = _metric("NewConnections", _("New connections"), "Sum", "Count")
_EVICTIONS = _metric("Evictions", _("Evicted keys"), "Sum", "Count")
_RECLAIMED = _metric("Reclaimed", _("Expired keys"), "Sum", "Count")
_CPU = _metric("EngineCPUUtilization", _("Load of the engine"), "Average", "Percent")
_HOST_CPU = _metric("CPUUtilization", _("Load of the node"), "Average", "Percent")
# Of types of nodes that burst, every five minutes. One credit lasts a vCPU a minute.
_CREDITS = _metric("CPUCreditBalance", _("CPU credits left"), "Average", "Count")
_READ = _metric("SuccessfulReadRequestLatency", _("Time to read"), "Average", "Microseconds")
_WRITE = _metric("SuccessfulWriteRequestLatency", _("Time to write"), "Average", "Microseconds")
_LAG = _metric("ReplicationLag", _("Lag of the replica"), "Maximum", "Seconds")
_FAILED_LOGINS = _metric("AuthenticationFailures", _("Failed authentications"), "Sum", "Count")
_IAM_EXPIRED = _metric("IamAuthenticationExpirations", _("Expired IAM connections"), "Sum", "Count")
_IAM_THROTTLED = _metric(
    "IamAuthenticationThrottling", _("Throttled IAM authentications"), "Sum", "Count"
)
_MANAGED = _metric("TrafficManagementActive", _("Traffic is managed"), "Maximum", "None")
_UNITS = _metric("ElastiCacheProcessingUnits", _("Processing units (ECPU)"), "Sum", "Count")
_THROTTLED = _metric("ThrottledCmds", _("Throttled commands"), "Sum", "Count")

#: Of each node of a replication group.
OF_NODES = (
    _HIT_RATE,
    _HITS,
    _MISSES,
    _MEMORY,
    _BYTES,
    _ITEMS,
    _CPU,
    _HOST_CPU,
    _CREDITS,
    _READ,
    _WRITE,
    _CONNECTIONS,
    _NEW_CONNECTIONS,
    _EVICTIONS,
    _RECLAIMED,
    _LAG,
    _FAILED_LOGINS,
    _IAM_EXPIRED,
    _IAM_THROTTLED,
    _MANAGED,
)
#: Of a serverless cache as a whole.
OF_SERVERLESS = (
    _HIT_RATE,
    _HITS,
    _MISSES,
    _BYTES,
    _ITEMS,
    _UNITS,
    _THROTTLED,
    _READ,
    _WRITE,
    _CONNECTIONS,
    _NEW_CONNECTIONS,
    _EVICTIONS,
    _RECLAIMED,
    _FAILED_LOGINS,
    _IAM_EXPIRED,
    _IAM_THROTTLED,
)
