-- Note that the database has what was pending, unless more came since it was read.
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, the version read ('x' for an ended session), the row's version (0: it has ended there).
-- Reply: 1 done, 0 to be drained again.
if ARGV[2] == 'x' or ARGV[3] == '0' then
  bury(KEYS[1], 'x')
  leave(KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[3], ARGV[1])
  return 1
end
local created, version, user, rest
if not kind(KEYS[1]) then
  created, version, user, rest = read(KEYS[1])
end
if not created then
  if redis.call('HGET', KEYS[1], '~') == 'x p' then
    return 0
  end
  redis.call('SREM', KEYS[3], ARGV[1])
  return 1
end
if version ~= tonumber(ARGV[2]) then
  return 0
end
local names = redis.call('HKEYS', KEYS[1])
for i = 1, #names do
  if string.sub(names[i], 1, 2) == '~!' then
    redis.call('HDEL', KEYS[1], names[i])
  end
end
local text = redis.call('HGET', KEYS[1], '~')
local before, after = string.match(text, '^(%d+ %d+ %d+) %d+ (.*) p$')
if before then
  redis.call('HSET', KEYS[1], '~', string.format('%s %s %s', before, ARGV[3], after))
end
redis.call('SREM', KEYS[3], ARGV[1])
return 1
