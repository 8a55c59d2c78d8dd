-- Drop a hash whose row is not there any more.
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, the version of the row that it showed; or 0 for an end that the database knows by now, and
--       the tombstone's KEY and times.
-- Reply: 1 dropped, 0 not.
local ended = is_ended(KEYS[1])
if ARGV[2] == '0' and not (ended and (redis.call('HGET', KEYS[1], '~k') or '') == ARGV[3]
    and (redis.call('HGET', KEYS[1], '~e') or '') == ARGV[4]) then
  return 0
end
if ARGV[2] ~= '0' then
  local twin = open(KEYS[1])
  if ended or not twin or twin.base ~= tonumber(ARGV[2]) then
    return 0
  end
end
redis.call('UNLINK', KEYS[1])
leave(KEYS[2], ARGV[1])
await_no_more(KEYS[3], ARGV[1])
return 1
