-- Make a new session while the database is unavailable; all of it is pending.
-- KEYS: session hash, live index, pending set, events.
-- ARGV: sid, the server's mark, ttl in seconds, created, user, KEY, stamp, then field, value, ...
-- Reply: 1 created, 0 the name is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then
  local created, version, user, key = read(KEYS[1])
  return key == ARGV[6] and 1 or 0
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ARGV[3]
local mark = is_of_here(ARGV[2]) and ARGV[2] or origin() .. '.0'
redis.call('HSET', KEYS[1], '~!~k', ARGV[7], '~!~e', ARGV[7], '~',
  string.format('%s %.0f %.0f 0 %s %s %s @%s 0', ARGV[4], now, expires, ARGV[5], ARGV[6], ARGV[7], mark))
for i = 8, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for i = 8, #ARGV, 2 do
  redis.call('HSET', KEYS[1], '~!' .. ARGV[i], ARGV[7])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
enter(KEYS[2], expires, ARGV[1], ARGV[5])
await(KEYS[3], ARGV[1])
tally(KEYS[4], 'c', 1)
return 1
