-- Announce that a session's row is about to be read. Every write takes the lease away, as does the
-- loss of the cache; without it, what was read is not filled in (R. Nishtala et al., "Scaling
-- Memcache at Facebook", NSDI 2013, 3.2.1).
-- KEYS: session hash.  ARGV: a random token, seconds that the lease lasts.
-- Reply: the token to fill in with, that of an earlier reader where there is one; '' where the
--        session has ended.
if is_ended(KEYS[1]) then
  return ''
end
local held = redis.call('HGET', KEYS[1], '~l')
if held then
  return held
end
local is_new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('HSET', KEYS[1], '~l', ARGV[1])
if is_new then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return ARGV[1]
