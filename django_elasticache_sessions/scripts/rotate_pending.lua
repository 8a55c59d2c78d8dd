-- End a session and begin another with its data while the database is unavailable; both are pending.
-- KEYS: old session hash, live index, new session hash, pending set (all in one slot).
-- ARGV: old sid, new sid, version the data was loaded at ('' for any), deadline in milliseconds,
--       seconds that the old one's mark stays, ttl in seconds, created, user, then field, value, ...
-- Reply: 1 rotated, 0 the old session has ended, -1 it is not here, or as another server had it, or it
--        is too late, -2 the version is another, -3 the new name is taken.
if redis.call('EXISTS', KEYS[3]) == 1 then
  return read(KEYS[3]) == ARGV[7] and 1 or -3
end
if is_ended(KEYS[1]) then
  return 0
end
local created, version, user, rest = read(KEYS[1])
if not created or string.match(rest, '^ @(%x+)') ~= origin() or is_late(ARGV[4]) then
  return -1
end
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= version then
  return -2
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '~', 'x p')
redis.call('EXPIRE', KEYS[1], ARGV[5])
leave(KEYS[2], ARGV[1])
local now = tonumber(redis.call('TIME')[1])
local expires = now + ARGV[6]
redis.call('HSET', KEYS[3],
  '~', string.format('%s %.0f %.0f 1 %s @%s p0', ARGV[7], now, expires, ARGV[8], origin()))
for i = 9, #ARGV, 1000 do
  redis.call('HSET', KEYS[3], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
for i = 9, #ARGV, 2 do
  redis.call('HSET', KEYS[3], '~!' .. ARGV[i], '')
end
redis.call('EXPIRE', KEYS[3], ARGV[6])
enter(KEYS[2], expires, ARGV[2], ARGV[8])
redis.call('SADD', KEYS[4], ARGV[1], ARGV[2])
return 1
