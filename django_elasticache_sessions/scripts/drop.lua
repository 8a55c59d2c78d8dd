-- Drop a hash that may be older than its row.
-- KEYS: session hash, live index.  ARGV: sid, the row's version, 1 if the session has ended.
-- Reply: 1 dropped, 0 not.
if ARGV[3] == '1' then
  redis.call('UNLINK', KEYS[1])
  leave(KEYS[2], ARGV[1])
  return 1
end
if is_ended(KEYS[1]) then
  return 0
end
local created, version, user, rest = read(KEYS[1])
if created and (version >= tonumber(ARGV[2]) or string.sub(rest, -2) == ' p') then
  return 0
end
redis.call('UNLINK', KEYS[1])
return 1
