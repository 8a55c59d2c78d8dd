-- Announce that a session's row is about to be read. Every write takes the lease away, as does the
-- loss of the cache; without it, what was read is not filled in (R. Nishtala et al., "Scaling
-- Memcache at Facebook", NSDI 2013, 3.2.1).
-- KEYS: session hash.
-- ARGV: a random token, seconds that the lease lasts, 1 where what lies there was rejected.
-- Reply: the token to fill in with, that of an earlier reader where there is one; '' where the
--        session has ended; '=' where it is here by now.
if is_ended(KEYS[1]) then
  return ''
end
if ARGV[3] == '0' and open(KEYS[1]) then
  return '='
end
local held = redis.call('HGET', KEYS[1], '~l')
if held and ARGV[3] == '0' then
  return held
end
-- What is left of a hash that nobody can read has no use.
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '~l', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return ARGV[1]
