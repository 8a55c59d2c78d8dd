-- A hash that has a row too, or will have one.
local function open(hash)
  local text = redis.call('HGET', hash, '~')
  if not text then
    return nil
  end
  local created, base, user, key, clock, rest = parse(text)
  if not created then
    return nil
  end
  local origin, behind, more = string.match(rest, '^ @(%S+) (%d+)(.*)$')
  return {
    created = created, base = base, user = user, key = key, clock = clock,
    origin = origin or '', behind = tonumber(behind or 0), more = more or '',
  }
end

local function words_of(twin, now, ttl)
  return string.format('%s %.0f %.0f %.0f %s %s %.0f @%s %.0f%s', twin.created, now, now + ttl,
    twin.base, twin.user, twin.key, twin.clock, twin.origin, twin.behind, twin.more)
end

-- The same with another base or version that it lacks; its times stay.
local function note(hash, twin)
  local times = string.match(redis.call('HGET', hash, '~'), '^%d+ (%d+ %d+) ')
  redis.call('HSET', hash, '~', string.format('%s %s %.0f %s %s %.0f @%s %.0f%s', twin.created, times,
    twin.base, twin.user, twin.key, twin.clock, twin.origin, twin.behind, twin.more))
end

-- The hash does not show this version of its row, or not all of it.
local function fall_behind(hash, twin, version)
  twin.behind = math.max(twin.behind, version)
  note(hash, twin)
end

local function has_pending(hash)
  local names = redis.call('HKEYS', hash)
  for i = 1, #names do
    if string.sub(names[i], 1, 2) == '~!' then
      return true
    end
  end
  return false
end
