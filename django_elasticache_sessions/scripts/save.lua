-- Change fields of a session that exists, and put off its expiry. With no field: a touch.
-- KEYS: session hash, live index, and events where the ttl is over.
-- ARGV: sid, the session's KEY, stamp (0 for a touch), ttl in seconds, user, new KEY, created ('=' for
--       the same), then as in merge().
-- Reply: 0 the session is gone, or has another KEY, -1 it has a row, {its clock} where that is not
--        before the stamp, else its version.
local created, version, user, key, clock, rest = read(KEYS[1])
if not created or (key ~= ARGV[2] and key ~= ARGV[6]) then
  return 0
end
if string.sub(rest, 1, 2) == ' @' then
  return -1
end
local stamp, ttl = tonumber(ARGV[3]), tonumber(ARGV[4])
if ttl <= 0 then
  redis.call('UNLINK', KEYS[1])
  leave(KEYS[2], ARGV[1])
  tally(KEYS[3], 'e', 1)
  return version
end
if stamp > 0 then
  if clock >= stamp then
    return is_repeat(KEYS[1], clock == stamp, key, ARGV[6], 8) and version or {clock}
  end
  clock = stamp
end
if ARGV[5] ~= '=' then
  user = ARGV[5]
end
if ARGV[6] ~= '=' then
  key, created = ARGV[6], ARGV[7]
end
local changed, first = merge(KEYS[1], ARGV, 8)
if changed then
  version = version + 1
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ttl
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f %.0f %s %s %.0f%s', created, now, expires, version, user, key,
    clock, rest),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ttl)
enter(KEYS[2], expires, ARGV[1], user)
return version
