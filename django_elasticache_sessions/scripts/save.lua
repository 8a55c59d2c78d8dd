-- Change fields of a session that exists, and put off its expiry. With no field: a touch.
-- KEYS: session hash, live index.
-- ARGV: sid, ttl in seconds, user ('=' for the same), 1 to drop every other field, number of
--       removed fields, the removed fields, then field, value, ...
-- Reply: 0 the session is gone, else its version.
local created, version, user = read(KEYS[1])
if not created then
  return 0
end
local ttl = tonumber(ARGV[2])
if ttl <= 0 then
  redis.call('UNLINK', KEYS[1])
  leave(KEYS[2], ARGV[1])
  return version
end
if ARGV[3] ~= '=' then
  user = ARGV[3]
end
local removed = tonumber(ARGV[5])
local first = 6 + removed
if ARGV[4] == '1' then
  local names = redis.call('HKEYS', KEYS[1])
  for i = 1, #names do
    -- Names with one '~' are metadata, of a later release maybe.
    if string.byte(names[i]) ~= 126 or string.byte(names[i], 2) == 126 then
      redis.call('HDEL', KEYS[1], names[i])
    end
  end
end
for i = 6, first - 1, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + 999, first - 1)))
end
-- All but the first thousand words; those go along with the metadata.
for i = first + 1000, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
if removed > 0 or first <= #ARGV or ARGV[4] == '1' then
  version = version + 1
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ttl
redis.call('HSET', KEYS[1],
  '~', string.format('%s %.0f %.0f %.0f %s', created, now, expires, version, user),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ttl)
enter(KEYS[2], expires, ARGV[1])
return version
