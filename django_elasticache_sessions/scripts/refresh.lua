-- Have a hash show its row, unless it shows a later version, or holds what the row lacks.
-- KEYS: session hash, live index.
-- ARGV: sid, ttl in seconds, the row's version, the version that the hash had when it was read, before
--       the row, and the one that it was behind, metadata, the server's mark, then field, value, ...
-- Reply: 1 it does now, 0 not, -1 who asks has not met this server yet.
if not is_of_here(ARGV[7]) then
  return -1
end
if is_ended(KEYS[1]) then
  return 0
end
local twin = open(KEYS[1])
local version = tonumber(ARGV[3])
if not twin or has_pending(KEYS[1]) then
  return 0
end
if twin.origin == '' then
  -- The cache engine made it, which counts its own saves.
  if twin.base ~= tonumber(ARGV[4]) then
    return 0
  end
elseif version < math.max(twin.base, twin.behind) then
  -- An older row is one that others have changed since it was read; or else the database went back.
  if twin.base ~= tonumber(ARGV[4]) or twin.behind ~= tonumber(ARGV[5]) then
    return 0
  end
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '~', string.format('%s @%s 0%s', ARGV[6], ARGV[7], twin.more))
for i = 8, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local created, _, user = parse(ARGV[6])
enter(KEYS[2], redis.call('TIME')[1] + ARGV[2], ARGV[1], user)
return 1
