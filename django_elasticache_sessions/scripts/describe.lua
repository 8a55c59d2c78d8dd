-- Tell what a session is made of, without sending its values.
-- KEYS: session hash.  ARGV: the fields whose values are wanted all the same.
-- Reply: its ttl in seconds, those values, then each field and the bytes of its value; 0 if there is
--        no hash.
if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then
  return 0
end
local sizes = redis.call('HKEYS', KEYS[1])
for i = #sizes, 1, -1 do
  sizes[2 * i] = redis.call('HSTRLEN', KEYS[1], sizes[i])
  sizes[2 * i - 1] = sizes[i]
end
return {redis.call('TTL', KEYS[1]), redis.call('HMGET', KEYS[1], unpack(ARGV)), sizes}
