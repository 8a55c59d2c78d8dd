-- Note that the row has what was pending when the hash was read. What came since stays pending.
-- KEYS: session hash, live index, pending set, events.
-- ARGV: sid, the row's version before and after, 1 where the row had something newer, then name and
--       stamp of what was pending. Where nothing was found: sid, 0, 0, and 1 where the row lives, -1
--       where it has ended, else 0.
-- Reply: 1 nothing is pending any more, 2 what was pending is lost, 0 to be handed over again.

-- Whether a session that is not here should be: by its entry in the live index, or else by its row.
local function is_missed(row)
  local score = redis.pcall('ZADD', KEYS[2], 'XX', 'INCR', 0, ARGV[1])
  if row ~= '-1' and type(score) == 'string' then
    return math.abs(tonumber(score)) > tonumber(redis.call('TIME')[1])
  end
  return row == '1'
end

if is_ended(KEYS[1]) then
  return 0
end
local twin = open(KEYS[1])
if ARGV[3] == '0' then
  if twin and has_pending(KEYS[1]) then
    return 0
  end
  -- Who hands over what is pending takes it out of the set in the same step. If it is in there yet, the
  -- hash was evicted or deleted, and maybe filled in again from its row since.
  if await_no_more(KEYS[3], ARGV[1]) and (twin or is_missed(ARGV[4])) then
    tally(KEYS[4], 'l', 1)
    return 2
  end
  return 1
end
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
