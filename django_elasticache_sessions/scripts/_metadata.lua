-- The field '~' holds "created saved expires version user KEY clock", where the clock is the largest
-- stamp in the session, and in the cached_db engine after that "@" with the server it was filled in at
-- and a version of the row that it does not show (0: none known). What a later release adds stays
-- where it is. The user's tag may be empty.
local function parse(text)
  local created, version, user, key, clock, rest =
    string.match(text, '^(%d+) %d+ %d+ (%d+) ([%w_-]*) ([%w_-]+) (%d+)(.*)$')
  if not created or not (rest == '' or string.byte(rest) == 32) then
    return nil
  end
  return created, tonumber(version), user, key, tonumber(clock), rest
end

local function read(hash)
  local text = redis.call('HGET', hash, '~')
  if text then
    return parse(text)
  end
end
