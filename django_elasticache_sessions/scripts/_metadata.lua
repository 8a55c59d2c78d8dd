-- The field '~' holds "created saved expires version user", and in the cached_db engine after that
-- "@" with the replication id of the server it was filled in at, and, while the database lacks
-- something of it, "p" with the version that the hash shared with its row last; "c" instead where
-- the row is known to have been changed since.
-- The user's tag may be empty.
local function parse(text)
  local created, version, user, rest = string.match(text, '^(%d+) %d+ %d+ (%d+) ([%w_-]*)(.*)$')
  if not created or not (rest == '' or string.match(rest, '^ @%x+$')
      or string.match(rest, '^ @%x+ [pc]%d+$')) then
    return nil
  end
  return created, tonumber(version), user, rest
end

local function read(hash)
  local text = redis.call('HGET', hash, '~')
  if text then
    return parse(text)
  end
end

local function is_pending(rest)
  return string.find(rest, ' [pc]') ~= nil
end
