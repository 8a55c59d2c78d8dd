"""redis-py's clients of a cluster, as far as django-redis needs them to be otherwise."""

from __future__ import annotations

from typing import Any

from redis import RedisCluster
from redis.asyncio import RedisCluster as AsyncRedisCluster


class ClusterClient(RedisCluster):
    """Reads keys of several slots at once, as `cache.get_many()` asks for."""

    def mget(self, keys: Any, *args: Any) -> Any:
        """Read each slot's keys with a command of its own: not all at one moment."""
        return self.mget_nonatomic(keys, *args)


class AsyncClusterClient(AsyncRedisCluster):
    """See `ClusterClient`."""

    async def mget(self, keys: Any, *args: Any) -> Any:
        """See `ClusterClient.mget`."""
        return await self.mget_nonatomic(keys, *args)
