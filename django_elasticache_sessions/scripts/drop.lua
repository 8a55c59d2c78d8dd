-- Drop a hash that may be older than its row.
-- KEYS: session hash, live index.
-- ARGV: sid, the row's version, 1 if the session has ended, or has no row ('?': the lease's token
--       follows, under which that was found out).
-- Reply: 1 dropped, 0 not.
local is_ended_there = ARGV[3] == '1'
if ARGV[3] == '?' and redis.call('TYPE', KEYS[1])['ok'] == 'hash' then
  local created, version, user, rest = read(KEYS[1])
  is_ended_there = redis.call('HGET', KEYS[1], '~l') == ARGV[4]
    and not (created and is_pending(rest))
  if not is_ended_there then
    return 0
  end
end
if is_ended_there then
  redis.call('UNLINK', KEYS[1])
  leave(KEYS[2], ARGV[1])
  return 1
end
if is_ended(KEYS[1]) then
  return 0
end
local created, version, user, rest = read(KEYS[1])
if created and is_pending(rest) then
  -- It holds what the row lacks: the two are brought together before it is read.
  local text = redis.call('HGET', KEYS[1], '~')
  redis.call('HSET', KEYS[1], '~', (string.gsub(text, ' p(%d+)$', ' c%1')))
  return 0
end
if created and version >= tonumber(ARGV[2]) then
  return 0
end
redis.call('UNLINK', KEYS[1])
return 1
