-- Change fields of a session that exists, and put off its expiry. With no field: a touch.
-- KEYS: session hash, live index, and events where the ttl is over.
-- ARGV: sid, the session's KEY, ttl in seconds, user, new KEY, created ('=' for the same), then as in
--       merge().
-- Reply: 0 the session is gone, or has another KEY, -1 it has a row, else its version.
local created, version, user, key, rest = read(KEYS[1])
if not created or (key ~= ARGV[2] and key ~= ARGV[5]) then
  return 0
end
if string.sub(rest, 1, 2) == ' @' then
  return -1
end
local ttl = tonumber(ARGV[3])
if ttl <= 0 then
  redis.call('UNLINK', KEYS[1])
  leave(KEYS[2], ARGV[1])
  tally(KEYS[3], 'e', 1)
  return version
end
if ARGV[4] ~= '=' then
  user = ARGV[4]
end
if ARGV[5] ~= '=' then
  key, created = ARGV[5], ARGV[6]
end
local changed, first = merge(KEYS[1], 7)
if changed then
  version = version + 1
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ttl
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f %.0f %s %s%s', created, now, expires, version, user, key, rest),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ttl)
enter(KEYS[2], expires, ARGV[1], user)
return version
