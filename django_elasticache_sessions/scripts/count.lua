-- Count a bucket's live sessions.
-- KEYS: live index.  ARGV: numbers of seconds.
-- Reply: with a user, without; then, for each of ARGV, those of both that expire within so long.
local now = tonumber(redis.call('TIME')[1])
local counts = {}
for i = 0, #ARGV do
  local last = ARGV[i] and string.format('%.0f', now + ARGV[i]) or 'inf'
  counts[2 * i + 1] = redis.call('ZCOUNT', KEYS[1], '(' .. now, last)
  counts[2 * i + 2] = redis.call('ZCOUNT', KEYS[1], '-' .. last, '(-' .. now)
end
return counts
