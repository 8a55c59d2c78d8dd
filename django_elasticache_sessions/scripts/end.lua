-- End a session and leave a tombstone. While the database is unavailable, it stays until then.
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, 0 or the seconds that a pending end is kept, 1 if there may be something to end.
-- Reply: the tag of its user ('' if it has none or was not there), 1 if the database lacks it.
local user, was_pending = '', 0
if not kind(KEYS[1]) then
  local created, version, tag, rest = read(KEYS[1])
  if created then
    user = tag
    was_pending = string.sub(rest, -2) == ' p' and 1 or 0
  end
end
if ARGV[3] == '0' and redis.call('EXISTS', KEYS[1]) == 0 then
  -- Whoever asks to end what never was leaves nothing here.
  leave(KEYS[2], ARGV[1])
elseif ARGV[2] == '0' then
  bury(KEYS[1], 'x')
else
  bury(KEYS[1], 'x p', ARGV[2])
  redis.call('SADD', KEYS[3], ARGV[1])
end
leave(KEYS[2], ARGV[1])
return {user, was_pending}
