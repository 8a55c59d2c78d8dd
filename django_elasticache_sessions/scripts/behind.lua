-- Note that a hash does not show a version of its row, or drop it where the session has ended.
-- KEYS: session hash, live index, pending set.  ARGV: sid, the row's version, 1 if it has ended.
-- Reply: 1 it showed an earlier one, 0 not.
if ARGV[3] == '1' then
  leave(KEYS[2], ARGV[1])
  await_no_more(KEYS[3], ARGV[1])
  return redis.call('UNLINK', KEYS[1])
end
if is_ended(KEYS[1]) then
  return 0
end
redis.call('HDEL', KEYS[1], '~l')
local twin = open(KEYS[1])
if not twin or twin.base >= tonumber(ARGV[2]) then
  return 0
end
fall_behind(KEYS[1], twin, tonumber(ARGV[2]))
return 1
