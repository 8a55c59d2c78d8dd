-- End a session, whatever lies under its name.
-- KEYS: session hash, live index, events, pending set, and the index of its user where that lies here.
-- ARGV: sid, its KEY ('' for any), the seconds that a tombstone stays where the session has a row.
-- Reply: the tag of its user, '' if it has none, nil if nothing was there, or of another KEY.
local found = redis.call('TYPE', KEYS[1])['ok']
local user = found ~= 'none' and ''
local has_row = false
if found == 'hash' then
  local created, version, tag, key, clock, rest = read(KEYS[1])
  if created and ARGV[2] ~= '' and key ~= ARGV[2] then
    return false
  end
  user = tag or ''
  has_row = string.sub(rest or '', 1, 2) == ' @'
  tally(KEYS[3], 'e', created and 1 or 0)
end
redis.call('UNLINK', KEYS[1])
if has_row then
  redis.call('HSET', KEYS[1], '~', 'x p')
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  await(KEYS[4], ARGV[1])
end
leave(KEYS[2], ARGV[1])
if KEYS[5] then
  leave(KEYS[5], ARGV[1])
end
return user
