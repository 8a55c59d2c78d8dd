-- Change the fields of a session. From ARGV[at]: 1 to drop every other field, the number of removed
-- fields, the removed fields, then field, value, ... With `note`, it is called with the name of each
-- field that changes. Returns whether anything changed, and where in ARGV the last pairs begin, a
-- thousand words at most: those go along with the metadata.
local function merge(hash, at, note)
  local first = at + 2 + tonumber(ARGV[at + 1])
  if ARGV[at] == '1' then
    local names = redis.call('HKEYS', hash)
    for i = 1, #names do
      -- Names with one '~' are metadata, of a later release maybe.
      if string.byte(names[i]) ~= 126 or string.byte(names[i], 2) == 126 then
        redis.call('HDEL', hash, names[i])
        if note then
          note(names[i])
        end
      end
    end
  end
  for i = at + 2, first - 1, 1000 do
    redis.call('HDEL', hash, unpack(ARGV, i, math.min(i + 999, first - 1)))
  end
  for i = first + 1000, #ARGV, 1000 do
    redis.call('HSET', hash, unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
  if note then
    for i = at + 2, first - 1 do
      note(ARGV[i])
    end
    for i = first, #ARGV, 2 do
      note(ARGV[i])
    end
  end
  return ARGV[at] == '1' or #ARGV > at + 1, first
end
