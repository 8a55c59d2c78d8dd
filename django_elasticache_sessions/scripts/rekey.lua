-- Replace encoded values by the same values under another key, where nobody changed them meanwhile.
-- KEYS: session hash.  ARGV: field, old value, new value, ...  Reply: the number replaced.
local replaced = 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    replaced = replaced + 1
  end
end
return replaced
