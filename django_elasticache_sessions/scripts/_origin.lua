-- The replication id of this server, shortened; as drivers/origin.py has it.
local function origin()
  local info = redis.call('INFO', 'replication')
  return string.match(info, 'master_replid:(%x%x%x%x%x%x%x%x)') or '0'
end

-- Whether a mark, a server's id and its epoch, is of this server. 0 stands for one that names itself
-- otherwise to scripts than to commands, or each time: see identities.py.
local function is_of_here(mark)
  local id = string.match(mark, '^(.*)%.%d+$')
  return id == '0' or id == origin()
end
