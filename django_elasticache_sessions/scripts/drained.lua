-- Note that the database has what was pending, unless more came since it was read.
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, the version read ('x' for an end), the row's version (0: the session has ended there).
-- Reply: 1 done, 0 to be drained again.
local ended = is_ended(KEYS[1])
if ended and ARGV[2] ~= 'x' then
  return 0
end
if ended or ARGV[3] == '0' then
  redis.call('UNLINK', KEYS[1])
  leave(KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[3], ARGV[1])
  return 1
end
local created, version, user, rest = read(KEYS[1])
if created and version ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('SREM', KEYS[3], ARGV[1])
if not created then
  return 1
end
local names = redis.call('HKEYS', KEYS[1])
for i = 1, #names do
  if string.sub(names[i], 1, 2) == '~!' or names[i] == '~l' then
    redis.call('HDEL', KEYS[1], names[i])
  end
end
local text = redis.call('HGET', KEYS[1], '~')
local before, after = string.match(text, '^(%d+ %d+ %d+) %d+ (.*) p$')
if before then
  redis.call('HSET', KEYS[1], '~', string.format('%s %s %s', before, ARGV[3], after))
end
return 1
