-- Put a session into a live index, or take it out. A foreign value under the index's name must not
-- cost a session; other errors, such as a missing permission, are told.
local function changed(reply, index)
  if type(reply) ~= 'table' or not reply['err'] then
    return true
  end
  if not string.find(reply['err'], 'WRONGTYPE') then
    error(reply['err'])
  end
  redis.call('UNLINK', index)
  return false
end

-- A session with a user has its expiry for a score, any other the negative of it: so each kind is
-- counted and listed by itself, and what has expired lies in the middle.
local function enter(index, expires, sid, user)
  local score = user == '' and -expires or expires
  if not changed(redis.pcall('ZADD', index, score, sid), index) then
    redis.call('ZADD', index, score, sid)
  end
end

local function leave(index, ...)
  changed(redis.pcall('ZREM', index, ...), index)
end
