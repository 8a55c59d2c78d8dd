-- Whether nobody waits any more for what a script was asked to do: the server was frozen, or the
-- command held up on its way.
local function is_late(deadline_ms)
  local now = redis.call('TIME')
  return now[1] * 1000 + now[2] / 1000 > tonumber(deadline_ms)
end
