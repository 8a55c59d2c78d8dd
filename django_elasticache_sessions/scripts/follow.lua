-- Do to the hash what a save has done to the row. Where the hash is not as the row was before, or
-- holds what the row lacks, it falls behind: the next reader brings it up to date.
-- KEYS: session hash, live index.
-- ARGV: sid, the row's version before and after, stamp, ttl in seconds, user, new KEY, created ('='
--       for the same), then as in merge().
-- Reply: 1 the hash shows the row, 0 not, -1 the session has ended.
if is_ended(KEYS[1]) then
  return -1
end
redis.call('HDEL', KEYS[1], '~l')
local twin = open(KEYS[1])
if not twin then
  return 0
end
local function is_pending(name)
  return redis.call('HEXISTS', KEYS[1], '~!' .. name) == 1
end
local function is_free()
  if ARGV[9] == '1' then
    return not has_pending(KEYS[1])
  end
  local first = 11 + tonumber(ARGV[10])
  for i = 11, first - 1 do
    if is_pending(ARGV[i]) then
      return false
    end
  end
  for i = first, #ARGV, 2 do
    if is_pending(ARGV[i]) then
      return false
    end
  end
  return ARGV[7] == '=' or not is_pending('~k')
end
local before, after = tonumber(ARGV[2]), tonumber(ARGV[3])
if twin.base ~= before or not is_free() then
  fall_behind(KEYS[1], twin, after)
  return 0
end
twin.base = after
twin.clock = math.max(twin.clock, tonumber(ARGV[4]))
if ARGV[6] ~= '=' then
  twin.user = ARGV[6]
end
if ARGV[7] ~= '=' then
  twin.key, twin.created = ARGV[7], ARGV[8]
end
local _, first = merge(KEYS[1], 9)
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', KEYS[1], '~', words(twin, now, ARGV[5]),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ARGV[5])
enter(KEYS[2], now + ARGV[5], ARGV[1], twin.user)
return 1
