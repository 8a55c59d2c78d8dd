-- The field '~' holds "created saved expires version user", and in the cached_db engine after that
-- "@" with the replication id of the server it was filled in at, and "p" while the database lacks
-- something of it.
-- The user's tag may be empty.
local function read(hash)
  local text = redis.call('HGET', hash, '~')
  if not text then
    return nil
  end
  local created, version, user, rest = string.match(text, '^(%d+) %d+ %d+ (%d+) ([%w_-]*)(.*)$')
  if not created or not (rest == '' or string.match(rest, '^ @%x+$')
      or string.match(rest, '^ @%x+ p$')) then
    return nil
  end
  return created, tonumber(version), user, rest
end
