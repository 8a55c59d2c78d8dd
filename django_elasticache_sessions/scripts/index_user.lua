-- Enter a session in its user's index and keep that index as long as its longest session.
-- KEYS: user index.  ARGV: sid, seconds until the session's entry may go.
local now = tonumber(redis.call('TIME')[1])
local ttl = tonumber(ARGV[2])
local found = redis.call('TYPE', KEYS[1])['ok']
if found ~= 'zset' and found ~= 'none' then
  -- A foreign value would keep the user's sessions from being found, and ended.
  redis.call('UNLINK', KEYS[1])
end
-- However many have expired, one call may keep others waiting only for so many.
local dead = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
if #dead > 0 then
  redis.call('ZREM', KEYS[1], unpack(dead))
end
redis.call('ZADD', KEYS[1], now + ttl, ARGV[1])
if redis.call('TTL', KEYS[1]) < ttl then
  redis.call('EXPIRE', KEYS[1], ttl)
end
return 1
