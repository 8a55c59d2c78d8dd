-- End a session, whatever lies under its name.
-- KEYS: session hash, live index.  ARGV: sid.
-- Reply: the tag of its user, '' if it has none or was not there.
local user = ''
if redis.call('TYPE', KEYS[1])['ok'] == 'hash' then
  local created, version, tag = read(KEYS[1])
  user = tag or ''
end
redis.call('UNLINK', KEYS[1])
leave(KEYS[2], ARGV[1])
return user
