-- Do to the hash what a save has done to the row. What comes before the save that it goes on top of
-- is kept until that one has come. Where the hash holds what the row lacks, it falls behind: the next
-- reader brings it up to date.
-- KEYS: session hash, live index.
-- ARGV: sid, the row's version before and after (the same for a touch), stamp, ttl in seconds, user,
--       new KEY, created ('=' for the same), then as in merge().
-- Reply: 1 the hash shows the row, 0 not, -1 the session has ended.
if is_ended(KEYS[1]) then
  return -1
end
redis.call('HDEL', KEYS[1], '~l')
local twin = open(KEYS[1])
if not twin then
  return 0
end
local before, after = tonumber(ARGV[2]), tonumber(ARGV[3])
if twin.base == before then
  follow(twin, ARGV)
  catch_up(twin)
elseif twin.base < before then
  keep_early(twin, ARGV)
elseif before < after and tonumber(ARGV[4]) > twin.clock and twin.origin ~= '' then
  -- The row is at a version that it had once before: the database lost what this hash has.
  fall_behind(KEYS[1], twin, twin.base)
end
return twin.base >= after and twin.behind == 0 and 1 or 0
