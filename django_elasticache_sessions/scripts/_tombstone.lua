-- In the cached_db engine a hash with nothing but '~' stands where nothing, or nothing older than a
-- version, may be filled in from the database: "x" for an ended session, "f version" for another.
-- It outlives every reader that may still be on its way from the database.
local tombstone_seconds = 60

local function kind(hash)
  local found = redis.call('TYPE', hash)['ok']
  if found ~= 'hash' then
    if found ~= 'none' then
      redis.call('UNLINK', hash)
    end
    return nil
  end
  local text = redis.call('HGET', hash, '~') or ''
  if string.sub(text, 1, 1) == 'x' then
    return 'ended'
  end
  return nil, tonumber(string.match(text, '^f (%d+)$'))
end

local function bury(hash, text, seconds)
  redis.call('UNLINK', hash)
  redis.call('HSET', hash, '~', text)
  redis.call('EXPIRE', hash, seconds or tombstone_seconds)
end

local function fence(hash, version)
  local ended, floor = kind(hash)
  if not ended then
    bury(hash, string.format('f %.0f', math.max(version, floor or 0)))
  end
end
