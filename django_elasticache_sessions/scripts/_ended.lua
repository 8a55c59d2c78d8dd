-- "x p" in the field '~' stands for an end that the database was not told yet. A foreign value under
-- a session's name is dropped: the row is the truth.
local function is_ended(hash)
  local found = redis.call('TYPE', hash)['ok']
  if found == 'hash' then
    return redis.call('HGET', hash, '~') == 'x p'
  end
  if found ~= 'none' then
    redis.call('UNLINK', hash)
  end
  return false
end
