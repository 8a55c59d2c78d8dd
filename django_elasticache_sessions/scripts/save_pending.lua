-- Change fields of a session that the database is told of later, and remember which: as "~!field".
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, the most that may wait in the pending set (0: any number), deadline in milliseconds, ttl
--       in seconds, user ('=' for the same), then as in merge().
-- Reply: 0 the session has ended, -1 it is not here, or as another server had it, or it is too late,
--        -2 too many wait, else its version.
if is_ended(KEYS[1]) then
  return 0
end
local created, version, user, rest = read(KEYS[1])
if not created or string.match(rest, '^ @(%x+)') ~= origin() or is_late(ARGV[3]) then
  return -1
end
if not is_pending(rest) then
  if ARGV[2] ~= '0' and redis.call('SCARD', KEYS[3]) >= tonumber(ARGV[2]) then
    return -2
  end
  rest = string.format('%s p%.0f', rest, version)
end
if ARGV[5] ~= '=' then
  user = ARGV[5]
end
local changed, first = merge(KEYS[1], 6, function(name)
  redis.call('HSET', KEYS[1], '~!' .. name, '')
end)
if changed then
  version = version + 1
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ARGV[4]
redis.call('HDEL', KEYS[1], '~l')
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f %.0f %s%s', created, now, expires, version, user, rest),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ARGV[4])
enter(KEYS[2], expires, ARGV[1], user)
redis.call('SADD', KEYS[3], ARGV[1])
return version
