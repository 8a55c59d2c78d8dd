-- End those of a bucket's sessions that are as asked for; the number of KEYS bounds the work.
-- KEYS: live index, events, session hashes.
-- ARGV: 1 to change nothing, three for is_meant(), then the sid of each hash.
-- Reply: for each hash the tag of its user ('' if it has none) where it is ended, -1 where there is
--        none, else 0.
local reply, gone, ended = {}, {}, 0
for i = 3, #KEYS do
  reply[i - 2] = 0
  local found = redis.call('TYPE', KEYS[i])['ok']
  if found == 'hash' then
    local text = redis.call('HGET', KEYS[i], '~') or ''
    local user = string.match(text, '^%d+ %d+ %d+ %d+ ([%w_-]*)')
    if user and is_meant(text, 2) then
      reply[i - 2] = user
      ended = ended + 1
    end
  end
  if found == 'none' then
    reply[i - 2] = -1
  end
  if reply[i - 2] ~= 0 then
    gone[#gone + 1] = ARGV[i + 2]
    if ARGV[1] == '0' then
      redis.call('UNLINK', KEYS[i])
    end
  end
end
if #gone > 0 and ARGV[1] == '0' then
  redis.call('ZREM', KEYS[1], unpack(gone))
  tally(KEYS[2], 'e', ended)
end
return reply
