-- Put what the database holds into the cache, where nobody has written since it was read.
-- KEYS: session hash, live index, and events where the session was created just now.
-- ARGV: sid, ttl in seconds, the lease's token ('' for a new session), the deadline of that in
--       milliseconds, metadata, the server's mark, then field, value...
-- Reply: 1 filled in, 0 not.
if not is_of_here(ARGV[6]) then
  -- Who asks has not met this server yet.
  return 0
end
if ARGV[3] == '' then
  local now = redis.call('TIME')
  if redis.call('EXISTS', KEYS[1]) == 1
      or now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[4]) then
    return 0
  end
elseif redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' or redis.call('HEXISTS', KEYS[1], '~') == 1
    or redis.call('HGET', KEYS[1], '~l') ~= ARGV[3] then
  return 0
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '~', string.format('%s @%s 0', ARGV[5], ARGV[6]))
for i = 7, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local now = tonumber(redis.call('TIME')[1])
local created, version, user = parse(ARGV[5])
enter(KEYS[2], now + ARGV[2], ARGV[1], user)
drop_expired(KEYS[2], now)
tally(KEYS[3], 'c', 1)
return 1
