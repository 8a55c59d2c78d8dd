-- The replication id of this server, shortened; as drivers/origin.py has it.
local function origin()
  local info = redis.call('INFO', 'replication')
  return string.match(info, 'master_replid:(%x%x%x%x%x%x%x%x)') or '0'
end
