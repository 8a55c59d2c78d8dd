-- End those of a bucket's sessions that are as asked for; the number of KEYS bounds the work.
-- KEYS: live index, events, pending set, session hashes.
-- ARGV: 1 to change nothing, three for is_meant(), the seconds that tombstones stay, at least, of those
--       that have a row, then the sid of each hash.
-- Reply: for each hash the tag of its user ('' if it has none) where it is ended, -1 where there is
--        none, else 0.
local reply, gone, ended = {}, {}, 0
for i = 4, #KEYS do
  local outcome = 0
  local found = redis.call('TYPE', KEYS[i])['ok']
  if found == 'hash' then
    local text = redis.call('HGET', KEYS[i], '~') or ''
    local user = string.match(text, '^%d+ %d+ %d+ %d+ ([%w_-]*)')
    if user and is_meant(text, 2) then
      outcome, ended = user, ended + 1
      if ARGV[1] == '0' then
        local _, _, _, _, _, rest = parse(text)
        bury(KEYS[i], string.sub(rest or '', 1, 2) == ' @' and KEYS[3], ARGV[i + 2], ARGV[5])
      end
    end
  elseif found == 'none' then
    outcome = -1
  end
  if outcome ~= 0 then
    gone[#gone + 1] = ARGV[i + 2]
  end
  reply[i - 3] = outcome
end
if #gone > 0 and ARGV[1] == '0' then
  redis.call('ZREM', KEYS[1], unpack(gone))
  tally(KEYS[2], 'e', ended)
end
return reply
