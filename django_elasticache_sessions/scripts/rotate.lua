-- End a session and begin another with its data, as one step.
-- KEYS: old session hash, live index, new session hash (all in one bucket, so in one slot), and events
--       where the ttl is over.
-- ARGV: old sid, new sid, version the data was loaded at ('' for any), ttl in seconds, created,
--       user, then field, value, ...
-- Reply: 1 rotated, 0 the old session is gone, -1 the new name is taken, -2 the version is another.
if redis.call('EXISTS', KEYS[3]) == 1 then
  return read(KEYS[3]) == ARGV[5] and 1 or -1
end
local created, version = read(KEYS[1])
if not created then
  return 0
end
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= version then
  return -2
end
redis.call('UNLINK', KEYS[1])
leave(KEYS[2], ARGV[1])
local ttl = tonumber(ARGV[4])
if ttl <= 0 then
  tally(KEYS[4], 'e', 1)
  return 1
end
local now = tonumber(redis.call('TIME')[1])
local expires = now + ttl
redis.call('HSET', KEYS[3], '~', string.format('%s %.0f %.0f 1 %s', ARGV[5], now, expires, ARGV[6]))
for i = 7, #ARGV, 1000 do
  redis.call('HSET', KEYS[3], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('EXPIRE', KEYS[3], ttl)
enter(KEYS[2], expires, ARGV[2], ARGV[6])
return 1
