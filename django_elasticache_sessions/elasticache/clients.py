"""redis-py's clients of a cluster, as far as django-redis needs them to be otherwise."""

from __future__ import annotations

from typing import Any

from redis import RedisCluster
from redis.asyncio import RedisCluster as AsyncRedisCluster


class ClusterClient(RedisCluster):
    """Reads keys of several slots at once, as `cache.get_many()` asks for, and lists all nodes'."""

    def mget(self, keys: Any, *args: Any) -> Any:
        """Read each slot's keys with a command of its own: not all at one moment."""
        return self.mget_nonatomic(keys, *args)

    def keys(self, pattern: Any = "*", **kwargs: Any) -> Any:
        """List the keys of every primary."""
        return super().keys(pattern, **{"target_nodes": self.PRIMARIES, **kwargs})


class AsyncClusterClient(AsyncRedisCluster):
    """See `ClusterClient`."""

    async def mget(self, keys: Any, *args: Any) -> Any:
        """See `ClusterClient.mget`."""
        return await self.mget_nonatomic(keys, *args)

    async def keys(self, pattern: Any = "*", **kwargs: Any) -> Any:
        """See `ClusterClient.keys`."""
        return await super().keys(pattern, **{"target_nodes": self.PRIMARIES, **kwargs})
