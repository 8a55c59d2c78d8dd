-- Make a new session while the database is unavailable; all of it is pending.
-- KEYS: session hash, live index, pending set, events.
-- ARGV: sid, ttl in seconds, created, user, then field, value, ...
-- Reply: 1 created, 0 the name is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return read(KEYS[1]) == ARGV[3] and 1 or 0
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ARGV[2]
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f 1 %s @%s p0', ARGV[3], now, expires, ARGV[4], origin()))
for i = 5, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[1], '~!' .. ARGV[i], '')
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
enter(KEYS[2], expires, ARGV[1], ARGV[4])
redis.call('SADD', KEYS[3], ARGV[1])
tally(KEYS[4], 'c', 1)
return 1
