-- The replication id of this server, shortened; as drivers/origin.py has it.
local function origin()
  local info = redis.call('INFO', 'replication')
  return string.match(info, 'master_replid:(%x%x%x%x%x%x%x%x)') or '0'
end

-- Whether a mark, this server's id and its epoch, is of this server.
local function is_of_here(mark)
  return string.match(mark, '^(.*)%.%d+$') == origin()
end
