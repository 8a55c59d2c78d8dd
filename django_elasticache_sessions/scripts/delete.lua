-- End a session, whatever lies under its name.
-- KEYS: session hash, live index, events, pending set, and the index of its user where that lies here.
-- ARGV: sid, its KEY ('' for any), the seconds that a tombstone stays, at least, where the session has
--       a row.
-- Reply: the tag of its user, '' if it has none, nil if nothing was there, or of another KEY.
local found = redis.call('TYPE', KEYS[1])['ok']
local user = found ~= 'none' and ''
local has_row = false
if found == 'hash' then
  if redis.call('HGET', KEYS[1], '~') == 'x p' then
    return false
  end
  local created, version, tag, key, clock, rest = read(KEYS[1])
  if created and ARGV[2] ~= '' and key ~= ARGV[2] then
    return false
  end
  user = tag or ''
  has_row = string.sub(rest or '', 1, 2) == ' @'
  tally(KEYS[3], 'e', created and 1 or 0)
end
bury(KEYS[1], has_row and KEYS[4], ARGV[1], ARGV[3])
leave(KEYS[2], ARGV[1])
if KEYS[5] then
  leave(KEYS[5], ARGV[1])
end
return user
