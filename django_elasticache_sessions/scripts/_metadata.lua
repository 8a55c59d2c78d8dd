-- The field '~' holds "created saved expires version user"; the user's tag may be empty.
local function read(hash)
  local text = redis.call('HGET', hash, '~')
  if not text then
    return nil
  end
  local created, version, user = string.match(text, '^(%d+) %d+ %d+ (%d+) ([%w_-]*)$')
  return created, tonumber(version), user
end
