-- Count a bucket's live sessions.
-- KEYS: live index.  Reply: with a user, without.
local now = redis.call('TIME')[1]
return {
  redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf'),
  redis.call('ZCOUNT', KEYS[1], '-inf', '(-' .. now),
}
