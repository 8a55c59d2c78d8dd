-- Change fields of a session that the database is told of later, and remember which.
-- KEYS: session hash, live index, pending set.
-- ARGV: sid, the session's KEY, the server's mark (* for any server, and whatever the row is like), the most that may wait in the pending set (0: any
--       number), stamp, ttl in seconds, user, new KEY, created ('=' for the same), then as in merge().
-- Reply: 0 the session has ended, or has a newer KEY, -1 it is not here, or not as its row, or only the
--        database can tell whether it has ended, -2 too many wait, {its clock} where that is not before
--        the stamp, else its version, or 1.
if is_ended(KEYS[1]) then
  local key = redis.call('HGET', KEYS[1], '~k') or ''
  return (key == '' or key == ARGV[2]) and 0 or -1
end
local twin = open(KEYS[1])
if not twin or (ARGV[3] ~= '*'
    and (twin.behind > 0 or twin.origin ~= ARGV[3] or not is_of_here(ARGV[3]))) then
  return -1
end
if twin.key ~= ARGV[2] and twin.key ~= ARGV[8] then
  -- Under an older KEY it was not told of the rotation.
  return stamp_of_key(twin.key) < stamp_of_key(ARGV[2]) and -1 or 0
end
local stamp = tonumber(ARGV[5])
if twin.clock >= stamp then
  local is_done = is_repeat(KEYS[1], twin.clock == stamp, twin.key, ARGV[8], 10)
  return is_done and math.max(twin.base, 1) or {twin.clock}
end
if ARGV[4] ~= '0' and number_waiting(KEYS[3]) >= tonumber(ARGV[4])
    and redis.call('HEXISTS', KEYS[1], '~!~e') == 0 then
  return -2
end
await(KEYS[3], ARGV[1])
twin.clock = stamp
if ARGV[7] ~= '=' then
  twin.user = ARGV[7]
end
local function remember(name)
  redis.call('HSET', KEYS[1], '~!' .. name, ARGV[5])
end
if ARGV[8] ~= '=' then
  twin.key, twin.created = ARGV[8], ARGV[9]
  remember('~k')
end
remember('~e')
local _, first = merge(KEYS[1], ARGV, 10, remember)
local now = tonumber(redis.call('TIME')[1])
redis.call('HDEL', KEYS[1], '~l')
redis.call('HSET', KEYS[1], '~', words_of(twin, now, ARGV[6]),
  unpack(ARGV, first, math.min(first + 999, #ARGV)))
redis.call('EXPIRE', KEYS[1], ARGV[6])
enter(KEYS[2], now + ARGV[6], ARGV[1], twin.user)
return math.max(twin.base, 1)
