-- End a session. While the database is unavailable, a mark stays until it can be told.
-- KEYS: session hash, live index, pending set, and events where the session does not go on under
--       another name.
-- ARGV: sid, 0 or the seconds that the mark stays.
-- Reply: the tag of its user ('' if it has none or was not there), and 1 if the database lacked
--        something of it, 2 if it lacked an end, else 0.
local user, lacking = '', 0
if is_ended(KEYS[1]) then
  lacking = 2
else
  local created, version, tag, rest = read(KEYS[1])
  if created then
    user = tag
    tally(KEYS[4], 'e', 1)
    lacking = is_pending(rest) and 1 or 0
  end
end
if ARGV[2] ~= '0' or lacking < 2 then
  redis.call('UNLINK', KEYS[1])
end
if ARGV[2] ~= '0' then
  redis.call('HSET', KEYS[1], '~', 'x p')
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('SADD', KEYS[3], ARGV[1])
end
leave(KEYS[2], ARGV[1])
return {user, lacking}
