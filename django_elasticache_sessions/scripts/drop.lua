-- Drop a hash that may be older than its row.
-- KEYS: session hash, live index.  ARGV: sid, the row's version, 1 if the session has ended.
if ARGV[3] == '1' then
  bury(KEYS[1], 'x')
  leave(KEYS[2], ARGV[1])
  return 1
end
if kind(KEYS[1]) then
  return 0
end
local created, version, user, rest = read(KEYS[1])
if created and (version >= tonumber(ARGV[2]) or string.sub(rest, -2) == ' p') then
  return 0
end
fence(KEYS[1], tonumber(ARGV[2]))
return 1
