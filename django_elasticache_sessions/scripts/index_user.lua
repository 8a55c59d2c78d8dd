-- Enter a session in its user's index and keep that index as long as its longest session.
-- KEYS: user index.  ARGV: sid, seconds until the session's entry may go.
local now = tonumber(redis.call('TIME')[1])
local ttl = tonumber(ARGV[2])
local found = redis.call('TYPE', KEYS[1])['ok']
if found ~= 'zset' and found ~= 'none' then
  -- A foreign value would keep the user's sessions from being found, and ended.
  redis.call('UNLINK', KEYS[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ttl, ARGV[1])
if redis.call('TTL', KEYS[1]) < ttl then
  redis.call('EXPIRE', KEYS[1], ttl)
end
return 1
