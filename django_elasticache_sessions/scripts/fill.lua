-- Put what the database holds into the cache, unless that is already older than what it knows.
-- KEYS: session hash, live index.
-- ARGV: sid, ttl in seconds, version, metadata, then field, value, ...
-- Reply: 1 filled in, 0 not.
local ended, floor = kind(KEYS[1])
if ended or tonumber(ARGV[3]) < (floor or 0) then
  return 0
end
local created, version, user, rest = read(KEYS[1])
if created and (version > tonumber(ARGV[3]) or string.sub(rest, -2) == ' p') then
  return 0
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '~', ARGV[4])
for i = 5, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
enter(KEYS[2], redis.call('TIME')[1] + ARGV[2], ARGV[1])
return 1
