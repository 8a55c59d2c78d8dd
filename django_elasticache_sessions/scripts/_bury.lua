-- Drop a hash. One that has a row, which this engine does not reach, leaves a tombstone in the pending set
-- `set`, for as long as any copy of it could live, and no shorter than so many seconds.
local function bury(hash, set, sid, seconds)
  local ttl = redis.call('TTL', hash)
  redis.call('UNLINK', hash)
  if set then
    redis.call('HSET', hash, '~', 'x p')
    redis.call('EXPIRE', hash, math.max(seconds, ttl))
    await(set, sid)
  end
end
