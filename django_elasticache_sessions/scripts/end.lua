-- End sessions of a bucket; the number of KEYS bounds the work. While the database is unavailable, a
-- mark of each stays until it can be told.
-- KEYS: live index, pending set, events, session hashes.
-- ARGV: 0 or the seconds that the marks stay, 1 to count the ends (0 where a session goes on under
--       another name), then the sid of each hash.
-- Reply: for each hash the tag of its user ('' if it has none or was not there), and 1 if the
--        database lacked something of it, 2 if it lacked an end, else 0.
local reply, gone, sids, counted = {}, {}, {}, 0
for i = 4, #KEYS do
  local user, lacking = '', 0
  local text = redis.pcall('HGET', KEYS[i], '~')
  if type(text) == 'table' and not string.find(text['err'], 'WRONGTYPE') then
    error(text['err'])
  end
  if text == 'x p' then
    lacking = 2
  elseif type(text) == 'string' then
    local created, version, tag, rest = parse(text)
    if created then
      user = tag
      counted = counted + 1
      lacking = is_pending(rest) and 1 or 0
    end
  end
  if ARGV[1] ~= '0' or lacking < 2 then
    gone[#gone + 1] = KEYS[i]
  end
  sids[i - 3] = ARGV[i - 1]
  reply[2 * i - 7], reply[2 * i - 6] = user, lacking
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
end
if ARGV[1] ~= '0' then
  for i = 4, #KEYS do
    redis.call('HSET', KEYS[i], '~', 'x p')
    redis.call('EXPIRE', KEYS[i], ARGV[1])
  end
  redis.call('SADD', KEYS[2], unpack(sids))
end
leave(KEYS[1], unpack(sids))
if ARGV[2] == '1' then
  tally(KEYS[3], 'e', counted)
end
return reply
