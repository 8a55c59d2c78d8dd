-- Change fields of a session while the database is unavailable, and remember which: as "~!field".
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, ttl in seconds, user ('=' for the same), then as in merge().
-- Reply: 0 the session has ended, -1 it is not here, else its version.
if is_ended(KEYS[1]) then
  return 0
end
local created, version, user, rest = read(KEYS[1])
if not created then
  return -1
end
if ARGV[3] ~= '=' then
  user = ARGV[3]
end
local changed, first = merge(KEYS[1], 4, function(name)
  redis.call('HSET', KEYS[1], '~!' .. name, '')
end)
if changed then
  version = version + 1
end
if string.sub(rest, -2) ~= ' p' then
  rest = (rest == '' and ' @0' or rest) .. ' p'
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ARGV[2]
redis.call('HDEL', KEYS[1], '~l')
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f %.0f %s%s', created, now, expires, version, user, rest),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ARGV[2])
enter(KEYS[2], expires, ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
return version
