-- Note that the row has what was pending when the hash was read. What came since stays pending.
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, the row's version before and after, 1 where the row had something newer, then name and
--       stamp of what was pending.
-- Reply: 1 nothing is pending any more, 0 to be handed over again.
if is_ended(KEYS[1]) then
  return 0
end
local twin = open(KEYS[1])
if not twin then
  await_no_more(KEYS[3], ARGV[1])
  return 1
end
for i = 5, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], '~!' .. ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], '~!' .. ARGV[i])
  end
end
local before, after = tonumber(ARGV[2]), tonumber(ARGV[3])
if twin.base == before and ARGV[4] == '0' then
  twin.base = after
  note(KEYS[1], twin)
  catch_up(twin)
elseif twin.base < after or ARGV[4] == '1' then
  fall_behind(KEYS[1], twin, after)
end
if has_pending(KEYS[1]) then
  return 0
end
await_no_more(KEYS[3], ARGV[1])
return 1
