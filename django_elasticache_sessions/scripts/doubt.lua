-- Tell whether indexes may be missing here, and whether all keys may be looked through.
-- KEYS: an index.
-- Reply: 1 the server has evicted keys by its policy, 0 not, -1 it may not be asked; then 1 if this user
--        may SCAN, else 0.
local stats, memory = redis.pcall('INFO', 'stats'), redis.pcall('INFO', 'memory')
local has_evicted = -1
if type(stats) == 'string' and type(memory) == 'string' then
  local policy = string.match(memory, 'maxmemory_policy:([%w-]+)') or 'noeviction'
  local number = tonumber(string.match(stats, 'evicted_keys:(%d+)') or 0)
  has_evicted = policy ~= 'noeviction' and number > 0 and 1 or 0
end
local scanned = redis.pcall('SCAN', '0', 'COUNT', '1')
return {has_evicted, scanned['err'] and 0 or 1}
