-- Adds to the counts of what happens. The key goes a while after it was made.
-- KEYS: the counts. ARGV: the seconds to keep them for, then a name and a number to add for each.
for at = 2, #ARGV, 2 do
  local before = tonumber(redis.call('HGET', KEYS[1], ARGV[at]) or 0) or 0
  local after = math.max(0, before + tonumber(ARGV[at + 1]))
  redis.call('HSET', KEYS[1], ARGV[at], string.format('%.0f', after))
end
if redis.call('TTL', KEYS[1]) < 0 then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return 1
