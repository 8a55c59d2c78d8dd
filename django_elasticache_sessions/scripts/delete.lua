-- End a session, whatever lies under its name.
-- KEYS: session hash, live index, events.  ARGV: sid, its KEY ('' for any).
-- Reply: the tag of its user, '' if it has none, nil if nothing was there, or of another KEY.
local found = redis.call('TYPE', KEYS[1])['ok']
local user = found ~= 'none' and ''
if found == 'hash' then
  local created, version, tag, key = read(KEYS[1])
  if created and ARGV[2] ~= '' and key ~= ARGV[2] then
    return false
  end
  user = tag or ''
  tally(KEYS[3], 'e', created and 1 or 0)
end
redis.call('UNLINK', KEYS[1])
leave(KEYS[2], ARGV[1])
return user
