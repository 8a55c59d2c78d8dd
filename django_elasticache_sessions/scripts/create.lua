-- Make a new session, only where none is.
-- KEYS: session hash, live index, events.
-- ARGV: sid, ttl in seconds, created, user, KEY, stamp, then field, value, ...
-- Reply: 1 created, 0 the name is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then
  -- A repeat after a lost reply finds its own session.
  local created, version, user, key = read(KEYS[1])
  return key == ARGV[5] and 1 or 0
end
local ttl = tonumber(ARGV[2])
if ttl <= 0 then
  return 1
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ttl
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f 1 %s %s %s', ARGV[3], now, expires, ARGV[4], ARGV[5], ARGV[6]))
for i = 7, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ttl)
enter(KEYS[2], expires, ARGV[1], ARGV[4])
drop_expired(KEYS[2], now)
tally(KEYS[3], 'c', 1)
return 1
