-- Enter a session in its bucket's live index, as its last save should have.
-- KEYS: session hash, live index.  ARGV: sid.
-- Reply: its ttl in seconds and the tag of its user ('' if it has none), or 0 if it is no session.
if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then
  return 0
end
local created, version, user = read(KEYS[1])
local ttl = redis.call('TTL', KEYS[1])
if not created or ttl <= 0 then
  return 0
end
enter(KEYS[2], redis.call('TIME')[1] + ttl, ARGV[1], user)
return {ttl, user}
