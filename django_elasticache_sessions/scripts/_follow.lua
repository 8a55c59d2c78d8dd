-- What saves have done to the row, done to the hash in KEYS[1] with the live index KEYS[2]. `words` are
-- the arguments of follow.lua.
local MOST_EARLY, MOST_EARLY_BYTES = 8, 65536

local function is_pending(name)
  return redis.call('HEXISTS', KEYS[1], '~!' .. name) == 1
end

-- Tell whether a save changes nothing of which the hash has what the row lacks.
local function is_free(words)
  if words[9] == '1' then
    return not has_pending(KEYS[1])
  end
  local first = 11 + tonumber(words[10])
  for i = 11, first - 1 do
    if is_pending(words[i]) then
      return false
    end
  end
  for i = first, #words, 2 do
    if is_pending(words[i]) then
      return false
    end
  end
  return words[7] == '=' or not is_pending('~k')
end

local function follow(twin, words)
  local after = tonumber(words[3])
  if not is_free(words) then
    fall_behind(KEYS[1], twin, after)
    return
  end
  if twin.behind > twin.base and twin.behind <= after then
    -- What it lacked has come, save by save.
    twin.behind = 0
  end
  twin.base = after
  twin.clock = math.max(twin.clock, tonumber(words[4]))
  if words[6] ~= '=' then
    twin.user = words[6]
  end
  if words[7] ~= '=' then
    twin.key, twin.created = words[7], words[8]
  end
  local _, first = merge(KEYS[1], words, 9)
  local now = tonumber(redis.call('TIME')[1])
  redis.call('HSET', KEYS[1], '~', words_of(twin, now, words[5]),
    unpack(words, first, math.min(first + 999, #words)))
  redis.call('EXPIRE', KEYS[1], words[5])
  enter(KEYS[2], now + words[5], words[1], twin.user)
end

-- The hash is behind a save that came before the one that it goes on top of. That save is kept until
-- then, unless it is a touch, too large or too far ahead.
local function keep_early(twin, words)
  local before, after = tonumber(words[2]), tonumber(words[3])
  if before < after and after - twin.base <= MOST_EARLY then
    local packed = cmsgpack.pack(words)
    if #packed <= MOST_EARLY_BYTES then
      redis.call('HSET', KEYS[1], '~+' .. words[2], packed)
    end
  end
  fall_behind(KEYS[1], twin, after)
end

-- Do what was kept and can be done by now.
local function catch_up(twin)
  while twin.behind > twin.base do
    local name = string.format('~+%.0f', twin.base)
    local packed = redis.call('HGET', KEYS[1], name)
    if not packed then
      return
    end
    redis.call('HDEL', KEYS[1], name)
    local is_good, words = pcall(cmsgpack.unpack, packed)
    if not is_good or type(words) ~= 'table' or words[2] ~= string.sub(name, 3) then
      return
    end
    follow(twin, words)
  end
end
