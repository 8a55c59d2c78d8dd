-- Do to the hash what a save has done to the row; where the hash is not as the row was before, drop
-- it: the next reader fills it in again.
-- KEYS: session hash, live index.
-- ARGV: sid, ttl in seconds, user ('=' for the same), the row's version before and after, then as
--       in merge().
-- Reply: 1 the hash is as the row, 0 it was dropped, -1 the session has ended.
if is_ended(KEYS[1]) then
  return -1
end
local created, version, user, rest = read(KEYS[1])
if not created or (version ~= tonumber(ARGV[4]) and not is_pending(rest)) then
  redis.call('UNLINK', KEYS[1])
  return 0
end
if ARGV[3] ~= '=' then
  user = ARGV[3]
end
version = math.max(version, tonumber(ARGV[5]))
local _, first = merge(KEYS[1], 6)
local now = tonumber(redis.call('TIME')[1])
local expires = now + ARGV[2]
redis.call('HDEL', KEYS[1], '~l')
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f %.0f %s%s', created, now, expires, version, user, rest),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ARGV[2])
enter(KEYS[2], expires, ARGV[1], user)
return 1
