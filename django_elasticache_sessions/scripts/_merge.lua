-- Tell whether a save whose stamp is not newer is a repeat after a lost reply: it finds what it wrote,
-- for no two values are alike. `at` as in merge().
local function is_repeat(hash, is_same_stamp, key, new_key, at)
  local first = at + 2 + tonumber(ARGV[at + 1])
  return is_same_stamp and ((new_key ~= '=' and key == new_key)
    or (ARGV[first] and redis.call('HGET', hash, ARGV[first]) == ARGV[first + 1]))
end

-- Change the fields of a session. From words[at]: 1 to drop every other field, the number of removed
-- fields, the removed fields, then field, value, ... With `note`, it is called with the name of each
-- field that changes. Returns whether anything changed, and where in the words the last pairs begin,
-- a thousand words at most: those go along with the metadata.
local function merge(hash, words, at, note)
  local first = at + 2 + tonumber(words[at + 1])
  if words[at] == '1' then
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
    redis.call('HDEL', hash, unpack(words, i, math.min(i + 999, first - 1)))
  end
  for i = first + 1000, #words, 1000 do
    redis.call('HSET', hash, unpack(words, i, math.min(i + 999, #words)))
  end
  if note then
    for i = at + 2, first - 1 do
      note(words[i])
    end
    for i = first, #words, 2 do
      note(words[i])
    end
  end
  return words[at] == '1' or #words > at + 1, first
end
