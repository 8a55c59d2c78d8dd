-- Make a new session while the database is unavailable; all of it is pending.
-- KEYS: session hash, live index, pending set, events.
-- ARGV: sid, stamp, ttl in seconds, created, user, KEY, then field, value, ...
-- Reply: 1 created, 0 the name is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then
  local created, version, user, key = read(KEYS[1])
  return key == ARGV[6] and 1 or 0
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ARGV[3]
redis.call('HSET', KEYS[1], '~!~k', ARGV[2], '~!~e', ARGV[2], '~', string.format(
  '%s %.0f %.0f 0 %s %s @%s 0 %s', ARGV[4], now, expires, ARGV[5], ARGV[6], origin(), ARGV[2]))
for i = 7, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for i = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[1], '~!' .. ARGV[i], ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
enter(KEYS[2], expires, ARGV[1], ARGV[5])
await(KEYS[3], ARGV[1])
tally(KEYS[4], 'c', 1)
return 1
