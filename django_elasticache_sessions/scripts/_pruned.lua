-- Expired members leave an index a few at a time, so that no call is long.
local function drop_expired(index, now)
  local dead = redis.pcall('ZRANGE', index, -now, now, 'BYSCORE', 'LIMIT', 0, 20)
  if not dead['err'] and #dead > 0 then
    redis.call('ZREM', index, unpack(dead))
  end
end
