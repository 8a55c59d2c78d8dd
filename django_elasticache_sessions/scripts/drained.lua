-- Note that the database has what was pending, unless more came since it was read. A hash whose row
-- holds something else too is dropped: the next reader fills it in again.
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
if not created or not is_pending(rest) then
  redis.call('SREM', KEYS[3], ARGV[1])
  return 1
end
if version ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('SREM', KEYS[3], ARGV[1])
if ARGV[3] ~= ARGV[2] then
  redis.call('UNLINK', KEYS[1])
  return 1
end
local names = redis.call('HKEYS', KEYS[1])
for i = 1, #names do
  if string.sub(names[i], 1, 2) == '~!' or names[i] == '~l' then
    redis.call('HDEL', KEYS[1], names[i])
  end
end
local text = redis.call('HGET', KEYS[1], '~')
redis.call('HSET', KEYS[1], '~', (string.gsub(text, ' [pc]%d+$', '')))
return 1
