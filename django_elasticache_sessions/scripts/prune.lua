-- Drop expired members of a bucket's live index, a bounded number at a time.
-- KEYS: live index.  ARGV: most members.  Reply: the number dropped.
local now = redis.call('TIME')[1]
local dead = redis.call('ZRANGE', KEYS[1], -now, now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
if #dead > 0 then
  redis.call('ZREM', KEYS[1], unpack(dead))
end
return #dead
