-- Put what the database holds into the cache, where nobody has written since it was read.
-- KEYS: session hash, live index, and events where the session was created just now.
-- ARGV: sid, ttl in seconds, the lease's token ('' for a new session), metadata, then field, value...
-- Reply: 1 filled in, 0 not.
if ARGV[3] == '' then
  if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
  end
elseif redis.call('TYPE', KEYS[1])['ok'] ~= 'hash'
    or redis.call('HGET', KEYS[1], '~l') ~= ARGV[3] then
  return 0
else
  local created, version, user, rest = read(KEYS[1])
  if created and is_pending(rest) then
    -- The lease was taken on a hash that holds more than its row.
    return 0
  end
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '~', string.format('%s @%s', ARGV[4], origin()))
for i = 5, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
enter(KEYS[2], redis.call('TIME')[1] + ARGV[2], ARGV[1], string.match(ARGV[4], '[%w_-]*$'))
tally(KEYS[3], 'c', 1)
return 1
